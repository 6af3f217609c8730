//! A sidecar in a process of its own: what only a process has, its memory, its descriptors and its CPU time, is measured
//! there. Linux only: it reads `/proc`.

use super::certificates::Authority;
use super::service::Double;
use super::world::{Prepared, Setup};
use super::{Caller, within};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// A running `avrogate run`; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    /// Where callers connect.
    pub(crate) inbound: SocketAddr,
    /// Where the admin pages are.
    pub(crate) admin: SocketAddr,
    pub(crate) authority: Authority,
    pub(crate) service: Double,
    _files: tempfile::TempDir,
}

impl Process {
    /// Starts it with at most so many descriptors.
    pub(crate) async fn start(setup: Setup, descriptors_max: Option<u32>) -> Self {
        let Prepared { files, authority, service } = Prepared::new(&setup).await;
        let binary = env!("CARGO_BIN_EXE_avrogate");
        let mut command = match descriptors_max {
            Some(most) => {
                let mut command = Command::new("prlimit");
                command.arg(format!("--nofile={most}:{most}")).arg(binary);
                command
            }
            None => Command::new(binary),
        };
        command.args(["run", "--log-format", "json", "--config"]).arg(files.path().join("avrogate.yaml"));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (ready, listens) = oneshot::channel();
        let mut ready = Some(ready);
        // It reads to the end: a full pipe would stop the sidecar.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let told: Value = serde_json::from_str(&line).unwrap();
                let address = |name: &str| told[name].as_str().or(told["fields"][name].as_str())?.parse().ok();
                if let Some(addresses) = address("inbound").zip(address("admin")) {
                    ready.take().map(|ready| ready.send(addresses));
                }
            }
        });
        let (inbound, admin) = within("the sidecar is ready", listens).await.unwrap();
        Self { child, inbound, admin, authority, service, _files: files }
    }

    /// A caller with a certificate as it should be.
    pub(crate) fn caller(&self, account: &str) -> Caller {
        Caller::new(Some(&self.authority.workload(account)), self.authority.dev_pem(), self.inbound)
    }

    /// The metrics page.
    pub(crate) async fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut page = String::new();
        within("the metrics page", stream.read_to_string(&mut page)).await.unwrap();
        page
    }

    /// Resident bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    }

    /// Descriptors in use.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// CPU time spent, to a hundredth of a second.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // Behind the name in parentheses utime and stime are the twelfth and thirteenth, in hundredths.
        let behind = stat.rsplit_once(')').unwrap().1;
        let ticks: u64 = behind.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended by itself is waited for all the same.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
