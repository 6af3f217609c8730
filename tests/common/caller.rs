//! Callers over mutual TLS or in plaintext, with hyper's h1 and h2.

use super::raw::Raw;
use super::within;
use avrogate::identity::dev::DevSvid;
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use std::collections::VecDeque;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Which HTTP a caller speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Http {
    H1,
    H2,
}

/// Both, for what must hold for both.
pub(crate) const BOTH: [Http; 2] = [Http::H1, Http::H2];

/// Somebody who calls the sidecar.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// None in plaintext.
    tls: Option<rustls::ClientConfig>,
    sidecar: SocketAddr,
}

/// A request to be.
#[derive(Debug)]
pub(crate) struct Ask {
    method: Method,
    path: String,
    fields: HeaderMap,
    body: Body,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether the message came to its end.
    pub(crate) whole: bool,
}

/// A body that comes step by step.
#[derive(Debug, Default)]
pub(crate) struct Body {
    steps: VecDeque<Step>,
    /// Whether its length is said beforehand.
    declared: bool,
}

/// What a body does next.
#[derive(Debug)]
pub(crate) enum Step {
    /// A chunk, or a DATA frame.
    Data(Bytes),
    /// Nothing, until the other end of the channel says so or is gone.
    Wait(oneshot::Receiver<()>),
    Trailers(HeaderMap),
    /// It breaks off: a reset on h2, a lost connection on h1.
    Break,
    /// Nothing ever.
    Never,
}

/// A connection for several requests.
#[derive(Debug)]
pub(crate) enum Conversation {
    H1(http1::SendRequest<Body>),
    H2(http2::SendRequest<Body>),
}

pub(crate) type Failed = Box<dyn Error + Send + Sync>;

impl Caller {
    /// A caller with a certificate or none, which believes this authority.
    pub(crate) fn new(svid: Option<&DevSvid>, authority: &str, sidecar: SocketAddr) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let tls = match svid {
            Some(svid) => {
                let chain = CertificateDer::pem_slice_iter(svid.certificate_pem.as_bytes()).map(Result::unwrap);
                let key = PrivateKeyDer::from_pem_slice(svid.key_pem.as_bytes()).unwrap();
                config.with_client_auth_cert(chain.collect(), key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        Self { tls: Some(tls), sidecar }
    }

    /// A caller in plaintext.
    pub(crate) fn plain(sidecar: SocketAddr) -> Self {
        Self { tls: None, sidecar }
    }

    /// How it does TLS.
    pub(crate) fn tls(&self) -> rustls::ClientConfig {
        self.tls.clone().unwrap()
    }

    /// One request on a connection of its own.
    pub(crate) async fn send(&self, http: Http, ask: Ask) -> Reply {
        let what = format!("{} {}", ask.method, ask.path);
        self.try_send(http, ask).await.unwrap_or_else(|error| panic!("{http:?} {what}: {error:?}"))
    }

    /// The same, where there may be no answer.
    pub(crate) async fn try_send(&self, http: Http, ask: Ask) -> Result<Reply, Failed> {
        self.connect(http).await?.send(ask).await
    }

    /// A connection for several requests.
    pub(crate) async fn connect(&self, http: Http) -> Result<Conversation, Failed> {
        let alpn: &[u8] = if http == Http::H1 { b"http/1.1" } else { b"h2" };
        if self.tls.is_some() {
            Conversation::begin(http, self.stream(alpn).await?).await
        } else {
            Conversation::begin(http, TcpStream::connect(self.sidecar).await?).await
        }
    }

    /// A TLS stream to write HTTP/1.1 on by hand.
    pub(crate) async fn raw(&self) -> Raw {
        Raw::new(self.stream(b"http/1.1").await.unwrap())
    }

    /// A TLS stream for one protocol.
    pub(crate) async fn stream(&self, alpn: &[u8]) -> Result<TlsStream<TcpStream>, Failed> {
        let stream = TcpStream::connect(self.sidecar).await?;
        stream.set_nodelay(true)?;
        let mut tls = self.tls.clone().expect("a caller over TLS");
        tls.alpn_protocols = vec![alpn.to_vec()];
        let name = ServerName::try_from("orders")?;
        Ok(within("a TLS handshake", TlsConnector::from(Arc::new(tls)).connect(name, stream)).await?)
    }
}

impl Conversation {
    async fn begin<S>(http: Http, stream: S) -> Result<Self, Failed>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = TokioIo::new(stream);
        Ok(match http {
            Http::H1 => {
                let (sender, connection) = http1::handshake(stream).await?;
                tokio::spawn(connection);
                Self::H1(sender)
            }
            Http::H2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
                tokio::spawn(connection);
                Self::H2(sender)
            }
        })
    }

    /// Waits until the other side has ended the connection.
    pub(crate) async fn ends(&self) {
        within("the connection ends", async {
            while !self.has_ended() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// Whether the other side has ended the connection.
    pub(crate) fn has_ended(&self) -> bool {
        match self {
            Self::H1(sender) => sender.is_closed(),
            Self::H2(sender) => sender.is_closed(),
        }
    }

    /// One request and its answer.
    pub(crate) async fn send(&mut self, ask: Ask) -> Result<Reply, Failed> {
        let what = format!("the answer to {} {}", ask.method, ask.path);
        within(&what, async {
            let response = match self {
                Self::H1(sender) => {
                    sender.ready().await?;
                    sender.send_request(ask.request(Http::H1)).await?
                }
                Self::H2(sender) => {
                    sender.ready().await?;
                    sender.send_request(ask.request(Http::H2)).await?
                }
            };
            let (head, mut body) = response.into_parts();
            let mut reply =
                Reply { status: head.status.as_u16(), fields: head.headers, body: Bytes::new(), whole: true };
            let mut bytes = Vec::new();
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => bytes.extend(frame.into_data().unwrap_or_default()),
                    Err(_) => {
                        reply.whole = false;
                        break;
                    }
                }
            }
            reply.body = bytes.into();
            Ok(reply)
        })
        .await
    }
}

impl Ask {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.parse().unwrap(),
            path: path.to_owned(),
            fields: HeaderMap::new(),
            body: Body::whole(Bytes::new()),
        }
    }

    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// A body whose length is known.
    pub(crate) fn post(path: &str, body: impl Into<Bytes>) -> Self {
        let body = Body::whole(body.into());
        Self { body, ..Self::new("POST", path) }.field("content-type", "application/avro")
    }

    /// A body that comes piece by piece, of unknown length.
    pub(crate) fn pieces<'b>(path: &str, pieces: impl IntoIterator<Item = &'b [u8]>) -> Self {
        let steps = pieces.into_iter().map(|piece| Step::Data(Bytes::copy_from_slice(piece)));
        Self::steps(path, steps.collect())
    }

    /// A body that comes as this says, of unknown length.
    pub(crate) fn steps(path: &str, steps: Vec<Step>) -> Self {
        Self { body: Body::of(steps), ..Self::new("POST", path) }.field("content-type", "application/avro")
    }

    pub(crate) fn method(mut self, method: &str) -> Self {
        self.method = method.parse().unwrap();
        self
    }

    /// One more field.
    pub(crate) fn field(mut self, name: &'static str, value: &str) -> Self {
        self.fields.append(name, value.parse().unwrap());
        self
    }

    fn request(self, http: Http) -> Request<Body> {
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method;
        *request.headers_mut() = self.fields;
        match http {
            Http::H1 => {
                *request.uri_mut() = self.path.parse().unwrap();
                request.headers_mut().entry("host").or_insert("orders".parse().unwrap());
            }
            Http::H2 => *request.uri_mut() = format!("https://orders{}", self.path).parse().unwrap(),
        }
        request
    }
}

impl Reply {
    /// The only value of a field, or nothing.
    pub(crate) fn field(&self, name: &str) -> &str {
        assert!(self.fields.get_all(name).iter().count() <= 1, "{name} twice");
        self.fields.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// avrogate's reason, or nothing.
    pub(crate) fn reason(&self) -> &str {
        self.field("avrogate-reason")
    }

    /// Problem details.
    pub(crate) fn problem(&self) -> Value {
        assert_eq!(self.field("content-type"), "application/problem+json", "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status and reason, as most tests want to know them.
    pub(crate) fn verdict(&self) -> (u16, &str) {
        (self.status, self.reason())
    }
}

impl Body {
    /// All at once, and its length is said.
    pub(crate) fn whole(body: Bytes) -> Self {
        let steps = if body.is_empty() { Vec::new() } else { vec![Step::Data(body)] };
        Self { steps: steps.into(), declared: true }
    }

    /// Step by step.
    pub(crate) fn of(steps: Vec<Step>) -> Self {
        Self { steps: steps.into(), declared: false }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        loop {
            let waits = match self.steps.front_mut() {
                Some(Step::Wait(until)) => Pin::new(until).poll(cx).is_pending(),
                Some(Step::Never) => true,
                _ => false,
            };
            if waits {
                return Poll::Pending;
            }
            return Poll::Ready(match self.steps.pop_front() {
                None => None,
                Some(Step::Data(data)) => Some(Ok(Frame::data(data))),
                Some(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
                Some(Step::Break) => Some(Err("broken off, as told")),
                Some(Step::Wait(_) | Step::Never) => continue,
            });
        }
    }

    fn is_end_stream(&self) -> bool {
        self.declared && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let length = |step: &Step| if let Step::Data(data) = step { data.len() as u64 } else { 0 };
        if self.declared { SizeHint::with_exact(self.steps.iter().map(length).sum()) } else { SizeHint::default() }
    }
}
