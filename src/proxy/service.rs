//! The service beside us: connections to it, kept for the next request by the worker that made them.
//!
//! A connection carries one h1 request at a time and comes back when the answer has been read to its end, not to the end
//! of its head. Over h2c one connection carries them all.

use super::gate::Gate;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::RefCell;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::control::config::{Protocol, ServiceConfig};

/// What a request to the service carries.
pub(crate) type ServiceBody = Gate<Incoming>;

/// The service, as one worker reaches it.
#[derive(Debug)]
pub(crate) struct Service {
    config: ServiceConfig,
    connect_max: Duration,
    idle: RefCell<Vec<http1::SendRequest<ServiceBody>>>,
    /// Whoever connects holds it; the others wait for that one connection.
    shared: Mutex<Option<http2::SendRequest<ServiceBody>>>,
}

/// Why the service gave no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// It has not seen the request.
    Unreachable(Box<dyn Error + Send + Sync>),
    /// It may have seen it, and acted.
    Failed(Box<dyn Error + Send + Sync>),
}

/// The service's answer as it comes. At its end, and only there, its connection is free for the next request.
#[derive(Debug)]
pub(crate) struct Answer {
    body: Incoming,
    connection: Option<(Rc<Service>, http1::SendRequest<ServiceBody>)>,
}

/// What h1 reads at once of an answer, and how long its head may be. A connection that waits for its next request keeps
/// a buffer of the size that the last one needed.
const READ_BUFFER: usize = 64 << 10;

/// Connections that wait for their next request, for each worker.
const IDLE_MAX: usize = 256;

impl Service {
    /// The service at this address; nothing is connected yet.
    pub(crate) fn new(config: ServiceConfig, connect_max: Duration) -> Self {
        Self { config, connect_max, idle: RefCell::default(), shared: Mutex::default() }
    }

    /// Whether it speaks h2c.
    pub(crate) fn is_h2(&self) -> bool {
        self.config.protocol == Protocol::H2c
    }

    /// Sends one request and waits for the head of its answer.
    ///
    /// A connection may die while it waits for its next request. Where hyper hands the request back unsent, it goes out
    /// once more, on a new connection.
    ///
    /// # Errors
    /// Where there is no connection or no answer.
    pub(crate) async fn send(self: &Rc<Self>, request: Request<ServiceBody>) -> Result<Response<Answer>, Unanswered> {
        match self.config.protocol {
            Protocol::Http1 => self.send_h1(request).await,
            Protocol::H2c => self.send_h2(request).await,
        }
    }

    /// Sends one request on a connection of its own, which may become a tunnel.
    ///
    /// # Errors
    /// Where there is no connection or no answer.
    pub(crate) async fn send_alone(&self, request: Request<ServiceBody>) -> Result<Response<Answer>, Unanswered> {
        let (mut sender, connection) =
            http1::handshake(self.connect().await?).await.map_err(|error| Unanswered::Unreachable(error.into()))?;
        spawn_connection(connection.with_upgrades());
        match sender.try_send_request(request).await {
            Ok(response) => Ok(response.map(|body| Answer { body, connection: None })),
            Err(error) => Err(unanswered(error)),
        }
    }

    async fn send_h1(self: &Rc<Self>, mut request: Request<ServiceBody>) -> Result<Response<Answer>, Unanswered> {
        let (mut sender, mut reused) = match self.take_idle() {
            Some(sender) => (sender, true),
            None => (self.connect_h1().await?, false),
        };
        loop {
            match sender.try_send_request(request).await {
                Ok(response) => {
                    return Ok(response.map(|body| {
                        let mut answer = Answer { body, connection: Some((self.clone(), sender)) };
                        if answer.body.is_end_stream() {
                            answer.release();
                        }
                        answer
                    }));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if reused => {
                        request = unsent;
                        reused = false;
                        sender = self.connect_h1().await?;
                    }
                    Some(_) => return Err(Unanswered::Unreachable(error.into_error().into())),
                    None => return Err(Unanswered::Failed(error.into_error().into())),
                },
            }
        }
    }

    async fn send_h2(&self, mut request: Request<ServiceBody>) -> Result<Response<Answer>, Unanswered> {
        let mut first = true;
        loop {
            let mut sender = self.shared_h2().await?;
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(response.map(|body| Answer { body, connection: None })),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if first => {
                        request = unsent;
                        first = false;
                        *self.shared.lock().await = None;
                    }
                    Some(_) => return Err(Unanswered::Unreachable(error.into_error().into())),
                    None => return Err(Unanswered::Failed(error.into_error().into())),
                },
            }
        }
    }

    async fn shared_h2(&self) -> Result<http2::SendRequest<ServiceBody>, Unanswered> {
        let mut shared = self.shared.lock().await;
        match &*shared {
            Some(sender) if !sender.is_closed() => Ok(sender.clone()),
            _ => Ok(shared.insert(self.connect_h2().await?).clone()),
        }
    }

    /// The connection that was used last and can take a request. One that cannot yet may never: its answer came before
    /// the end of its request, which may have none.
    fn take_idle(&self) -> Option<http1::SendRequest<ServiceBody>> {
        let mut idle = self.idle.borrow_mut();
        for at in (0..idle.len()).rev() {
            let sender = idle.get(at)?;
            if sender.is_closed() {
                idle.remove(at);
            } else if sender.is_ready() {
                return Some(idle.remove(at));
            }
        }
        None
    }

    async fn connect(&self) -> Result<TokioIo<TcpStream>, Unanswered> {
        let unreachable = |error: Box<dyn Error + Send + Sync>| Unanswered::Unreachable(error);
        let stream = tokio::time::timeout(self.connect_max, TcpStream::connect(self.config.address))
            .await
            .map_err(|_| unreachable("no connection within the limit".into()))?
            .map_err(|error| unreachable(error.into()))?;
        // Small writes go out at once; a socket that refuses the option still works.
        let _ = stream.set_nodelay(true);
        Ok(TokioIo::new(stream))
    }

    async fn connect_h1(&self) -> Result<http1::SendRequest<ServiceBody>, Unanswered> {
        let stream = self.connect().await?;
        // hyper takes up to 100 header fields of an answer.
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(READ_BUFFER)
            .handshake(stream)
            .await
            .map_err(|error| Unanswered::Unreachable(error.into()))?;
        spawn_connection(connection);
        Ok(sender)
    }

    async fn connect_h2(&self) -> Result<http2::SendRequest<ServiceBody>, Unanswered> {
        let stream = self.connect().await?;
        let (sender, connection) = http2::Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(30))
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .handshake(stream)
            .await
            .map_err(|error| Unanswered::Unreachable(error.into()))?;
        spawn_connection(connection);
        Ok(sender)
    }
}

/// A request that comes back has not been seen.
fn unanswered(mut error: TrySendError<Request<ServiceBody>>) -> Unanswered {
    match error.take_message() {
        Some(_) => Unanswered::Unreachable(error.into_error().into()),
        None => Unanswered::Failed(error.into_error().into()),
    }
}

/// Drives a connection until either side ends it. What fails on it is told to the request that it fails.
fn spawn_connection<C, E>(connection: C)
where
    C: Future<Output = Result<(), E>> + 'static,
    E: Error,
{
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to the service ended");
        }
    });
}

impl Answer {
    /// The answer has been read to its end: the connection is free.
    fn release(&mut self) {
        if let Some((service, sender)) = self.connection.take() {
            let mut idle = service.idle.borrow_mut();
            if !sender.is_closed() && idle.len() < IDLE_MAX {
                idle.push(sender);
            }
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        match frame {
            Poll::Ready(None) => self.release(),
            Poll::Ready(Some(Ok(_))) if self.body.is_end_stream() => self.release(),
            _ => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Runs hyper's background work on the worker's own thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
