//! A caller that writes HTTP/1.1 by hand, byte by byte if it must be.

use super::caller::Reply;
use super::within;
use bytes::Bytes;
use http::HeaderMap;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// One connection.
pub(crate) struct Raw {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Raw {
    pub(super) fn new(stream: TlsStream<TcpStream>) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Writes, and waits until the system has it all.
    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within("a write", async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        })
        .await
    }

    /// The next answer, interim ones too; nothing where the connection ends before one begins.
    pub(crate) async fn answer(&mut self) -> Option<Reply> {
        within("an answer", async {
            let head = self.take_through(b"\r\n\r\n").await?;
            let (status, fields) = parse_head(&head);
            let mut reply = Reply { status, fields, body: Bytes::new(), whole: true };
            if status < 200 || status == 204 || status == 304 {
                return Some(reply);
            }
            let mut body = Vec::new();
            reply.whole = if reply.field("transfer-encoding") == "chunked" {
                self.take_chunks(&mut body).await.is_some()
            } else if let Ok(length) = reply.field("content-length").parse() {
                self.take(&mut body, length).await.is_some()
            } else {
                while self.read().await.is_some() {}
                body.append(&mut self.buffer);
                true
            };
            reply.body = body.into();
            Some(reply)
        })
        .await
    }

    /// So many bytes, of whatever kind; fewer where the connection ends before.
    pub(crate) async fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        within("bytes", self.take(&mut bytes, length)).await;
        bytes
    }

    /// Writes nothing any more, and says so.
    pub(crate) async fn finish(&mut self) {
        within("an end", self.stream.shutdown()).await.unwrap();
    }

    /// Waits until the other side has ended the connection, by whatever means; what it sent before.
    pub(crate) async fn closed(&mut self) -> Vec<u8> {
        within("the connection is closed", async { while self.read().await.is_some() {} }).await;
        std::mem::take(&mut self.buffer)
    }

    async fn take_chunks(&mut self, body: &mut Vec<u8>) -> Option<()> {
        loop {
            let line = self.take_through(b"\r\n").await?;
            let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim_end(), 16).unwrap();
            self.take(body, size).await?;
            self.take_through(b"\r\n").await?;
            if size == 0 {
                return Some(());
            }
        }
    }

    async fn take(&mut self, to: &mut Vec<u8>, length: usize) -> Option<()> {
        while self.buffer.len() < length {
            if self.read().await.is_none() {
                to.append(&mut self.buffer);
                return None;
            }
        }
        to.extend(self.buffer.drain(..length));
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

    /// A reset is an end too.
    async fn read(&mut self) -> Option<()> {
        let read = self.stream.read_buf(&mut self.buffer).await.unwrap_or(0);
        (read > 0).then_some(())
    }
}

fn parse_head(head: &[u8]) -> (u16, HeaderMap) {
    let text = std::str::from_utf8(head).unwrap();
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let mut fields = HeaderMap::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap();
        fields.append(http::HeaderName::try_from(name).unwrap(), value.trim().parse().unwrap());
    }
    (status, fields)
}
