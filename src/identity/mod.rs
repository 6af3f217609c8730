//! Who is who: SPIFFE identities, our own X.509-SVID, the trust bundles that verify others, and TLS made of them.

pub mod dev;
mod files;
pub mod forwarded;
mod handshake;
mod leaf;
mod peer;
mod report;
pub mod spiffe;
mod svid;
mod tls;
mod trust;

pub use files::FileError;
pub(crate) use files::open_regular;
pub use handshake::{HandshakeFault, TlsParameters};
pub use leaf::Leaf;
pub use peer::Peer;
pub use report::{CertificateReport, ReportedCertificate};
pub use spiffe::{IdentityError, LinkerdName, PeerId, PeerPattern, SpiffeId, TrustDomain};
pub use svid::Svid;
pub use tls::{ClientTls, ServerTls};
pub use trust::{CHAIN_CERTIFICATES_MAX, ChainFault, Role, TrustBundles};
