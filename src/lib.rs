//! avrogate: the service-mesh sidecar that reads Avro.

pub mod avro;
pub mod cli;
pub mod control;
pub mod finding;
pub mod identity;
pub mod policy;
mod proxy;
pub mod reason;
pub mod registry;
pub mod sidecar;
pub mod telemetry;
pub mod units;
pub mod wire;
pub mod yaml;

pub use reason::Reason;
