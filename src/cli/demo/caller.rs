//! The demo's callers: each with a certificate of its own, or none.

use crate::identity::dev::DevSvid;
use crate::identity::{ClientTls, PeerId, Svid, TrustBundles};
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Somebody who calls the sidecar over mutual TLS.
#[derive(Debug)]
pub(super) struct Caller {
    config: Arc<rustls::ClientConfig>,
    sidecar: SocketAddr,
}

impl Caller {
    /// A caller with this certificate; it believes only `expected` to be the service.
    pub(super) fn new(
        svid: &DevSvid,
        bundles: Arc<TrustBundles>,
        expected: PeerId,
        sidecar: SocketAddr,
    ) -> Result<Self, Box<dyn Error>> {
        let svid = Svid::from_pem(svid.certificate_pem.as_bytes(), svid.key_pem.as_bytes())?;
        let mut config = (*ClientTls::new(&svid, bundles, expected)?.config()).clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), sidecar })
    }

    /// The same caller without its certificate.
    pub(super) fn without_certificate(&self) -> Self {
        let mut config = (*self.config).clone();
        config.client_auth_cert_resolver = Arc::new(NoCertificate);
        Self { config: Arc::new(config), sidecar: self.sidecar }
    }

    /// One request on a connection of its own.
    pub(super) async fn post(&self, path: &str, body: Vec<u8>) -> Result<Response<Bytes>, Box<dyn Error>> {
        let stream = TcpStream::connect(self.sidecar).await?;
        let name = ServerName::try_from("orders")?;
        let stream = TlsConnector::from(self.config.clone()).connect(name, stream).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = Request::post(path)
            .header(header::HOST, "orders")
            .header(header::CONTENT_TYPE, "application/avro")
            .body(Full::new(Bytes::from(body)))?;
        let (head, body) = match sender.send_request(request).await {
            Ok(response) => response.into_parts(),
            // What ended the connection says more than that it ended.
            Err(error) => return Err(connection.await?.err().unwrap_or(error).into()),
        };
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }
}

/// Has nothing to show when it is asked for a certificate.
#[derive(Debug)]
struct NoCertificate;

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}
