//! What is around the data path: configuration, the snapshot that requests are decided by, the admin listener.

pub mod admin;
pub mod config;
pub mod snapshot;

pub use snapshot::Snapshot;
