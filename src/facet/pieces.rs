//! A body put together: small parts are copied into one buffer, large ones stay where they are.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::json::{RawValue, json_string};

/// What it takes to stay where it is: a slice of a buffer costs two atomic operations and its own
/// place in a vectored write, which is what copying so many bytes takes.
const LARGE: usize = 1024;

/// A body. Written to a socket with one vectored write.
#[derive(Debug, Clone, Default)]
pub struct Pieces {
    /// The next to be read; empty where nothing is left.
    first: Bytes,
    /// What follows it.
    more: VecDeque<Bytes>,
    len: usize,
}

impl Pieces {
    /// Bytes left.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.len += piece.len();
        if self.first.is_empty() {
            self.first = piece;
        } else {
            self.more.push_back(piece);
        }
    }
}

impl From<Bytes> for Pieces {
    fn from(piece: Bytes) -> Self {
        Self {
            len: piece.len(),
            first: piece,
            more: VecDeque::new(),
        }
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        &self.first
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let left = std::iter::once(&self.first).chain(&self.more);
        slices
            .iter_mut()
            .zip(left.filter(|piece| !piece.is_empty()))
            .map(|(slice, piece)| *slice = IoSlice::new(piece))
            .count()
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let step = count.min(self.first.len());
            self.len -= step;
            count -= step;
            if step < self.first.len() {
                return self.first.advance(step);
            }
            match self.more.pop_front() {
                Some(next) => self.first = next,
                None => return self.first.clear(),
            }
        }
    }

    fn copy_to_bytes(&mut self, len: usize) -> Bytes {
        if self.first.len() >= len {
            let bytes = self.first.slice(..len);
            self.advance(len);
            return bytes;
        }
        let mut joined = BytesMut::with_capacity(len.min(self.len));
        joined.put(self.take(len));
        joined.freeze()
    }
}

/// Puts a body together, front to back.
#[derive(Debug, Default)]
pub(super) struct PiecesBuilder {
    done: Pieces,
    /// What is copied together, and not yet part of `done`.
    small: Vec<u8>,
}

impl PiecesBuilder {
    /// A body with so many bytes beside its large values.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self {
            done: Pieces::default(),
            small: Vec::with_capacity(bytes),
        }
    }

    /// What a value takes of the capacity.
    pub(super) fn share_of(value: &RawValue<'_>) -> usize {
        Some(value.as_bytes().len())
            .filter(|len| *len < LARGE)
            .unwrap_or(0)
    }

    /// Text that is copied.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.small.extend_from_slice(text.as_bytes());
        self
    }

    /// A text as a JSON string, with its quotes.
    pub(super) fn string(&mut self, text: &str) -> &mut Self {
        self.text(&json_string(text))
    }

    /// Bytes that stay where they are, if they are many.
    pub(super) fn bytes(&mut self, bytes: &Bytes) -> &mut Self {
        if bytes.len() < LARGE {
            self.small.extend_from_slice(bytes);
        } else {
            self.flush();
            self.done.push(bytes.clone());
        }
        self
    }

    /// A value of `source`, the buffer that it was found in, or one of the gateway's own.
    pub(super) fn value(&mut self, value: &RawValue<'_>, source: &Bytes) -> &mut Self {
        let bytes = value.as_bytes();
        if bytes.len() < LARGE && !value.has_raw_control() {
            self.small.extend_from_slice(bytes);
            return self;
        }
        self.bytes(&value.to_bytes(source))
    }

    fn flush(&mut self) {
        let small = std::mem::take(&mut self.small);
        self.done.push(small.into());
    }

    /// The body.
    pub(super) fn finish(&mut self) -> Pieces {
        self.flush();
        std::mem::take(&mut self.done)
    }
}
#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: u8) -> Pieces {
        let mut pieces = Pieces::default();
        for number in 0..count {
            pieces.push(Bytes::from(vec![number; 3]));
        }
        pieces
    }

    #[test]
    fn reads_back_what_was_pushed_at_any_step() {
        for count in 0..12 {
            let whole: Vec<u8> = (0..count).flat_map(|number| [number; 3]).collect();
            for step in 1..9 {
                let mut pieces = numbers(count);
                assert_eq!(pieces.len(), whole.len());
                let mut read = Vec::new();
                while pieces.has_remaining() {
                    let take = step.min(pieces.chunk().len());
                    read.extend_from_slice(&pieces.chunk()[..take]);
                    pieces.advance(take);
                }
                assert_eq!(read, whole);
                assert!(pieces.is_empty() && pieces.chunk().is_empty());
                let mut copied = numbers(count);
                let split = step.min(whole.len());
                assert_eq!(copied.copy_to_bytes(split), whole[..split]);
                assert_eq!(copied.copy_to_bytes(whole.len() - split), whole[split..]);
            }
        }
    }

    #[test]
    fn advances_over_several_pieces_at_once() {
        let mut pieces = numbers(4);
        pieces.advance(7);
        assert_eq!((pieces.len(), pieces.chunk()), (5, &[2, 2][..]));
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!(pieces.chunks_vectored(&mut slices), 2);
        assert_eq!((&*slices[0], &*slices[1]), (&[2, 2][..], &[3, 3, 3][..]));
        assert_eq!(pieces.chunks_vectored(&mut slices[..1]), 1);
    }

    #[test]
    fn an_empty_piece_takes_no_place() {
        let mut pieces = Pieces::from(Bytes::new());
        assert!(pieces.is_empty());
        pieces.push("x".into());
        pieces.push("".into());
        pieces.push("y".into());
        assert_eq!((pieces.len(), pieces.chunk()), (2, &b"x"[..]));
    }

    #[test]
    fn one_piece_is_given_back_without_a_copy() {
        let buffer = Bytes::from(vec![7; 100]);
        let mut pieces = Pieces::from(buffer.clone());
        assert_eq!(pieces.copy_to_bytes(100).as_ptr(), buffer.as_ptr());
    }

    #[test]
    fn small_parts_are_copied_together_and_large_ones_stay() {
        let large = Bytes::from(vec![b'7'; LARGE]);
        let small = large.slice(1..);
        let mut built = PiecesBuilder::with_capacity(4);
        built.text("[").bytes(&small).text(",").bytes(&large);
        built.text("]");
        let mut pieces = built.finish();
        assert_eq!(pieces.len(), 3 + small.len() + large.len());
        assert_eq!(pieces.chunk().len(), 2 + small.len());
        pieces.advance(pieces.chunk().len());
        assert_eq!(pieces.chunk().as_ptr(), large.as_ptr());
        pieces.advance(large.len());
        assert_eq!(pieces.chunk(), b"]");
        assert!(built.finish().is_empty());
    }
}
