//! A body put together from buffers that stay where they are.

use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// The most that any body here has is five; the rest is room for a chunk's frame around it.
const MAX_PIECES: usize = 8;

/// A body of a few pieces, written with one vectored write and no copy.
#[derive(Debug, Clone, Default)]
pub struct Pieces {
    pieces: [Bytes; MAX_PIECES],
    first: usize,
    end: usize,
    len: usize,
}

impl Pieces {
    /// How many bytes are left to read.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is left to read.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a piece behind the others. Where there is no place for another, the last one grows, by
    /// a copy.
    pub fn push(&mut self, piece: impl Into<Bytes>) {
        let piece = piece.into();
        if piece.is_empty() {
            return;
        }
        self.len += piece.len();
        if let Some(place) = self.pieces.get_mut(self.end) {
            *place = piece;
            self.end += 1;
        } else if let Some(last) = self.pieces.last_mut() {
            let mut joined = BytesMut::with_capacity(last.len() + piece.len());
            joined.extend_from_slice(last);
            joined.extend_from_slice(&piece);
            *last = joined.freeze();
        }
    }

    fn left(&self) -> &[Bytes] {
        self.pieces.get(self.first..self.end).unwrap_or_default()
    }
}

impl From<Bytes> for Pieces {
    fn from(piece: Bytes) -> Self {
        let mut pieces = Self::default();
        pieces.push(piece);
        pieces
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.left().first().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        slices
            .iter_mut()
            .zip(self.left())
            .map(|(slice, piece)| *slice = IoSlice::new(piece))
            .count()
    }

    /// Goes forward by `count` bytes, at most to the end.
    fn advance(&mut self, mut count: usize) {
        let end = self.end;
        while let Some(piece) = self
            .pieces
            .get_mut(..end)
            .and_then(|p| p.get_mut(self.first))
        {
            if count < piece.len() {
                piece.advance(count);
                self.len -= count;
                return;
            }
            count -= piece.len();
            self.len -= piece.len();
            *piece = Bytes::new();
            self.first += 1;
        }
    }

    fn copy_to_bytes(&mut self, len: usize) -> Bytes {
        let whole = self.left().first().filter(|piece| piece.len() >= len);
        if let Some(bytes) = whole.map(|piece| piece.slice(..len)) {
            self.advance(len);
            return bytes;
        }
        let mut joined = BytesMut::with_capacity(len.min(self.len));
        let mut wanted = len;
        for piece in self.left() {
            let take = piece.get(..wanted).unwrap_or(piece);
            joined.extend_from_slice(take);
            wanted -= take.len();
        }
        self.advance(len);
        joined.freeze()
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
        pieces.push("x");
        pieces.push("");
        pieces.push("y");
        assert_eq!((pieces.len(), pieces.chunk()), (2, &b"x"[..]));
    }

    #[test]
    fn one_piece_is_given_back_without_a_copy() {
        let buffer = Bytes::from(vec![7; 100]);
        let mut pieces = Pieces::from(buffer.clone());
        assert_eq!(pieces.copy_to_bytes(100).as_ptr(), buffer.as_ptr());
    }
}
