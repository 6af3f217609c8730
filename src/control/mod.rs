//! What is around the data path: configuration, the snapshot that requests are decided by, the admin listener.

pub mod admin;
pub mod config;
pub mod files;
pub mod pages;
pub mod probes;
pub mod reload;
pub mod snapshot;

pub use admin::{AdminPages, serve as serve_admin};
pub use probes::Probes;
pub use snapshot::Snapshot;
