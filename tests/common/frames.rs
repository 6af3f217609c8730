//! A caller that writes HTTP/2 frames by hand: what no client library would send.

use super::caller::Caller;
use super::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// One connection, after its preface.
pub(crate) struct Frames {
    stream: TlsStream<TcpStream>,
    broken: bool,
}

/// How the other side ends a stream, or the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// An answer with this status.
    Status(u16),
    /// RST_STREAM with this code.
    Reset(u32),
    /// GOAWAY with this code, or an end without a word.
    Gone(Option<u32>),
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;

impl Frames {
    /// Connects and says what a client says first.
    pub(crate) async fn open(caller: &Caller) -> Self {
        let mut this = Self { stream: caller.stream(b"h2").await.unwrap(), broken: false };
        this.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        this.write(SETTINGS, 0, 0, &[]).await;
        this
    }

    /// One frame. What the other side no longer reads is nobody's.
    pub(crate) async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        let frame = [&head, payload].concat();
        self.broken |= self.stream.write_all(&frame).await.is_err() || self.stream.flush().await.is_err();
    }

    /// Whether a write has failed: the other side is gone.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// A HEADERS frame of a whole head.
    pub(crate) async fn head(&mut self, stream: u32, fields: &[(&str, &str)], end_stream: bool) {
        let flags = END_HEADERS | if end_stream { END_STREAM } else { 0 };
        self.write(HEADERS, flags, stream, &block(fields)).await;
    }

    /// The same of a head that is larger than a frame may be, without a body.
    pub(crate) async fn head_in_parts(&mut self, stream: u32, fields: &[(&str, &str)]) {
        let block = block(fields);
        let parts: Vec<_> = block.chunks(16_384).collect();
        for (at, part) in parts.iter().enumerate() {
            let (kind, first) = if at == 0 { (HEADERS, END_STREAM) } else { (CONTINUATION, 0) };
            let last = if at + 1 == parts.len() { END_HEADERS } else { 0 };
            self.write(kind, first | last, stream, part).await;
        }
    }

    /// Waits until the other side has ended the connection.
    pub(crate) async fn closed(&mut self) {
        let mut nowhere = vec![0; 1 << 16];
        within("the connection is closed", async {
            // A reset is an end too.
            while self.stream.read(&mut nowhere).await.is_ok_and(|read| read > 0) {}
        })
        .await;
    }

    /// What becomes of a stream. Settings and the like are passed over; a connection that ends ends it.
    pub(crate) async fn end_of(&mut self, stream: u32) -> StreamEnd {
        within("the end of a stream", async {
            loop {
                let mut head = [0; 9];
                if self.stream.read_exact(&mut head).await.is_err() {
                    return StreamEnd::Gone(None);
                }
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                let mut payload = vec![0; length];
                if self.stream.read_exact(&mut payload).await.is_err() {
                    return StreamEnd::Gone(None);
                }
                let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
                match head[3] {
                    SETTINGS if head[4] == 0 => self.write(SETTINGS, 1, 0, &[]).await,
                    GOAWAY if number(4) != 0 => return StreamEnd::Gone(Some(number(4))),
                    RST_STREAM if id == stream => return StreamEnd::Reset(number(0)),
                    HEADERS if id == stream => return StreamEnd::Status(status(&payload)),
                    _ => {}
                }
            }
        })
        .await
    }
}

/// A header block: every field literal, without Huffman's code and without indexing.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // HPACK's integer with a prefix of seven bits.
            let length = text.len();
            if length < 127 {
                block.push(u8::try_from(length).unwrap());
            } else {
                block.push(127);
                let mut rest = length - 127;
                while rest > 127 {
                    block.push(u8::try_from(rest & 127).unwrap() | 128);
                    rest >>= 7;
                }
                block.push(u8::try_from(rest).unwrap());
            }
            block.extend(text.as_bytes());
        }
    }
    block
}

/// The status at the begin of an answer's header block: indexed, or a literal of three digits.
fn status(block: &[u8]) -> u16 {
    // A dynamic table's new size may come first.
    let block = if block[0] & 0xe0 == 0x20 { &block[1..] } else { block };
    match block[0] {
        indexed @ 0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
        _ if block[1] & 0x80 == 0 => std::str::from_utf8(&block[2..5]).unwrap().parse().unwrap(),
        _ => huffman_digits(&block[2..]),
    }
}

/// Three digits in Huffman's code: 0, 1 and 2 have five bits, the others six.
fn huffman_digits(bytes: &[u8]) -> u16 {
    let bits = u32::from_be_bytes([bytes[0], bytes[1], *bytes.get(2).unwrap_or(&0), 0]);
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        let five = bits << at >> 27;
        let (digit, length) = if five < 3 { (five, 5) } else { ((bits << at >> 26) - 0x19 + 3, 6) };
        number = number * 10 + digit;
        at += length;
    }
    u16::try_from(number).unwrap()
}
