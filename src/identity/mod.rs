//! Who we are and who calls: SPIFFE identities, our own X.509-SVID and the peer's.

pub mod spiffe;

pub use spiffe::{IdentityError, LinkerdName, PeerId, PeerPattern, SpiffeId, TrustDomain};
