//! Lines out of a stream of bytes, bounded in length.

use zeroize::Zeroizing;

/// A line as it came, as much of it as is needed to show its beginning.
#[derive(Debug, Clone, Default)]
pub(super) struct RawLine {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    pub(super) is_cut: bool,
}

/// Makes lines of bytes, and keeps of each no more than is needed.
#[derive(Debug)]
pub(super) struct Splitter {
    line: RawLine,
    needed: usize,
}

impl Splitter {
    /// Keeps so many bytes of a line.
    pub(super) fn new(needed: usize) -> Self {
        Self {
            line: RawLine::default(),
            needed,
        }
    }

    /// Takes what has come, and gives each line that ends in it.
    pub(super) fn split(&mut self, bytes: &[u8], mut each: impl FnMut(RawLine)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (piece, ends) = match piece.strip_suffix(b"\n") {
                Some(piece) => (piece, true),
                None => (piece, false),
            };
            let room = self.needed.saturating_sub(self.line.bytes.len());
            let kept = piece.get(..room).unwrap_or(piece);
            self.line.is_cut |= kept.len() < piece.len();
            self.line.bytes.extend_from_slice(kept);
            if ends {
                let mut line = std::mem::take(&mut self.line);
                if line.bytes.last() == Some(&b'\r') {
                    line.bytes.pop();
                }
                each(line);
            }
        }
    }

    /// A last line that nothing ended.
    pub(super) fn rest(self) -> Option<RawLine> {
        (!self.line.bytes.is_empty()).then_some(self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_kept_as_far_as_needed_however_it_comes() {
        for size in 1..20 {
            let mut splitter = Splitter::new(4);
            let mut lines = Vec::new();
            for piece in b"a\r\n\nabcd\nabcdefgh\nlast".chunks(size) {
                splitter.split(piece, |line| lines.push(line));
            }
            lines.extend(splitter.rest());
            let seen: Vec<_> = lines
                .iter()
                .map(|line| (&line.bytes[..], line.is_cut))
                .collect();
            let expected = [
                (&b"a"[..], false),
                (b"", false),
                (b"abcd", false),
                (b"abcd", true),
                (b"last", false),
            ];
            assert_eq!(seen, expected, "{size}");
        }
    }
}
