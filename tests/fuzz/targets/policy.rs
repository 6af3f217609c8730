//! A text is a policy or has findings, each of them in the text; and a policy explains what it decides.

#![no_main]

use avrogate::finding::{Colour, Finding};
use avrogate::identity::spiffe::{PeerId, TrustDomain};
use avrogate::policy::{Decision, Policy, PolicyFile, RequestPath, Settings, Verdict};
use avrogate::wire::{Programs, Schemas};
use avrogate_fuzz::{published, trust_domains};
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};

static SCHEMAS: LazyLock<Arc<Schemas>> = LazyLock::new(published);
static DOMAINS: LazyLock<[TrustDomain; 1]> = LazyLock::new(trust_domains);

fuzz_target!(|text: &str| {
    let file = PolicyFile { name: "policy.yaml".into(), text: text.to_owned() };
    let findings = match Policy::compile(&[file], &DOMAINS[..], &SCHEMAS, &Settings::default(), &Programs::default()) {
        Ok((policy, warnings)) => {
            assert!(!warnings.iter().any(Finding::is_error));
            ask(&policy);
            warnings
        }
        Err(findings) => {
            assert!(findings.iter().any(Finding::is_error));
            findings
        }
    };
    // YAML breaks lines at a lone carriage return too.
    let lines = text.split(['\n', '\r']).count();
    for finding in findings {
        assert_eq!(&*finding.file, "policy.yaml");
        let rendered = finding.render(text, Colour::Never);
        assert!(rendered.contains(finding.rule), "{rendered}");
        let Some(place) = &finding.place else { panic!("nowhere: {finding}") };
        assert!((1..=lines).contains(&(place.line as usize)) && place.column >= 1, "{finding}");
        if let Some(span) = &place.span {
            assert!(span.start <= span.end && span.end <= text.len(), "{span:?}: {finding}");
        }
    }
});

fn ask(policy: &Policy) {
    let peer: PeerId = "spiffe://cluster.local/ns/shop/sa/checkout".parse().expect("an identity");
    for peer in [None, Some(&peer)] {
        for path in ["/", "/v1/orders", "/v1/orders/7"] {
            let path = RequestPath::parse(path).expect("a path");
            let route = policy.route("POST", &path).map(|route| &**route);
            let expected = match policy.decide(peer, route, policy.mode(route, None)) {
                Decision::Permitted(_) => Verdict::Permitted,
                Decision::Denied(_) => Verdict::Denied,
                Decision::DryRun(..) => Verdict::WouldDeny,
            };
            let explained = policy.explain(peer, "POST", &path);
            assert_eq!(explained.verdict, expected);
            assert!(peer.is_some() || expected != Verdict::Permitted, "nobody is permitted");
        }
    }
}
