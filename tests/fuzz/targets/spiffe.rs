//! A SPIFFE ID has one spelling, and nothing that the standard does not allow.

#![no_main]

use avrogate::identity::spiffe::{PeerId, PeerPattern, SPIFFE_ID_BYTES_MAX, SpiffeId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let id: Result<SpiffeId, _> = text.parse();
    let pattern: Result<PeerPattern, _> = text.parse();
    if let Ok(pattern) = &pattern {
        assert_eq!(pattern.as_str(), text);
    }
    let Ok(id) = id else { return };
    assert_eq!(id.to_string(), text);
    assert_eq!(id.as_str().parse(), Ok(id.clone()));
    assert_eq!(pattern, Ok(PeerPattern::Exact(PeerId::Spiffe(id.clone()))));

    assert!(text.len() <= SPIFFE_ID_BYTES_MAX);
    let behind = text.strip_prefix("spiffe://").expect("the scheme");
    let (domain, path) = behind.split_once('/').expect("a path");
    assert_eq!(id.trust_domain(), domain);
    assert!(!domain.is_empty());
    assert!(!behind.contains(['*', '?', '#', ':', '@', '%', '\\']) && behind.is_ascii());
    for segment in path.split('/') {
        assert!(!matches!(segment, "" | "." | ".."), "{segment}");
    }
});
