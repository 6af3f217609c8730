//! What stands in for the service: it writes down every request it sees, and answers as it is told.
//!
//! Over h1 it reads and writes the bytes itself, so that nothing of what avrogate sent is lost, and any answer, however
//! wrong, can be given. Over h2c hyper does.

use super::caller::{Body, Step};
use super::{DEADLINE, bodies, within};
use avrogate::control::config::Protocol;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

/// The double, or a handle to it.
#[derive(Clone)]
pub(crate) struct Double {
    pub(crate) address: SocketAddr,
    log: Arc<Log>,
    accepting: Arc<JoinHandle<()>>,
}

/// A request as the service saw it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Which connection it came on; the first is 1.
    pub(crate) connection: usize,
    pub(crate) method: String,
    pub(crate) target: String,
    /// Names as they were spelled.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body came to its end.
    pub(crate) whole: bool,
    /// Whether trailers came behind it.
    pub(crate) trailers: bool,
}

/// How the double answers.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// As a service should.
    Whole { status: u16, fields: Vec<(&'static str, &'static str)>, body: Bytes },
    /// Only once it is told to, with [`Double::go_on`].
    Held(Box<Self>),
    /// The head of an answer whose length is not known, some of the body, and no more; the connection stays.
    Stalls(Bytes),
    /// The same, and then the connection (h1) or the stream (h2c) is broken off.
    Dies(Bytes),
    /// It breaks off instead of answering.
    HangsUp,
    /// 201 and the request's own body.
    Echo,
    /// Never.
    Silent,
    /// Exactly these bytes, over h1; then it gives back whatever comes, until that ends, and says goodbye.
    Tunnel(&'static str),
    /// Exactly these bytes, over h1; then the connection ends, or waits for the next request.
    Raw { bytes: Vec<u8>, close: bool },
    /// As this says of the request.
    Chosen(fn(&Seen) -> Self),
}

struct Log {
    state: Mutex<State>,
    changed: Notify,
    go_on: Notify,
}

struct State {
    seen: Vec<Seen>,
    bytes: u64,
    connections: usize,
    open: usize,
    /// The most that were open at once.
    open_max: usize,
    answer: Answer,
    /// Closes each connection once its answer is out, without having said so.
    fickle: bool,
}

impl Answer {
    /// 201 and a body.
    pub(crate) fn created(body: impl Into<Bytes>) -> Self {
        Self::Whole { status: 201, fields: vec![("content-type", "application/avro")], body: body.into() }
    }

    /// A status and a body.
    pub(crate) fn status(status: u16, body: impl Into<Bytes>) -> Self {
        Self::Whole { status, fields: Vec::new(), body: body.into() }
    }

    /// Exactly this, after which the connection stays open.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Raw { bytes: bytes.into(), close: false }
    }
}

impl Seen {
    /// The only value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.values(name);
        let value = values.next();
        assert_eq!(values.next(), None, "{name} twice");
        value
    }

    /// Every value of a field.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl Double {
    /// Listens, and answers every request with a valid answer to an order.
    pub(crate) async fn start(protocol: Protocol) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let state = State {
            seen: Vec::new(),
            bytes: 0,
            connections: 0,
            open: 0,
            open_max: 0,
            answer: Answer::created(bodies::accepted()),
            fickle: false,
        };
        let log = Arc::new(Log { state: Mutex::new(state), changed: Notify::new(), go_on: Notify::new() });
        let address = listener.local_addr().unwrap();
        Self { address, accepting: Arc::new(tokio::spawn(accept(listener, protocol, log.clone()))), log }
    }

    /// From now on it answers like this.
    pub(crate) fn answers(&self, answer: Answer) {
        self.log.state.lock().unwrap().answer = answer;
    }

    /// From now on it closes each connection once it has answered on it, without having said so.
    pub(crate) fn is_fickle(&self) {
        self.log.state.lock().unwrap().fickle = true;
    }

    /// Gives one answer that is [held](Answer::Held).
    pub(crate) fn go_on(&self) {
        self.log.go_on.notify_one();
    }

    /// What it has seen so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.log.state.lock().unwrap().seen.clone()
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.log.state.lock().unwrap().connections
    }

    /// How many connections were open at once at most.
    pub(crate) fn open_max(&self) -> usize {
        self.log.state.lock().unwrap().open_max
    }

    /// Waits until it has seen at least so many heads.
    pub(crate) async fn sees(&self, requests: usize) -> Vec<Seen> {
        self.log.until("the service sees a request", |state| state.seen.len() >= requests).await;
        self.seen()
    }

    /// Waits until this much of the body of its nth request, counted from none, is there.
    pub(crate) async fn has_body(&self, nth: usize, body: &[u8]) {
        self.log
            .until("the service has a body", |state| state.seen.get(nth).is_some_and(|seen| seen.body == body))
            .await;
    }

    /// Waits until it has no connections.
    pub(crate) async fn is_alone(&self) {
        self.log.until("the service's connections end", |state| state.open == 0).await;
    }

    /// Stops listening: who connects from now on is refused.
    pub(crate) async fn leaves(&self) {
        self.accepting.abort();
        while !self.accepting.is_finished() {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until every connection has ended; everything it has seen, and how many bytes in all.
    pub(super) async fn end(self) -> (Vec<Seen>, u64) {
        self.is_alone().await;
        let state = self.log.state.lock().unwrap();
        (state.seen.clone(), state.bytes)
    }
}

impl Log {
    async fn until(&self, what: &str, satisfied: impl Fn(&State) -> bool) {
        within(what, async {
            loop {
                let mut changed = std::pin::pin!(self.changed.notified());
                changed.as_mut().enable();
                if satisfied(&self.state.lock().unwrap()) {
                    return;
                }
                changed.await;
            }
        })
        .await;
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state.lock().unwrap());
        self.changed.notify_waiters();
        changed
    }

    /// A request's head is there; says which request it is.
    fn head(&self, seen: Seen) -> usize {
        self.change(|state| {
            state.seen.push(seen);
            state.seen.len() - 1
        })
    }

    /// What it is to answer to the request, once it is time to.
    async fn answer(&self, at: usize) -> Answer {
        let answer = {
            let state = self.state.lock().unwrap();
            match &state.answer {
                Answer::Chosen(choose) => choose(&state.seen[at]),
                answer => answer.clone(),
            }
        };
        let answer = match answer {
            Answer::Held(answer) => {
                self.go_on.notified().await;
                *answer
            }
            answer => answer,
        };
        match answer {
            Answer::Echo => Answer::created(self.state.lock().unwrap().seen[at].body.clone()),
            answer => answer,
        }
    }
}

async fn accept(listener: TcpListener, protocol: Protocol, log: Arc<Log>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let connection = log.change(|state| {
            state.connections += 1;
            state.open += 1;
            state.open_max = state.open_max.max(state.open);
            state.connections
        });
        let log = log.clone();
        tokio::spawn(async move {
            match protocol {
                Protocol::Http1 => drop(H1 { stream, connection, buffer: Vec::new(), log: log.clone() }.serve().await),
                Protocol::H2c => serve_h2(stream, connection, log.clone()).await,
            }
            log.change(|state| state.open -= 1);
        });
    }
}

/// A connection whose bytes are read by hand. `None` is its end.
struct H1 {
    stream: TcpStream,
    connection: usize,
    buffer: Vec<u8>,
    log: Arc<Log>,
}

impl H1 {
    async fn serve(mut self) -> Option<()> {
        loop {
            let head = self.take_through(b"\r\n\r\n").await?;
            let mut lines = std::str::from_utf8(&head).unwrap().split("\r\n");
            let mut first = lines.next().unwrap().split(' ');
            let fields = lines.take_while(|line| !line.is_empty()).map(|line| {
                let (name, value) = line.split_once(": ").unwrap();
                (name.to_owned(), value.to_owned())
            });
            let seen = Seen {
                connection: self.connection,
                method: first.next().unwrap().to_owned(),
                target: first.next().unwrap().to_owned(),
                fields: fields.collect(),
                ..Seen::default()
            };
            let length = seen.field("content-length").map(|length| length.parse::<usize>().unwrap());
            let chunked = seen.field("transfer-encoding").inspect(|coding| assert_eq!(*coding, "chunked")).is_some();
            assert!(!(chunked && length.is_some()), "two framings: {}", String::from_utf8_lossy(&head));
            let at = self.log.head(seen);
            if chunked {
                self.take_chunks(at).await?
            } else {
                self.take_body(at, length.unwrap_or(0)).await?
            }
            self.log.change(|state| state.seen[at].whole = true);
            self.answer(at).await?;
        }
    }

    async fn take_chunks(&mut self, at: usize) -> Option<()> {
        loop {
            let line = self.take_through(b"\r\n").await?;
            let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim_end(), 16).unwrap();
            self.take_body(at, size).await?;
            if size == 0 {
                while self.take_through(b"\r\n").await? != b"\r\n" {
                    self.log.change(|state| state.seen[at].trailers = true);
                }
                return Some(());
            }
            assert_eq!(self.take_through(b"\r\n").await?, b"\r\n");
        }
    }

    async fn take_body(&mut self, at: usize, length: usize) -> Option<()> {
        let mut left = length;
        while left > 0 {
            if self.buffer.is_empty() {
                self.read().await?;
            }
            let some: Vec<u8> = self.buffer.drain(..left.min(self.buffer.len())).collect();
            left -= some.len();
            self.log.change(|state| state.seen[at].body.extend(some));
        }
        Some(())
    }

    async fn take_through(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(found) = self.buffer.windows(end.len()).position(|window| window == end) {
                return Some(self.buffer.drain(..found + end.len()).collect());
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Option<()> {
        let read = self.stream.read_buf(&mut self.buffer).await.unwrap_or(0);
        self.log.change(|state| state.bytes += read as u64);
        (read > 0).then_some(())
    }

    async fn answer(&mut self, at: usize) -> Option<()> {
        let log = self.log.clone();
        // Who waits for an answer may leave.
        let answer = tokio::select! {
            answer = log.answer(at) => answer,
            None = self.read() => return None,
        };
        let (bytes, close) = match answer {
            Answer::Whole { status, fields, body } => {
                let mut head = format!("HTTP/1.1 {status} Reason\r\n");
                if status != 204 && status != 304 {
                    head.push_str(&format!("content-length: {}\r\n", body.len()));
                }
                for (name, value) in fields {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                head.push_str("\r\n");
                let bare = self.log.state.lock().unwrap().seen.last().unwrap().method == "HEAD";
                let body = if bare { Bytes::new() } else { body };
                ([head.as_bytes(), &body].concat(), false)
            }
            Answer::Stalls(body) => (unfinished(&body), false),
            Answer::Dies(body) => (unfinished(&body), true),
            Answer::Raw { bytes, close } => (bytes, close),
            Answer::Tunnel(head) => {
                self.stream.write_all(head.as_bytes()).await.ok()?;
                loop {
                    self.stream.write_all(&self.buffer).await.ok()?;
                    self.buffer.clear();
                    if self.read().await.is_none() {
                        self.stream.write_all(b"goodbye").await.ok()?;
                        return None;
                    }
                }
            }
            Answer::HangsUp => return None,
            Answer::Silent | Answer::Held(_) | Answer::Echo | Answer::Chosen(_) => {
                while self.read().await.is_some() {}
                return None;
            }
        };
        let fickle = self.log.state.lock().unwrap().fickle;
        // An avrogate that has seen enough does not read to the end.
        self.stream.write_all(&bytes).await.ok()?;
        if close || fickle { None } else { Some(()) }
    }
}

fn unfinished(body: &[u8]) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    // An empty chunk would be the last.
    let size = if body.is_empty() { String::new() } else { format!("{:x}\r\n", body.len()) };
    [head.as_bytes(), size.as_bytes(), body, if body.is_empty() { b"" } else { b"\r\n" }].concat()
}

async fn serve_h2(stream: TcpStream, connection: usize, log: Arc<Log>) {
    let answering = service_fn(move |request| answer_h2(connection, log.clone(), request));
    // What breaks a connection is what the test broke.
    let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answering).await;
}

async fn answer_h2(
    connection: usize,
    log: Arc<Log>,
    request: http::Request<Incoming>,
) -> Result<http::Response<Body>, &'static str> {
    let (head, mut body) = request.into_parts();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut fields: Vec<_> = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    fields.extend(head.uri.authority().map(|authority| (":authority".to_owned(), authority.to_string())));
    let at = log.head(Seen {
        connection,
        method: head.method.to_string(),
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        fields,
        ..Seen::default()
    });
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| "a body that broke off")?;
        log.change(|state| match frame.data_ref() {
            Some(data) => {
                state.seen[at].body.extend(data);
                state.bytes += data.len() as u64;
            }
            None => state.seen[at].trailers = true,
        });
    }
    log.change(|state| state.seen[at].whole = true);
    let mut answer = http::Response::new(Body::default());
    *answer.body_mut() = match log.answer(at).await {
        Answer::Whole { status, fields, body } => {
            *answer.status_mut() = status.try_into().unwrap();
            for (name, value) in fields {
                answer.headers_mut().append(name, value.parse().unwrap());
            }
            Body::whole(body)
        }
        Answer::Stalls(body) => Body::of(vec![Step::Data(body), Step::Never]),
        Answer::Dies(body) => {
            // h2 forgets what it has not written yet when a stream is reset.
            let (dies, when) = oneshot::channel();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let _ = dies.send(());
            });
            Body::of(vec![Step::Data(body), Step::Wait(when), Step::Break])
        }
        Answer::HangsUp => return Err("hangs up"),
        Answer::Silent | Answer::Held(_) | Answer::Echo | Answer::Chosen(_) => {
            tokio::time::sleep(DEADLINE * 2).await;
            return Err("silent");
        }
        Answer::Raw { .. } | Answer::Tunnel(_) => return Err("raw answers are h1's"),
    };
    Ok(answer)
}
