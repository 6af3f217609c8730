//! The probe relay: the kubelet has no certificate, so what it asks at the paths that the bootstrap names, and at no other, is
//! asked of the service for it, in plaintext.
//!
//! It is no way around the gate: GET and HEAD of those exact paths on the service's own port go through, without a body,
//! and what comes back is a status.

use super::config::{Protocol, ServiceConfig};
use bytes::Bytes;
use http::header::{ACCEPT, HOST, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::error::Error;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Probes, and where they go.
#[derive(Debug)]
pub struct Probes {
    service: ServiceConfig,
    paths: Vec<String>,
}

/// How long the service may take for a probe, its answer's body included.
pub const PROBE_TIME_MAX: Duration = Duration::from_secs(5);

/// Of the answer's body so much is read, and dropped: a service that is cut off while it writes may complain.
const BODY_BYTES_MAX: usize = 64 << 10;

impl Probes {
    /// Relays probes of these paths to this service.
    #[must_use]
    pub fn new(service: ServiceConfig, paths: Vec<String>) -> Self {
        Self { service, paths }
    }

    /// The path that a probe asks the service for, of `/probe/<port>/<path>`; nothing where that is none of ours.
    #[must_use]
    pub fn asked<'u>(&self, method: &Method, target: &'u Uri) -> Option<&'u str> {
        let rest = target.path().strip_prefix("/probe/")?;
        let path = &rest[rest.find('/')?..];
        let as_named = rest.len() - path.len() == self.port().len() && rest.starts_with(&self.port());
        let read = [Method::GET, Method::HEAD].contains(method) && target.query().is_none();
        (read && as_named && self.paths.iter().any(|named| named == path)).then_some(path)
    }

    fn port(&self) -> String {
        self.service.address.port().to_string()
    }

    /// Asks the service, and gives its status.
    ///
    /// # Errors
    /// The status and the sentence of who did not get one.
    pub async fn relay(
        &self,
        method: &Method,
        path: &str,
        fields: &HeaderMap,
    ) -> Result<StatusCode, (StatusCode, String)> {
        match timeout(PROBE_TIME_MAX, self.ask(method, path, fields)).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(error)) => Err((StatusCode::BAD_GATEWAY, format!("the service does not answer: {error}"))),
            Err(_) => {
                Err((StatusCode::GATEWAY_TIMEOUT, format!("the service did not answer within {PROBE_TIME_MAX:?}")))
            }
        }
    }

    async fn ask(
        &self,
        method: &Method,
        path: &str,
        fields: &HeaderMap,
    ) -> Result<StatusCode, Box<dyn Error + Send + Sync>> {
        let authority = self.service.address.to_string();
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = method.clone();
        for name in [ACCEPT, USER_AGENT] {
            request.headers_mut().extend(fields.get(&name).map(|value| (name, value.clone())));
        }
        let stream = TokioIo::new(TcpStream::connect(self.service.address).await?);
        // The connection ends with this probe.
        let mut driving = JoinSet::new();
        let answer: Response<Incoming> = match self.service.protocol {
            Protocol::Http1 => {
                *request.uri_mut() = path.parse()?;
                request.headers_mut().insert(HOST, HeaderValue::from_str(&authority)?);
                let (mut sender, connection) = http1::handshake(stream).await?;
                driving.spawn(connection);
                sender.send_request(request).await?
            }
            Protocol::H2c => {
                *request.uri_mut() = format!("http://{authority}{path}").parse()?;
                let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
                driving.spawn(connection);
                sender.send_request(request).await?
            }
        };
        let status = answer.status();
        // The status is all that is wanted.
        let _ = Limited::new(answer.into_body(), BODY_BYTES_MAX).collect().await;
        Ok(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_is_asked_for() {
        let service = ServiceConfig { address: "127.0.0.1:8080".parse().unwrap(), protocol: Protocol::Http1 };
        let probes = Probes::new(service, vec!["/healthz".into(), "/".into(), "/a/b".into()]);
        let check = |request: &str, expected: Option<&str>| {
            let (method, target) = request.split_once(' ').unwrap();
            assert_eq!(probes.asked(&method.parse().unwrap(), &target.parse().unwrap()), expected, "{request}");
        };
        check("GET /probe/8080/healthz", Some("/healthz"));
        check("HEAD /probe/8080/healthz", Some("/healthz"));
        check("GET /probe/8080/a/b", Some("/a/b"));
        check("GET /probe/8080/", Some("/"));
        for other in [
            "POST /probe/8080/healthz",
            "GET /probe/8080/healthz?x",
            "GET /probe/8080/healthz?",
            "GET /probe/8080/healthz/",
            "GET /probe/8080//healthz",
            "GET /probe/8080/%68ealthz",
            "GET /probe/8080/a/../healthz",
            "GET /probe/8080/Healthz",
            "GET /probe/8081/healthz",
            "GET /probe/08080/healthz",
            "GET /probe/80/healthz",
            "GET /probe/8080",
            "GET /probe//healthz",
            "GET /probe/healthz",
            "GET /healthz",
            "GET /PROBE/8080/healthz",
        ] {
            check(other, None);
        }
    }
}
