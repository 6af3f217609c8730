//! What a request costs: CPU time of the proxy for each request at saturation, one worker on one core, callers and
//! service on the other; avrogate beside nginx in the same run, round after round, medians of ratios.
//!
//! `cargo bench --bench request` measures avrogate alone where there is no nginx. `AVROGATE_BIN` names another binary,
//! such as the `dist` profile's; `AVROGATE_BASE` a second avrogate to compare with; `ROUNDS` and `SECONDS` the effort.
//! Linux only: it reads `/proc` and pins with `taskset`.

#![allow(missing_docs, clippy::unwrap_used)]

use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use avrogate::identity::dev::DevCa;
use avrogate::identity::{ClientTls, PeerId, SpiffeId, Svid, TrustBundles};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio_rustls::TlsConnector;

const CONNECTIONS: usize = 32;
const ORDER: &str = include_str!("../deploy/example/schemas/orders-value/1.avsc");
const ACCEPTED: &str = include_str!("../deploy/example/schemas/orders-accepted/1.avsc");

/// A proxy process and where it listens.
struct Proxy {
    name: &'static str,
    process: Child,
    address: SocketAddr,
}

/// One kind of traffic.
#[derive(Clone, Copy)]
struct Workload {
    name: &'static str,
    h2: bool,
    body_bytes: usize,
}

const WORKLOADS: [Workload; 3] = [
    Workload { name: "h1 POST 1 KiB", h2: false, body_bytes: 1 << 10 },
    Workload { name: "h2 POST 1 KiB", h2: true, body_bytes: 1 << 10 },
    Workload { name: "h1 POST 64 KiB", h2: false, body_bytes: 64 << 10 },
];

fn main() {
    pin_to(1);
    let files = tempfile::tempdir().unwrap();
    let service = start_service();
    let identities = Identities::write(files.path());
    let seconds: f64 = std::env::var("SECONDS").map_or(2.0, |text| text.parse().unwrap());
    let rounds: usize = std::env::var("ROUNDS").map_or(5, |text| text.parse().unwrap());

    let binary = std::env::var("AVROGATE_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_avrogate").into());
    let mut proxies = vec![start_avrogate("avrogate", &binary, files.path(), service)];
    if let Ok(base) = std::env::var("AVROGATE_BASE") {
        proxies.push(start_avrogate("avrogate (base)", &base, files.path(), service));
    }
    match start_nginx(files.path(), service) {
        Some(nginx) => proxies.push(nginx),
        None => println!("nginx is not installed: left out"),
    }

    for proxy in &proxies {
        println!("{:<16} idle: {:.1} MB resident", proxy.name, proxy.resident_kb() as f64 / 1e3);
    }
    println!("{:<16} {:<16} {:>10} {:>10} {:>8} {:>8}", "", "", "µs CPU", "requests/s", "ratio", "failed");
    for workload in WORKLOADS {
        let body = confluent(17, &order(workload.body_bytes));
        let mut costs: Vec<Vec<f64>> = vec![Vec::new(); proxies.len()];
        let mut rates = costs.clone();
        let mut failures = vec![0; proxies.len()];
        for round in 0..=rounds {
            for (at, proxy) in proxies.iter().enumerate() {
                let before = proxy.cpu();
                let begin = Instant::now();
                let (done, failed) = load(&identities, proxy.address, workload, &body, seconds);
                // The first round warms caches and connections up.
                if round > 0 {
                    costs[at].push((proxy.cpu() - before) * 1e6 / done as f64);
                    rates[at].push(done as f64 / begin.elapsed().as_secs_f64());
                    failures[at] += failed;
                }
            }
        }
        for (at, proxy) in proxies.iter().enumerate() {
            let ratios = costs[0].iter().zip(&costs[at]).map(|(own, other)| own / other).collect();
            let (cost, rate) = (median(costs[at].clone()), median(rates[at].clone()));
            let ratio = median(ratios);
            println!(
                "{:<16} {:<16} {cost:>10.1} {rate:>10.0} {ratio:>8.2} {:>8}",
                workload.name, proxy.name, failures[at]
            );
        }
    }
    for proxy in &proxies {
        idle_connections(&identities, proxy);
    }
}

/// Memory of a thousand callers that have said something once and now nothing.
fn idle_connections(identities: &Identities, proxy: &Proxy) {
    const COUNT: usize = 1000;
    let config = identities.client(false);
    let body = confluent(17, &order(1 << 10));
    runtime().block_on(LocalSet::new().run_until(async {
        let before = proxy.resident_kb();
        let mut open = Vec::new();
        for _ in 0..COUNT {
            let mut sender = connect_h1(&config, proxy.address).await;
            assert!(sender.send_request(request(&body, false)).await.unwrap().status().is_success());
            open.push(sender);
        }
        let after = proxy.resident_kb();
        println!("{:<16} {:.1} kB an idle connection", proxy.name, (after - before) as f64 / COUNT as f64);
    }));
}

impl Proxy {
    /// Seconds of CPU time of the process and its children.
    fn cpu(&self) -> f64 {
        let ticks: u64 = self.pids().iter().map(|pid| stat_ticks(*pid)).sum();
        ticks as f64 / 100.0
    }

    fn resident_kb(&self) -> u64 {
        self.pids().iter().map(|pid| status_kb(*pid, "VmRSS:")).sum()
    }

    fn pids(&self) -> Vec<u32> {
        let pid = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        std::iter::once(pid).chain(children.split_whitespace().filter_map(|pid| pid.parse().ok())).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

fn stat_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn status_kb(pid: u32, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Closed loop: every connection sends its next request when the last is answered.
fn load(identities: &Identities, to: SocketAddr, workload: Workload, body: &Bytes, seconds: f64) -> (u64, u64) {
    let config = identities.client(workload.h2);
    let done = Rc::new(Cell::new((0, 0)));
    let deadline = Instant::now() + Duration::from_secs_f64(seconds);
    runtime().block_on(LocalSet::new().run_until(async {
        let mut callers = Vec::new();
        for at in 0..CONNECTIONS {
            let (config, body, done) = (config.clone(), body.clone(), done.clone());
            let count = move |answer: Response<Incoming>| async move {
                let (ok, failed) = done.get();
                done.set(if answer.status().is_success() { (ok + 1, failed) } else { (ok, failed + 1) });
                answer.into_body().collect().await.unwrap();
            };
            callers.push(tokio::task::spawn_local(async move {
                if workload.h2 {
                    // Four connections of eight streams.
                    if at % 8 > 0 {
                        return;
                    }
                    let sender = connect_h2(&config, to).await;
                    let streams = (0..8).map(|_| {
                        let (mut sender, body, count) = (sender.clone(), body.clone(), count.clone());
                        tokio::task::spawn_local(async move {
                            while Instant::now() < deadline {
                                count.clone()(sender.send_request(request(&body, workload.h2)).await.unwrap()).await;
                            }
                        })
                    });
                    for stream in streams.collect::<Vec<_>>() {
                        stream.await.unwrap();
                    }
                } else {
                    let mut sender = connect_h1(&config, to).await;
                    while Instant::now() < deadline {
                        sender.ready().await.unwrap();
                        count.clone()(sender.send_request(request(&body, workload.h2)).await.unwrap()).await;
                    }
                }
            }));
        }
        for caller in callers {
            caller.await.unwrap();
        }
    }));
    done.get()
}

/// Over h2 the host is in `:authority` alone: nginx refuses a second one.
fn request(body: &Bytes, h2: bool) -> Request<Full<Bytes>> {
    let (target, host) = if h2 { ("https://orders/v1/orders", None) } else { ("/v1/orders", Some("orders")) };
    let mut request = Request::post(target);
    if let Some(host) = host {
        request = request.header("host", host);
    }
    request
        .header("content-type", "application/avro")
        .header("user-agent", "bench/1")
        .header("accept", "*/*")
        .body(Full::new(body.clone()))
        .unwrap()
}

async fn connect(
    config: &Arc<rustls::ClientConfig>,
    to: SocketAddr,
) -> TokioIo<tokio_rustls::client::TlsStream<TcpStream>> {
    let stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let name = rustls::pki_types::ServerName::try_from("orders").unwrap();
    TokioIo::new(TlsConnector::from(config.clone()).connect(name, stream).await.unwrap())
}

async fn connect_h1(config: &Arc<rustls::ClientConfig>, to: SocketAddr) -> http1::SendRequest<Full<Bytes>> {
    let (sender, connection) = http1::handshake(connect(config, to).await).await.unwrap();
    tokio::task::spawn_local(connection);
    sender
}

async fn connect_h2(config: &Arc<rustls::ClientConfig>, to: SocketAddr) -> http2::SendRequest<Full<Bytes>> {
    let io = connect(config, to).await;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::task::spawn_local(connection);
    sender
}

/// The service: reads the body, answers what the contract asks.
fn start_service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Value::Record(vec![
        ("id".into(), Value::String("order-1".into())),
        ("lines".into(), Value::Int(20)),
        ("accepted_at".into(), Value::TimestampMillis(1_795_000_000_000)),
    ]);
    let fingerprint = avrogate::avro::Schema::parse(ACCEPTED).unwrap().fingerprint();
    let mut answer = vec![0xc3, 0x01];
    answer.extend(fingerprint.to_le_bytes());
    answer.extend(encode(ACCEPTED, accepted));
    let answer = Bytes::from(answer);
    std::thread::spawn(move || {
        runtime().block_on(LocalSet::new().run_until(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let answer = answer.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = answer.clone();
                    async move {
                        request.into_body().collect().await.unwrap();
                        Ok::<_, Infallible>(Response::new(Full::new(answer)))
                    }
                });
                let serving =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::task::spawn_local(serving);
            }
        }))
    });
    address
}

struct Identities {
    bundles: Arc<TrustBundles>,
    caller: Svid,
    expected: PeerId,
}

impl Identities {
    /// Makes a CA, the service's leaf in `tls/` and a caller.
    fn write(directory: &Path) -> Self {
        let domain = "cluster.local".parse().unwrap();
        let ca = DevCa::new(&domain).unwrap();
        let issue = |account: &str| {
            let id: SpiffeId = format!("spiffe://cluster.local/ns/shop/sa/{account}").parse().unwrap();
            ca.issue(&id, &["localhost"], Duration::from_secs(86_400)).unwrap()
        };
        let (own, caller) = (issue("orders"), issue("checkout"));
        let tls = directory.join("tls");
        std::fs::create_dir_all(&tls).unwrap();
        std::fs::write(tls.join("tls.crt"), &own.certificate_pem).unwrap();
        std::fs::write(tls.join("tls.key"), &own.key_pem).unwrap();
        std::fs::write(tls.join("ca.crt"), &ca.certificate_pem).unwrap();
        Self {
            bundles: Arc::new(TrustBundles::from_pem(&[(domain, &ca.certificate_pem)], &[]).unwrap()),
            caller: Svid::from_pem(caller.certificate_pem.as_bytes(), caller.key_pem.as_bytes()).unwrap(),
            expected: "spiffe://cluster.local/ns/shop/sa/orders".parse().unwrap(),
        }
    }

    fn client(&self, h2: bool) -> Arc<rustls::ClientConfig> {
        let tls = ClientTls::new(&self.caller, self.bundles.clone(), self.expected.clone()).unwrap();
        let mut config = (*tls.config()).clone();
        config.alpn_protocols = vec![if h2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        Arc::new(config)
    }
}

fn start_avrogate(name: &'static str, binary: &str, files: &Path, service: SocketAddr) -> Proxy {
    let (inbound, admin) = (free_port(), free_port());
    let config = files.join(format!("{}.yaml", inbound.port()));
    let policy = files.join("policy.d");
    write_policy(&policy);
    write_schemas(&files.join("schemas"));
    let text = format!(
        "apiVersion: avrogate.dev/v1alpha1\nkind: Sidecar\nworkers: 1\ninbound: {{listen: \"{inbound}\"}}\n\
         service: {{address: \"{service}\", protocol: Http1}}\n\
         identity: {{certificate: tls/tls.crt, key: tls/tls.key, trustBundles: {{cluster.local: tls/ca.crt}}}}\n\
         policy: policy.d\nschemas: {{directory: schemas}}\nadmin: {{listen: \"{admin}\"}}\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("taskset");
    command.args(["-c", "0", binary, "run", "--config"]).arg(&config).stdout(Stdio::null());
    // A hundred routes, each with a warning that its answers are not judged.
    command.env("AVROGATE_LOG", "error");
    start(name, command, inbound)
}

/// A hundred routes with ten rules each, so that nothing is measured that only a toy would have.
fn write_policy(directory: &Path) {
    std::fs::create_dir_all(directory).unwrap();
    // Without the keys that an older avrogate, to compare with, does not know.
    let known = |line: &&str| !["contentCodings:", "reader:"].iter().any(|key| line.trim_start().starts_with(key));
    let example = include_str!("../deploy/example/policy.d/orders.yaml").lines().filter(known);
    let mut text: String = example.flat_map(|line| [line, "\n"]).collect();
    for route in 0..97 {
        text += &format!(
            "    - name: route-{route}\n      matches: [{{method: POST, path: {{type: Exact, value: /r/{route}}}}}]\n      authorization:\n"
        );
        for rule in 0..10 {
            text += &format!(
                "        - {{name: rule-{rule}, action: Allow, from: [{{identity: \"spiffe://cluster.local/ns/n{rule}/sa/a{route}\"}}]}}\n"
            );
        }
        text += "      request: {framing: [Confluent], schemas: {subjects: [orders-value]}}\n";
    }
    std::fs::write(directory.join("orders.yaml"), text).unwrap();
}

/// The example's schemas and as many more as make two hundred.
fn write_schemas(directory: &Path) {
    let example = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/example/schemas");
    let mut schemas = BTreeMap::new();
    for subject in ["orders-value/1", "orders-value/2", "refunds-value/1", "orders-accepted/1"] {
        schemas.insert(subject.to_owned(), std::fs::read_to_string(example.join(format!("{subject}.avsc"))).unwrap());
    }
    for at in 0..196 {
        schemas.insert(format!("other-{at}/1"), ORDER.replace("com.shop", &format!("com.shop.n{at}")));
    }
    for (name, text) in schemas {
        let file = directory.join(format!("{name}.avsc"));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    std::fs::copy(example.join("catalog.yaml"), directory.join("catalog.yaml")).unwrap();
}

/// nginx that terminates mutual TLS and forwards, with connections to the service kept.
fn start_nginx(files: &Path, service: SocketAddr) -> Option<Proxy> {
    Command::new("nginx").arg("-v").stderr(Stdio::null()).status().ok()?;
    let address = free_port();
    let text = format!(
        "worker_processes 1; daemon off; error_log stderr error; pid {dir}/nginx.pid;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;\n\
         fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s; client_body_buffer_size 128k;\n\
         upstream service {{ server {service}; keepalive 64; keepalive_requests 1000000000; }}\n\
         server {{ listen {address} ssl http2; ssl_protocols TLSv1.3; ssl_certificate tls/tls.crt;\n\
         ssl_certificate_key tls/tls.key; ssl_client_certificate tls/ca.crt; ssl_verify_client on;\n\
         ssl_session_tickets off; keepalive_requests 1000000000; http2_max_requests 1000000000;\n\
         location / {{ proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         proxy_set_header Host $host; proxy_set_header X-Forwarded-Client-Cert $ssl_client_fingerprint; }} }} }}\n",
        dir = files.display()
    );
    // http2_max_requests is obsolete and only warns.
    std::fs::write(files.join("nginx.conf"), text.replace(" http2_max_requests 1000000000;", "")).unwrap();
    let mut command = Command::new("taskset");
    command.args(["-c", "0", "nginx", "-p"]).arg(files).arg("-c").arg(files.join("nginx.conf"));
    Some(start("nginx", command, address))
}

fn start(name: &'static str, mut command: Command, address: SocketAddr) -> Proxy {
    let process = command.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "{name} does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    Proxy { name, process, address }
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn pin_to(core: u32) {
    let pid = std::process::id().to_string();
    let _ = Command::new("taskset").args(["-a", "-cp", &core.to_string(), &pid]).stdout(Stdio::null()).status();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn encode(schema: &str, value: Value) -> Vec<u8> {
    let schema = apache_avro::Schema::parse_str(schema).unwrap();
    GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(value).unwrap()
}

/// An order of about this many bytes.
fn order(bytes: usize) -> Vec<u8> {
    let line = |at: usize| {
        Value::Record(vec![
            ("sku".into(), Value::String(format!("SKU-{at:05}-{:x}", at * 2_654_435_761))),
            ("quantity".into(), Value::Int(i32::try_from(at % 90).unwrap())),
            ("price".into(), Value::Decimal(apache_avro::Decimal::from(vec![0x01, 0x31]))),
            (
                "status".into(),
                Value::Enum(
                    u32::try_from(at % 5).unwrap(),
                    ["NEW", "RESERVED", "PICKED", "SHIPPED", "RETURNED"][at % 5].into(),
                ),
            ),
        ])
    };
    let value = Value::Record(vec![
        ("id".into(), Value::String("9f2c1b7e-6f0e-4b55-9d53-3b1f1a6f2f10".into())),
        ("customer".into(), Value::String("customer-42".into())),
        ("placed_at".into(), Value::TimestampMillis(1_795_000_000_000)),
        ("currency".into(), Value::Enum(0, "EUR".into())),
        ("lines".into(), Value::Array((0..bytes / 27).map(line).collect())),
        ("note".into(), Value::Union(1, Box::new(Value::String("ring twice".into())))),
    ]);
    encode(ORDER, value)
}

fn confluent(id: u32, datum: &[u8]) -> Bytes {
    [&[0][..], &id.to_be_bytes(), datum].concat().into()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
