//! What the demo runs on: certificates in a temporary directory, the orders service, the sidecar before it with the
//! policy and the schemas of `deploy/example`.

use super::caller::Caller;
use super::orders::Orders;
use crate::control::config::Config;
use crate::identity::dev::{DevCa, DevSvid};
use crate::identity::{PeerId, SpiffeId, TrustBundles, TrustDomain};
use crate::sidecar::Sidecar;
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The files of `deploy/example`, so that the demo runs from the binary alone.
const EXAMPLE: [(&str, &str); 6] = [
    ("policy.d/orders.yaml", include_str!("../../../deploy/example/policy.d/orders.yaml")),
    ("schemas/catalog.yaml", include_str!("../../../deploy/example/schemas/catalog.yaml")),
    ("schemas/orders-value/1.avsc", ORDER_1),
    ("schemas/orders-value/2.avsc", ORDER_2),
    ("schemas/refunds-value/1.avsc", REFUND),
    ("schemas/orders-accepted/1.avsc", ACCEPTED),
];

/// Order, version 1, of registry id 17.
pub(super) const ORDER_1: &str = include_str!("../../../deploy/example/schemas/orders-value/1.avsc");
/// Order, version 2, of registry id 18.
pub(super) const ORDER_2: &str = include_str!("../../../deploy/example/schemas/orders-value/2.avsc");
/// Refund, of registry id 21.
pub(super) const REFUND: &str = include_str!("../../../deploy/example/schemas/refunds-value/1.avsc");
const ACCEPTED: &str = include_str!("../../../deploy/example/schemas/orders-accepted/1.avsc");

/// Everything that runs while the demo does.
pub(super) struct Stage {
    directory: PathBuf,
    /// The service.
    pub(super) orders: Orders,
    /// The sidecar before it.
    pub(super) sidecar: Sidecar,
    /// What the sidecar has written to its decision log.
    pub(super) decisions: Lines,
    callers: BTreeMap<&'static str, Caller>,
}

/// The workloads that call.
const CALLERS: [&str; 3] = ["checkout", "payments", "marketing"];

/// A decision log in memory.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Stage {
    /// Makes the certificates and starts the service and the sidecar, on ports that the system chooses.
    pub(super) fn set() -> Result<Self, Box<dyn Error>> {
        let directory = std::env::temp_dir().join(format!("avrogate-demo-{}", std::process::id()));
        for (name, text) in EXAMPLE {
            write(&directory.join(name), text)?;
        }
        let domain: TrustDomain = "cluster.local".parse()?;
        let ca = DevCa::new(&domain)?;
        let own = issue(&ca, "orders")?;
        write_svid(&directory.join("tls"), "tls", &own)?;
        write(&directory.join("tls/ca.crt"), &ca.certificate_pem)?;

        let orders = Orders::new(&[(17, ORDER_1), (18, ORDER_2)], ACCEPTED)?;
        let service = orders.start()?;
        let config = configuration(service);
        write(&directory.join("avrogate.yaml"), &config)?;
        let config = match Config::load(&directory.join("avrogate.yaml")) {
            Ok((config, _)) => config,
            Err(findings) => return Err(findings.first().map_or_else(String::new, ToString::to_string).into()),
        };
        let decisions = Lines::default();
        let sidecar = Sidecar::start(config, Box::new(decisions.clone()))?;

        let bundles = Arc::new(TrustBundles::from_pem(&[(domain, &ca.certificate_pem)], &[])?);
        let expected = PeerId::Spiffe(id("orders")?);
        let mut callers = BTreeMap::new();
        for name in CALLERS {
            let svid = issue(&ca, name)?;
            write_svid(&directory.join("tls"), name, &svid)?;
            callers.insert(name, Caller::new(&svid, bundles.clone(), expected.clone(), sidecar.inbound())?);
        }
        if let Some(caller) = callers.get("checkout").map(Caller::without_certificate) {
            callers.insert("nobody", caller);
        }
        Ok(Self { directory, orders, sidecar, decisions, callers })
    }

    /// One of the callers; `nobody` has no certificate.
    pub(super) fn caller(&self, name: &str) -> Result<&Caller, Box<dyn Error>> {
        self.callers.get(name).ok_or_else(|| format!("no caller {name}").into())
    }

    /// How to go on with curl, while the sidecar stays up.
    pub(super) fn print_commands<'b>(
        &self,
        bodies: impl Iterator<Item = (&'static str, &'b [u8])>,
    ) -> Result<(), Box<dyn Error>> {
        let port = self.sidecar.inbound().port();
        let tls = self.directory.join("tls");
        println!("\nThe sidecar stays up until Ctrl-C. In another terminal:\n\n  cd {}\n", self.directory.display());
        for (name, body) in bodies {
            fs::write(self.directory.join(name), body)?;
        }
        let curl = |caller: &str, body: &str, path: &str| {
            println!(
                "  curl -si --cacert tls/ca.crt --cert tls/{caller}.crt --key tls/{caller}.key \\\n       --data-binary \
                 @{body} https://localhost:{port}{path}\n"
            );
        };
        curl("checkout", "valid.bin", "/v1/orders");
        curl("checkout", "cut.bin", "/v1/orders");
        curl("marketing", "valid.bin", "/v1/orders");
        println!("  curl -s http://{}/metrics | grep avrogate_requests_total", self.sidecar.admin());
        println!("  curl -s http://{}/decisions\n", self.sidecar.admin());
        println!("Keys and certificates: {}", tls.display());
        Ok(())
    }

    /// Ends the sidecar, and takes the files away.
    pub(super) fn strike(self, quietly: bool) -> io::Result<()> {
        self.sidecar.stop();
        fs::remove_dir_all(&self.directory)?;
        if !quietly {
            println!("\nThe sidecar has ended; {} is gone.", self.directory.display());
        }
        Ok(())
    }
}

fn configuration(service: SocketAddr) -> String {
    format!(
        "apiVersion: avrogate.dev/v1alpha1\n\
         kind: Sidecar\n\
         workers: 1\n\
         inbound: {{listen: \"127.0.0.1:0\"}}\n\
         service: {{address: \"{service}\", protocol: Http1}}\n\
         identity: {{certificate: tls/tls.crt, key: tls/tls.key, trustBundles: {{cluster.local: tls/ca.crt}}}}\n\
         policy: policy.d\n\
         schemas: {{directory: schemas}}\n\
         admin: {{listen: \"127.0.0.1:0\"}}\n"
    )
}

fn id(account: &str) -> Result<SpiffeId, Box<dyn Error>> {
    Ok(format!("spiffe://cluster.local/ns/shop/sa/{account}").parse()?)
}

/// A leaf with `localhost` beside its SPIFFE ID, for curl.
fn issue(ca: &DevCa, account: &str) -> Result<DevSvid, Box<dyn Error>> {
    Ok(ca.issue(&id(account)?, &["localhost"], Duration::from_secs(86_400))?)
}

fn write_svid(directory: &Path, name: &str, svid: &DevSvid) -> io::Result<()> {
    write(&directory.join(format!("{name}.crt")), &svid.certificate_pem)?;
    write(&directory.join(format!("{name}.key")), &svid.key_pem)
}

/// Writes a file that only its owner reads, and the directories to it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

impl Lines {
    /// What has been written so far.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
