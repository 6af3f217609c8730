//! The admin listener: probes and metrics for the cluster, and what the sidecar knows for who is on its own host.
//!
//! - `/live`, `/ready` and `/metrics` answer anybody; the other pages answer loopback alone, and only where Host is an
//!   address or `localhost`, so that a browser cannot be led here by a name that somebody else resolves.
//! - `/probe/<port>/<path>` relays the kubelet's [probes](Probes) of anybody, at the paths that the bootstrap names.
//! - Nothing here changes anything: GET and HEAD are the methods.
//! - A connection carries one request and ends within [`CONNECTION_LIMIT`]; there are at most [`CONNECTIONS_MAX`].

use super::probes::Probes;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue};
use http::uri::Authority;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::warn;

/// What the pages show. Each is asked when somebody reads it.
#[derive(Clone)]
pub struct AdminPages {
    /// Whether new requests are welcome; if not, why.
    pub ready: Arc<dyn Fn() -> Result<(), &'static str> + Send + Sync>,
    /// Prometheus' text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// The bootstrap in force.
    pub config: JsonPage,
    /// The policy in force.
    pub policy: JsonPage,
    /// The schemas that are published here.
    pub schemas: JsonPage,
    /// Our own certificate and the trust bundles.
    pub certs: JsonPage,
    /// The latest refusals.
    pub decisions: JsonPage,
    /// How the policy decides on a request.
    pub explain: ExplainPage,
    /// What is asked of the service.
    pub probes: Arc<Probes>,
}

/// A page of JSON.
pub type JsonPage = Arc<dyn Fn() -> Value + Send + Sync>;

/// Answers a question with JSON, or says what about it cannot be read.
pub type ExplainPage = Arc<dyn Fn(&ExplainQuery) -> Result<Value, String> + Send + Sync>;

/// The question of `/policy/explain?from=…&method=…&path=…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainQuery {
    /// The caller's identity.
    pub from: String,
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
}

/// Connections at a time; with one more the oldest ends.
pub const CONNECTIONS_MAX: usize = 64;

/// How long a connection may take, from its start to the end of its answer.
pub const CONNECTION_LIMIT: Duration = Duration::from_secs(10);

/// How long the head of a request may take.
const HEAD_LIMIT: Duration = Duration::from_secs(2);

/// How many bytes the head of a request may have.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How long accepting rests after the system refused it, mostly for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The pages, for who asks for one that is not here.
const PAGES: [&str; 10] = [
    "/live",
    "/ready",
    "/metrics",
    "/probe/<port>/<path>",
    "/config",
    "/policy",
    "/policy/explain?from=&method=&path=",
    "/schemas",
    "/certs",
    "/decisions",
];

/// Serves the pages until it is dropped.
pub async fn serve(listener: TcpListener, pages: Arc<AdminPages>) -> Infallible {
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                open.retain(|connection| !connection.is_finished());
                // The oldest gives way: whoever only holds connections open keeps no probe of the kubelet's out.
                if open.len() >= CONNECTIONS_MAX
                    && let Some(oldest) = open.pop_front()
                {
                    oldest.abort();
                }
                let pages = pages.clone();
                let connection = tokio::spawn(async move {
                    serve_connection(stream, from.ip(), pages, CONNECTION_LIMIT).await;
                });
                open.push_back(connection.abort_handle());
            }
            Err(error) => {
                warn!(%error, "the admin listener cannot accept");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection<S>(stream: S, from: IpAddr, pages: Arc<AdminPages>, limit: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let pages = pages.clone();
        async move {
            let (head, _) = request.into_parts();
            Ok::<_, Infallible>(match pages.probes.asked(&head.method, &head.uri) {
                Some(path) => match pages.probes.relay(&head.method, path, &head.headers).await {
                    Ok(status) => text(status, format!("the service answered {status}\n")),
                    Err((status, why)) => text(status, format!("{why}\n")),
                },
                None => answer(&pages, &head.method, &head.uri, &head.headers, from),
            })
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(HEAD_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Who is cut off, or speaks no HTTP, has been told by the connection's end.
    let _ = timeout(limit, connection).await;
}

/// The answer to one request.
fn answer(pages: &AdminPages, method: &Method, uri: &Uri, headers: &HeaderMap, from: IpAddr) -> Response<Full<Bytes>> {
    if ![Method::GET, Method::HEAD].contains(method) {
        let mut refused = refusal(StatusCode::METHOD_NOT_ALLOWED, "these pages are read with GET and HEAD");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match uri.path() {
        "/live" => return text(StatusCode::OK, "live\n"),
        "/ready" => {
            return match (pages.ready)() {
                Ok(()) => text(StatusCode::OK, "ready\n"),
                Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            };
        }
        "/metrics" => return page(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", (pages.metrics)()),
        _ => {}
    }
    if !from.to_canonical().is_loopback() {
        return refusal(StatusCode::FORBIDDEN, "this page answers loopback alone");
    }
    if !host_is_here(headers) {
        return refusal(StatusCode::FORBIDDEN, "Host has to be an address or localhost");
    }
    match uri.path() {
        "/config" => shown(&(pages.config)()),
        "/policy" => shown(&(pages.policy)()),
        "/policy/explain" => explain(pages, uri),
        "/schemas" => shown(&(pages.schemas)()),
        "/certs" => shown(&(pages.certs)()),
        "/decisions" => shown(&(pages.decisions)()),
        _ => json_page(StatusCode::NOT_FOUND, &json!({"error": "no such page", "pages": PAGES})),
    }
}

fn explain(pages: &AdminPages, uri: &Uri) -> Response<Full<Bytes>> {
    match ExplainQuery::parse(uri.query().unwrap_or_default()).and_then(|query| (pages.explain)(&query)) {
        Ok(explanation) => shown(&explanation),
        Err(why) => refusal(StatusCode::BAD_REQUEST, &why),
    }
}

/// Whether there is one Host and it names this host by itself: a name that a stranger resolves could be anything.
fn host_is_here(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else { return false };
    let host = authority.host();
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let alone = !authority.as_str().contains('@');
    alone && (host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok())
}

impl ExplainQuery {
    /// Reads a query: each of the three once, nothing else.
    fn parse(query: &str) -> Result<Self, String> {
        let (mut from, mut method, mut path) = (None, None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match name {
                "from" => &mut from,
                "method" => &mut method,
                "path" => &mut path,
                _ => return Err("unknown parameter: wanted are from, method and path".to_owned()),
            };
            let value = percent_decoded(value).ok_or_else(|| format!("`{name}` is badly encoded"))?;
            if slot.replace(value).is_some() {
                return Err(format!("`{name}` is given twice"));
            }
        }
        let given = |value: Option<String>, name| value.ok_or_else(|| format!("`{name}` is missing"));
        Ok(Self { from: given(from, "from")?, method: given(method, "method")?, path: given(path, "path")? })
    }
}

/// A query's value in plain text. A plus is a plus: paths hold them.
fn percent_decoded(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digit =
                    |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(bytes.next())? << 4 | digit(bytes.next())?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

fn shown(value: &Value) -> Response<Full<Bytes>> {
    json_page(StatusCode::OK, value)
}

fn refusal(status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    json_page(status, &json!({"error": why}))
}

fn json_page(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    page(status, "application/json", format!("{value:#}\n"))
}

fn text(status: StatusCode, body: impl Into<String>) -> Response<Full<Bytes>> {
    page(status, "text/plain; charset=utf-8", body.into())
}

fn page(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

impl fmt::Debug for AdminPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminPages").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config::{Protocol, ServiceConfig};
    use http_body_util::BodyExt;
    use std::time::Instant;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    const HERE: &str = "127.0.0.1";
    const ELSEWHERE: &str = "10.1.2.3";

    fn pages() -> AdminPages {
        let page = |name: &'static str| -> JsonPage { Arc::new(move || json!({ "page": name })) };
        AdminPages {
            ready: Arc::new(|| Ok(())),
            metrics: Arc::new(|| "up 1\n".to_owned()),
            config: page("config"),
            policy: page("policy"),
            schemas: page("schemas"),
            certs: page("certs"),
            decisions: page("decisions"),
            probes: Arc::new(Probes::new(
                ServiceConfig { address: "127.0.0.1:1".parse().unwrap(), protocol: Protocol::Http1 },
                vec!["/healthz".to_owned()],
            )),
            explain: Arc::new(|query| match query.method.as_str() {
                "GET" => Ok(json!(format!("{} {}", query.from, query.path))),
                _ => Err("`method` is none".to_owned()),
            }),
        }
    }

    /// Status and body of the answer to `method target`, asked from there with this Host.
    fn ask(pages: &AdminPages, request: &str, host: Option<&str>, from: &str) -> (u16, String) {
        let (method, target) = request.split_once(' ').unwrap();
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(HOST, HeaderValue::from_str(host).unwrap());
        }
        let response =
            answer(pages, &method.parse().unwrap(), &target.parse().unwrap(), &headers, from.parse().unwrap());
        let status = response.status().as_u16();
        let body = runtime().block_on(response.into_body().collect()).unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn probes_and_metrics_answer_anybody_and_pages_loopback() {
        let check = |request: &str, from: &str, status: u16, body: &str| {
            let got = ask(&pages(), request, Some("localhost:6191"), from);
            assert!(got.0 == status && got.1.contains(body), "{request} from {from}: {got:?}");
        };
        for from in [HERE, ELSEWHERE] {
            check("GET /live", from, 200, "live");
            check("HEAD /ready", from, 200, "ready");
            check("GET /metrics", from, 200, "up 1");
            check("POST /metrics", from, 405, "GET and HEAD");
            check("DELETE /nowhere", from, 405, "GET and HEAD");
        }
        for name in ["config", "policy", "schemas", "certs", "decisions"] {
            check(&format!("GET /{name}"), HERE, 200, name);
            check(&format!("GET /{name}"), "127.8.9.1", 200, name);
            check(&format!("GET /{name}"), "::1", 200, name);
            check(&format!("GET /{name}"), "::ffff:127.0.0.1", 200, name);
            check(&format!("GET /{name}"), ELSEWHERE, 403, "loopback");
            check(&format!("GET /{name}"), "::ffff:10.1.2.3", 403, "loopback");
            check(&format!("POST /{name}"), HERE, 405, "GET and HEAD");
        }
        check("GET /", HERE, 404, "/policy/explain");
        check("GET /config/", HERE, 404, "/live");
        check("GET //config", HERE, 404, "/live");
        check("GET /%63onfig", HERE, 404, "/live");
        check("GET /", ELSEWHERE, 403, "loopback");
    }

    #[test]
    fn a_name_that_somebody_else_resolves_is_refused() {
        for (host, status) in [
            (Some("localhost"), 200),
            (Some("LOCALHOST:6191"), 200),
            (Some("127.0.0.1:6191"), 200),
            (Some("[::1]:6191"), 200),
            (Some("evil.example"), 403),
            (Some("localhost.evil.example:6191"), 403),
            (Some("127.0.0.1.evil.example"), 403),
            (Some("evil.example@localhost"), 403),
            (Some("localhost, evil.example"), 403),
            (Some(""), 403),
            (None, 403),
        ] {
            assert_eq!(ask(&pages(), "GET /config", host, HERE).0, status, "{host:?}");
            assert_eq!(ask(&pages(), "GET /live", host, HERE).0, 200, "{host:?}");
        }
    }

    #[test]
    fn not_ready_says_why() {
        let mut pages = pages();
        pages.ready = Arc::new(|| Err("draining"));
        assert_eq!(ask(&pages, "GET /ready", None, ELSEWHERE), (503, "draining\n".to_owned()));
        assert_eq!(ask(&pages, "GET /live", None, ELSEWHERE).0, 200);
    }

    #[test]
    fn explain_reads_its_question() {
        for (query, status, body) in [
            ("from=spiffe%3A%2F%2Fa%2fb&method=GET&path=/v1/a%20b+c", 200, "spiffe://a/b /v1/a b+c"),
            ("path=/&method=GET&from=", 200, " /"),
            ("from=a&method=POST&path=/", 400, "`method` is none"),
            ("from=a&method=GET", 400, "`path` is missing"),
            ("from=a&from=b&method=GET&path=/", 400, "`from` is given twice"),
            ("from=a&method=GET&path=%2", 400, "`path` is badly encoded"),
            ("from=a&method=GET&path=%zz", 400, "`path` is badly encoded"),
            ("from=a&method=GET&path=%ff", 400, "`path` is badly encoded"),
            ("from=a&method=GET&path=/&token=x", 400, "unknown parameter"),
            ("", 400, "`from` is missing"),
        ] {
            let got = ask(&pages(), &format!("GET /policy/explain?{query}"), Some("[::1]"), HERE);
            assert!(got.0 == status && got.1.contains(body), "{query}: {got:?}");
        }
    }

    #[test]
    fn a_connection_carries_one_request() {
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = tokio::spawn(serve(listener, Arc::new(pages())));
            let mut stream = TcpStream::connect(address).await.unwrap();
            let twice = b"HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\nGET /live HTTP/1.1\r\nHost: a\r\n\r\n";
            stream.write_all(twice).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
            assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
            assert!(answer.contains("content-length: 5\r\n") && answer.contains("connection: close"), "{answer}");
            server.abort();
        });
    }

    #[test]
    fn the_oldest_of_too_many_gives_way() {
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let server = tokio::spawn(serve(listener, Arc::new(pages())));
            let mut idle = Vec::new();
            for _ in 0..CONNECTIONS_MAX {
                idle.push(TcpStream::connect(address).await.unwrap());
            }
            let mut one_more = TcpStream::connect(address).await.unwrap();
            let mut nothing = Vec::new();
            assert_eq!(idle[0].read_to_end(&mut nothing).await.unwrap_or(0), 0);
            for served in [&mut one_more, &mut idle[1]] {
                served.write_all(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
                let mut answer = String::new();
                served.read_to_string(&mut answer).await.unwrap();
                assert!(answer.contains("live"));
            }
            server.abort();
        });
    }

    #[test]
    fn who_says_nothing_or_never_ends_is_cut_off() {
        runtime().block_on(async {
            let limit = Duration::from_millis(50);
            for start in ["", "GET /live HTTP/1.1\r\nHost:", "POST /live HTTP/1.1\r\nContent-Length: 9\r\n\r\n"] {
                let (mut caller, connection) = tokio::io::duplex(1024);
                caller.write_all(start.as_bytes()).await.unwrap();
                let begin = Instant::now();
                serve_connection(connection, HERE.parse().unwrap(), Arc::new(pages()), limit).await;
                assert!(begin.elapsed() < Duration::from_secs(2), "{start}");
                let mut rest = Vec::new();
                caller.read_to_end(&mut rest).await.unwrap();
            }
        });
    }

    #[test]
    fn a_head_that_is_too_large_is_refused() {
        runtime().block_on(async {
            let (mut caller, connection) = tokio::io::duplex(64 * 1024);
            let head = format!("GET /live HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
            caller.write_all(head.as_bytes()).await.unwrap();
            serve_connection(connection, HERE.parse().unwrap(), Arc::new(pages()), CONNECTION_LIMIT).await;
            let mut answer = String::new();
            caller.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        });
    }
}
