//! What a gate holds back, in as little memory as it needs.
//!
//! A frame of hyper's is a view of the buffer that it was read into: one byte of a caller that trickles keeps 8 KiB
//! alive, and no account of bytes would show it. So a frame goes on as it is where it goes on at once, and is copied to
//! the others where it stays.

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// Bytes in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    /// Pieces of our own that are full, and the one that is not: these came first.
    full: VecDeque<Bytes>,
    last: BytesMut,
    /// Frames as they came.
    fresh: VecDeque<Bytes>,
    own_bytes: u64,
    fresh_bytes: u64,
}

/// Pieces of our own: so small that little of one stays empty, and that they fit the holes that the buffers of TLS and
/// HTTP leave in the allocator's memory. With what the allocator writes before it, one takes half a page.
const PIECE: usize = (2 << 10) - 16;
const PIECE_MIN: usize = 1 << 10;

impl Hold {
    /// Adds a frame as it came.
    pub(crate) fn push(&mut self, frame: Bytes) {
        self.fresh_bytes += frame.len() as u64;
        self.fresh.push_back(frame);
    }

    /// How many bytes there are.
    pub(crate) fn bytes(&self) -> u64 {
        self.own_bytes + self.fresh_bytes
    }

    /// How many of them lie in buffers that are not ours.
    pub(crate) fn fresh_bytes(&self) -> u64 {
        self.fresh_bytes
    }

    /// Copies what lies in others' buffers, and lets those go.
    pub(crate) fn settle(&mut self) {
        while let Some(frame) = self.fresh.pop_front() {
            let mut rest = &frame[..];
            while !rest.is_empty() {
                if self.last.len() == self.last.capacity() {
                    self.begin_piece(rest.len());
                }
                let (now, later) = rest.split_at(rest.len().min(self.last.capacity() - self.last.len()));
                self.last.extend_from_slice(now);
                self.own_bytes += now.len() as u64;
                rest = later;
            }
        }
        self.fresh_bytes = 0;
    }

    fn begin_piece(&mut self, wanted: usize) {
        let size = if self.own_bytes == 0 { wanted.clamp(PIECE_MIN, PIECE) } else { PIECE };
        let piece = BytesMut::with_capacity(size);
        let full = std::mem::replace(&mut self.last, piece);
        if !full.is_empty() {
            self.full.push_back(full.freeze());
        }
    }

    /// Takes from the front: as much as lies in one piece, and no more than this.
    pub(crate) fn pop(&mut self, most: u64) -> Option<Bytes> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if most == 0 {
            return None;
        }
        let (bytes, of) = if let Some(piece) = self.full.pop_front() {
            (cut(piece, most, &mut self.full), &mut self.own_bytes)
        } else if !self.last.is_empty() {
            let length = self.last.len().min(most);
            (self.last.split_to(length).freeze(), &mut self.own_bytes)
        } else {
            (cut(self.fresh.pop_front()?, most, &mut self.fresh), &mut self.fresh_bytes)
        };
        *of -= bytes.len() as u64;
        Some(bytes)
    }
}

/// The front of a piece; the rest of it stays where it was.
fn cut(mut piece: Bytes, most: usize, pieces: &mut VecDeque<Bytes>) -> Bytes {
    if piece.len() > most {
        let front = piece.split_to(most);
        pieces.push_front(piece);
        return front;
    }
    piece
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let bytes: Vec<u8> = (0..300_000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
        for (frame, settle_every, most) in
            [(1, 1, 7), (1, 3, u64::MAX), (100, 1, 64), (1 << 10, 2, 5000), (16 << 10, 3, u64::MAX), (300_000, 1, 1000)]
        {
            let mut hold = Hold::default();
            for (at, frame) in bytes.chunks(frame).enumerate() {
                hold.push(Bytes::copy_from_slice(frame));
                if at % settle_every == 0 {
                    hold.settle();
                    assert_eq!(hold.fresh_bytes(), 0);
                }
            }
            assert_eq!(hold.bytes(), bytes.len() as u64);
            assert_eq!(hold.pop(0), None);
            let mut out = Vec::new();
            while let Some(piece) = hold.pop(most) {
                assert!(!piece.is_empty() && piece.len() as u64 <= most);
                out.extend_from_slice(&piece);
            }
            assert!(out == bytes && hold.bytes() == 0, "{frame} {settle_every} {most}");
        }
    }

    /// Whatever buffer a frame is a view of, what is held of it is its own bytes and little more.
    #[test]
    fn what_stays_keeps_nobody_elses_buffer() {
        let mut hold = Hold::default();
        let mut reserved = 0;
        for _ in 0..100_000 {
            let buffer = Bytes::from(vec![7; 8 << 10]);
            hold.push(buffer.slice(..1));
            hold.settle();
            assert!(buffer.is_unique());
        }
        reserved += hold.full.iter().map(Bytes::len).sum::<usize>() + hold.last.capacity();
        assert!(reserved <= 100_000 * 9 / 8 + PIECE_MIN, "{reserved}");
    }

    #[test]
    fn what_goes_on_at_once_is_not_copied() {
        let mut hold = Hold::default();
        let frame = Bytes::from(vec![7; 100]);
        hold.push(frame.clone());
        assert_eq!(hold.pop(u64::MAX).unwrap().as_ptr(), frame.as_ptr());
    }
}
