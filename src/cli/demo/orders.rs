//! The demo's orders service: what an application team has, knowing nothing of avrogate.
//!
//! It decodes with `apache-avro` as a real service would, and writes down what it saw of each request.

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use apache_avro::writer::datum::GenericDatumWriter;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;

/// A customer for whom the service answers with half of what its contract asks.
pub(super) const UNLUCKY_CUSTOMER: &str = "mallory";

/// The service and its notes.
#[derive(Debug, Clone)]
pub(super) struct Orders(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    orders: HashMap<u32, apache_avro::Schema>,
    accepted: apache_avro::Schema,
    accepted_fingerprint: u64,
    seen: Mutex<Option<String>>,
}

impl Orders {
    /// A service that reads orders of these registry ids.
    pub(super) fn new(orders: &[(u32, &str)], accepted: &str) -> Result<Self, Box<dyn Error>> {
        let parse = |(id, text): &(u32, &str)| Ok((*id, apache_avro::Schema::parse_str(text)?));
        let inner = Inner {
            orders: orders.iter().map(parse).collect::<Result<_, Box<dyn Error>>>()?,
            accepted: apache_avro::Schema::parse_str(accepted)?,
            accepted_fingerprint: crate::avro::Schema::parse(accepted)?.fingerprint(),
            seen: Mutex::default(),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// What it saw since this was asked last; nothing if no request reached it.
    pub(super) fn seen(&self) -> Option<String> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Serves on a port of its own, on a thread of its own, until the process ends.
    pub(super) fn start(&self) -> std::io::Result<SocketAddr> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let service = self.clone();
        std::thread::Builder::new().name("orders".into()).spawn(move || runtime.block_on(service.serve(listener)))?;
        Ok(address)
    }

    async fn serve(self, listener: std::net::TcpListener) -> std::io::Result<()> {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            let service = self.clone();
            tokio::spawn(async move {
                let answer = service_fn(move |request| {
                    let service = service.clone();
                    async move { Ok::<_, Infallible>(service.answer(request).await) }
                });
                http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await
            });
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let caller = caller(&head.headers);
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => return self.note("a body that broke off".into(), StatusCode::BAD_REQUEST, Bytes::new()),
        };
        if head.uri.path() == "/healthz" {
            return self.note(format!("a health check of {caller}"), StatusCode::OK, Bytes::from_static(b"ok\n"));
        }
        match self.decode(&body) {
            Ok(Value::Record(fields)) => {
                let (id, customer, lines) = summary(&fields);
                let mut accepted = self.accept(&id, lines);
                if customer == UNLUCKY_CUSTOMER {
                    accepted.truncate(accepted.len() / 2);
                }
                let noun = if lines == 1 { "line" } else { "lines" };
                self.note(format!("order {id}, {lines} {noun}, of {caller}"), StatusCode::CREATED, accepted.into())
            }
            Ok(_) => self.note("a datum that is no order".into(), StatusCode::BAD_REQUEST, Bytes::new()),
            Err(error) => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                self.note(format!("{} bytes, and crashed: {error}", body.len()), status, Bytes::new())
            }
        }
    }

    fn decode(&self, body: &[u8]) -> Result<Value, Box<dyn Error>> {
        let Some(([0, id @ ..], mut datum)) = body.split_first_chunk::<5>() else {
            return Err("not in Confluent's framing".into());
        };
        let schema = self.0.orders.get(&u32::from_be_bytes(*id)).ok_or("unknown schema id")?;
        Ok(GenericDatumReader::builder(schema).build()?.read_value(&mut datum)?)
    }

    /// An `OrderAccepted` in single-object encoding.
    fn accept(&self, id: &str, lines: usize) -> Vec<u8> {
        let value = Value::Record(vec![
            ("id".into(), Value::String(id.into())),
            ("lines".into(), Value::Int(i32::try_from(lines).unwrap_or(i32::MAX))),
            ("accepted_at".into(), Value::TimestampMillis(1_795_000_000_000)),
        ]);
        let mut body = vec![0xc3, 0x01];
        body.extend(self.0.accepted_fingerprint.to_le_bytes());
        let datum = GenericDatumWriter::builder(&self.0.accepted).build().and_then(|to| to.write_value_to_vec(value));
        body.extend(datum.unwrap_or_default());
        body
    }

    fn note(&self, seen: String, status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
        *self.0.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        let mut response = Response::new(Full::new(body));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/avro"));
        response
    }
}

/// Who calls, as avrogate says: the last segment of the SPIFFE ID.
fn caller(headers: &HeaderMap) -> &str {
    let peer = headers.get("avrogate-peer").and_then(|peer| peer.to_str().ok());
    peer.and_then(|peer| peer.rsplit('/').next()).unwrap_or("nobody")
}

fn summary(fields: &[(String, Value)]) -> (String, String, usize) {
    let field = |wanted: &str| fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
    let text = |value: Option<&Value>| if let Some(Value::String(text)) = value { text.clone() } else { "?".into() };
    let lines = if let Some(Value::Array(lines)) = field("lines") { lines.len() } else { 0 };
    (text(field("id")), text(field("customer")), lines)
}
