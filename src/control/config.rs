//! The bootstrap, stub.
#![allow(missing_docs)]
use crate::identity::TrustDomain;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Config {
    pub inbound: Inbound,
    pub service: ServiceConfig,
    pub limits: LimitsConfig,
    pub timeouts: Timeouts,
    pub policy: PathBuf,
    pub schemas: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub trust_bundles: BTreeMap<TrustDomain, PathBuf>,
    pub crls: Vec<PathBuf>,
    pub admin: SocketAddr,
    pub everything_dry: bool,
    pub workers: usize,
    pub passes: f64,
    pub grace: Duration,
}
#[derive(Debug, Clone)]
pub struct Inbound {
    pub listen: SocketAddr,
}
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    pub address: SocketAddr,
    pub protocol: Protocol,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    H2c,
}
#[derive(Debug, Clone)]
pub struct LimitsConfig {
    pub held_bytes: u64,
    pub connections: usize,
    pub head_bytes: usize,
    pub head_fields: usize,
}
#[derive(Debug, Clone)]
pub struct Timeouts {
    pub handshake: Duration,
    pub head: Duration,
    pub body: Duration,
    pub connect: Duration,
    pub first_byte: Duration,
    pub request: Duration,
    pub idle: Duration,
}
