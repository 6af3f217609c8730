//! Bootstrap files in, configurations and findings out.

use super::*;

const WHOLE: &str = r#"
apiVersion: avrogate.dev/v1alpha1
kind: Sidecar
inbound:
  listen: 0.0.0.0:7143
  tls: Strict
  peerSource: Tls
service: {address: "127.0.0.1:8080", protocol: H2c}
identity:
  certificate: /etc/avrogate/tls/tls.crt
  key: tls/tls.key
  trustBundles: {cluster.local: /etc/avrogate/tls/ca.crt}
  crls: [tls/ca.crl]
policy: /etc/avrogate/policy.d
schemas: {directory: schemas}
admin: {listen: "0.0.0.0:7191", probes: [/healthz]}
mode: PerRoute
breakGlass: glass/dry-run
limits: {heldBytes: 32MiB, bodyRate: 2KiB, connections: 100, headBytes: 8KiB, headFields: 50}
timeouts: {handshake: 1s, head: 2s, body: 3s, bodyWindow: 4s, room: 500ms, connect: 400ms, firstByte: 5s, request: 6s, idle: 7m}
shutdownDelay: 2s
shutdownGracePeriod: 8s
decisions: {passes: 0.5%}
workers: 3
"#;

const LEAST: &str = "\
apiVersion: avrogate.dev/v1alpha1
kind: Sidecar
service: {address: '127.0.0.1:8080'}
identity: {certificate: c, key: k, trustBundles: {td: b}}
policy: p
schemas: {directory: s}
";

fn parse(text: &str) -> Result<(Config, Vec<Finding>), Vec<Finding>> {
    Config::parse(&Arc::from("avrogate.yaml"), text, Path::new("/etc/here"))
}

#[test]
fn a_whole_file() {
    let (config, warnings) = parse(WHOLE).unwrap();
    assert_eq!(warnings, []);
    insta::assert_json_snapshot!(config, @r#"
    {
      "inbound": {
        "listen": "0.0.0.0:7143",
        "tls": "Strict",
        "peerSource": "Tls"
      },
      "service": {
        "address": "127.0.0.1:8080",
        "protocol": "H2c"
      },
      "identity": {
        "certificate": "/etc/avrogate/tls/tls.crt",
        "key": "/etc/here/tls/tls.key",
        "trustBundles": {
          "cluster.local": "/etc/avrogate/tls/ca.crt"
        },
        "crls": [
          "/etc/here/tls/ca.crl"
        ]
      },
      "policy": "/etc/avrogate/policy.d",
      "schemas": {
        "directory": "/etc/here/schemas"
      },
      "admin": {
        "listen": "0.0.0.0:7191",
        "probes": [
          "/healthz"
        ]
      },
      "mode": "PerRoute",
      "breakGlass": "/etc/here/glass/dry-run",
      "limits": {
        "heldBytes": 33554432,
        "bodyRate": 2048,
        "connections": 100,
        "headBytes": 8192,
        "headFields": 50
      },
      "timeouts": {
        "handshake": "1s",
        "head": "2s",
        "body": "3s",
        "bodyWindow": "4s",
        "room": "500ms",
        "connect": "400ms",
        "firstByte": "5s",
        "request": "6s",
        "idle": "7m"
      },
      "shutdownDelay": "2s",
      "shutdownGracePeriod": "8s",
      "decisions": {
        "passes": "0.5%"
      },
      "workers": 3
    }
    "#);
}

#[test]
fn what_is_left_out_has_its_default() {
    let (config, warnings) = parse(LEAST).unwrap();
    assert_eq!(warnings, []);
    assert_eq!((config.inbound.listen.port(), config.admin.listen.port()), (6143, 6191));
    assert_eq!((config.service.protocol, config.mode), (Protocol::Http1, ProcessMode::PerRoute));
    assert_eq!((config.limits, config.timeouts), (Limits::default(), Timeouts::default()));
    assert_eq!(config.decisions.passes, Fraction::percent(1));
    assert!(config.workers >= 1 && config.identity.crls.is_empty());
    assert_eq!(config.policy, Path::new("/etc/here/p"));
    assert_eq!((config.shutdown_delay.as_secs(), config.shutdown_grace_period.as_secs()), (5, 30));
    let (hasty, _) = parse(&format!("{LEAST}shutdownGracePeriod: 2s\n")).unwrap();
    assert_eq!(hasty.shutdown_delay.as_secs(), 1);
}

#[test]
fn every_finding_has_its_place() {
    let check = |line: &str, expected: &str| {
        let text = format!("{LEAST}{line}\n");
        let findings = parse(&text).map_or_else(|findings| findings, |(_, warnings)| warnings);
        let shown: Vec<_> = findings.iter().map(Finding::to_string).collect();
        let shown = shown.join("\n");
        assert!(shown.starts_with(&format!("avrogate.yaml:{expected}")), "{line}: {shown}");
    };
    check("inbound: {tls: Permissive}", "7:16: warning[plaintext-permitted]");
    check("inbound: {peerSource: ForwardedHeader, listen: '0.0.0.0:6143'}", "7:48: error[peer-forgeable]");
    check("inbound: {peerSource: ForwardedHeader, listen: '[::]:6143'}", "7:48: error[peer-forgeable]");
    check("inbound: {peerSource: ForwardedHeader, tls: Permissive}", "7:45: error[tls-unused]");
    check("inbound: {peerSource: ForwardedHeader, tls: Off}", "7:45: error[value-unknown]");
    check("inbound: {peerSource: ForwardedHeader}", "7:23: error[forwarded-header-missing]");
    check("inbound: {forwardedHeader: l5d-client-id}", "7:28: error[forwarded-header-unused]");
    check("inbound: {forwardedHeader: forwarded}", "7:28: error[value-unknown]");
    check("admin: {probes: [/healthz, /a/../b]}", "7:28: error[path-invalid]");
    check("admin: {probes: [healthz]}", "7:18: error[path-invalid]");
    check("admin: {probes: [/a%40]}", "7:18: error[path-invalid]: no probe has the path `/a%40`: it is written `/a@`");
    check("admin: {probes: ['/a?b']}", "7:18: error[path-invalid]");
    let probes = |count: usize| format!("admin: {{probes: [{}]}}", vec!["/h"; count].join(", "));
    assert!(parse(&format!("{LEAST}{}\n", probes(16))).is_ok());
    check(&probes(17), "7:82: error[limit-invalid]: expected 16 paths at most");
    check("inbound: {listen: here}", "7:19: error[address-invalid]");
    check("inbound: {listen: '0.0.0.0:6191'}", "7:19: error[port-twice]");
    check("inbound: {listen: '0.0.0.0:8080'}", "3:20: error[service-is-self]");
    check("inbound: {listen: '0.0.0.0:4143'}", "7:19: warning[port-of-another-mesh]");
    check("admin: {listen: '0.0.0.0:15090'}", "7:17: warning[port-of-another-mesh]");
    check("mode: DryRun", "7:7: warning[everything-dry]");
    check("mode: Off", "7:7: error[value-unknown]");
    check("limits: {headBytes: 8191B}", "7:21: error[limit-invalid]: expected from 8192 to 1048576 bytes");
    check("limits: {headFields: 0}", "7:22: error[limit-invalid]");
    check("limits: {headFields: 1001}", "7:22: error[limit-invalid]");
    check("limits: {connections: 0}", "7:23: error[limit-invalid]");
    check("limits: {heldBytes: 0B}", "7:21: error[value-invalid]");
    check("limits: {bodyBytes: 1MiB}", "7:10: error[key-unknown]");
    check("timeouts: {head: 10}", "7:18: error[value-invalid]: `10` is no length of time");
    check("timeouts: {tail: 10s}", "7:12: error[key-unknown]");
    check("decisions: {passes: 2}", "7:21: error[value-invalid]: `2` is no fraction");
    check("shutdownDelay: 30s", "7:16: error[limit-invalid]: expected less than `shutdownGracePeriod`");
    check("workers: 0", "7:10: error[limit-invalid]");
    check("outbound: {}", "7:1: error[key-unknown]");
}

#[test]
fn a_header_is_believed_on_loopback() {
    let inbound = "inbound: {peerSource: ForwardedHeader, tls: Strict, forwardedHeader: l5d-client-id}";
    let (config, warnings) = parse(&format!("{LEAST}{inbound}\n")).unwrap();
    assert_eq!(config.inbound.peer_source, PeerSource::ForwardedHeader(ForwardedHeader::ClientId));
    assert_eq!((config.inbound.listen.to_string(), warnings.len()), ("127.0.0.1:6143".into(), 0));
    for listen in ["127.0.0.1:0", "127.9.9.9:6143", "[::1]:6143"] {
        let inbound = inbound.replace("tls: Strict", &format!("listen: '{listen}'"));
        assert!(parse(&format!("{LEAST}{inbound}\n")).is_ok());
    }
}

#[test]
fn what_has_no_default_is_checked_as_well() {
    let check = |from: &str, to: &str, expected: &str| {
        let text = LEAST.replace(from, to);
        let findings = parse(&text).map_or_else(|findings| findings, |(_, warnings)| warnings);
        let shown: Vec<_> = findings.iter().map(Finding::to_string).collect();
        assert!(shown.join("\n").starts_with(&format!("avrogate.yaml:{expected}")), "{to}: {shown:?}");
    };
    check("127.0.0.1:8080", "localhost", "3:20: error[address-invalid]");
    check("127.0.0.1:8080", "10.0.0.7:80", "3:20: warning[service-exposed]");
    check("127.0.0.1:8080", "127.0.0.1:0", "3:20: error[address-invalid]");
    check("{td: b}", "{}", "4:50: error[trust-bundles-empty]");
    check("{td: b}", "{Td: b}", "4:55: error[trust-domain-invalid]");
    check("{td: b}", "{td: b, td: c}", "4:58: error[key-duplicate]");
    check("kind: Sidecar", "kind: TrafficPolicy", "2:7: error[value-unknown]");
    check("v1alpha1", "v1", "1:13: error[value-unknown]");
    check("policy: p\n", "", "5:1: error[key-missing]: the key `policy` is missing");
}

#[test]
fn every_finding_in_one_run() {
    let text = LEAST.replace("127.0.0.1:8080", "x").replace("{td: b}", "{}") + "workers: 0\ninbound: {listen: y}\n";
    assert_eq!(parse(&text).unwrap_err().len(), 4);
}

#[test]
fn another_meshs_uid_is_warned_of() {
    let file = Arc::from("avrogate.yaml");
    for (uid, mesh) in [(2102, "Linkerd"), (1337, "Istio")] {
        let finding = uid_of_another_mesh(&file, uid).unwrap();
        assert!(!finding.is_error() && finding.message.contains(mesh), "{finding}");
    }
    assert_eq!(uid_of_another_mesh(&file, 6102), None);
    assert_eq!(uid_of_another_mesh(&file, 0), None);
}
