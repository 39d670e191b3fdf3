//! The scanner: one pass, no recursion, no allocation for anything a client may send.

use std::borrow::Cow;

use super::RawValue;

/// The nesting that a request may have, its outermost value counted as 1 (CONTRACT 2).
const MAX_REQUEST_NESTING: usize = 128;

/// Why a text isn't JSON: where and how, never what stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at byte {at}")]
pub struct JsonError {
    /// The offset in bytes, behind a byte order mark if there is one.
    pub at: usize,
    /// What is wrong there.
    pub fault: JsonFault,
}

/// What can be wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// The text ends inside a value, or before one.
    #[error("it ends too early")]
    Ended,
    /// A character that the grammar doesn't allow there.
    #[error("unexpected character")]
    Unexpected,
    /// An unknown or incomplete escape sequence.
    #[error("invalid escape sequence")]
    Escape,
    /// Bytes inside a string that are no UTF-8.
    #[error("invalid UTF-8")]
    Utf8,
    /// A number that isn't written as JSON writes them.
    #[error("invalid number")]
    Number,
    /// More nesting than allowed.
    #[error("nested too deeply")]
    Nesting,
    /// Something behind the value.
    #[error("something follows the value")]
    Trailing,
}

/// A position in a text, with what the scan has seen up to there.
#[derive(Debug)]
pub struct Scanner<'a> {
    source: &'a [u8],
    at: usize,
    depth: usize,
    max_depth: usize,
    raw_controls: usize,
    escapes: usize,
}

impl<'a> Scanner<'a> {
    /// Begins a request's body.
    #[must_use]
    pub fn request(body: &'a [u8]) -> Self {
        Self::new(body, MAX_REQUEST_NESTING)
    }

    /// Begins a backend's answer. Its nesting has no bound but its size: it is valid JSON all the
    /// same, and the scan needs one bit a level.
    #[must_use]
    pub fn answer(body: &'a [u8]) -> Self {
        Self::new(body, usize::MAX)
    }

    fn new(body: &'a [u8], max_depth: usize) -> Self {
        Self {
            source: body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body),
            at: 0,
            depth: 0,
            max_depth,
            raw_controls: 0,
            escapes: 0,
        }
    }

    /// How far the scan has come, in bytes behind the byte order mark.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Scans the value that is next.
    ///
    /// # Errors
    /// Where it isn't one.
    pub fn value(&mut self) -> Result<RawValue<'a>, JsonError> {
        self.skip_space();
        let before = (self.at, self.raw_controls, self.escapes);
        self.skip_value()?;
        Ok(self.since(before))
    }

    /// Walks the object that is next: hands each key, unescaped, to `member`, which takes the value
    /// behind it with [`Self::value`] or [`Self::members`]. What is no object is scanned and skipped.
    /// Says whether it was one.
    ///
    /// A key with a lone surrogate is handed over as it is written: it has a backslash in it and
    /// equals no name.
    ///
    /// # Errors
    /// Where it isn't a value.
    pub fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, &[u8]) -> Result<(), JsonError>,
    ) -> Result<bool, JsonError> {
        self.skip_space();
        if self.peek() != Some(b'{') {
            self.skip_value()?;
            return Ok(false);
        }
        self.open()?;
        self.skip_space();
        if self.peek() != Some(b'}') {
            loop {
                let key = self.key()?;
                let name = key.decode_bytes().unwrap_or(Cow::Borrowed(key.content()));
                member(self, &name)?;
                self.skip_space();
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(b'}') => break,
                    _ => return Err(self.unexpected()),
                }
            }
        }
        self.close();
        Ok(true)
    }

    /// Ends the scan behind the outermost value and gives the whole text, white space and all.
    ///
    /// # Errors
    /// Where anything but white space follows.
    pub fn finish(mut self) -> Result<RawValue<'a>, JsonError> {
        self.skip_space();
        if self.peek().is_some() {
            return Err(self.error(JsonFault::Trailing));
        }
        Ok(self.since((0, 0, 0)))
    }

    fn since(&self, (start, raw_controls, escapes): (usize, usize, usize)) -> RawValue<'a> {
        RawValue::new(
            self.source.get(start..self.at).unwrap_or_default(),
            self.raw_controls - raw_controls,
            self.escapes != escapes,
        )
    }

    fn peek(&self) -> Option<u8> {
        self.source.get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn error(&self, fault: JsonFault) -> JsonError {
        JsonError { at: self.at, fault }
    }

    /// The error for a byte that doesn't belong here, or for the lack of one.
    #[cold]
    fn unexpected(&self) -> JsonError {
        self.error(match self.peek() {
            Some(_) => JsonFault::Unexpected,
            None => JsonFault::Ended,
        })
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn open(&mut self) -> Result<(), JsonError> {
        if self.depth == self.max_depth {
            return Err(self.error(JsonFault::Nesting));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    const fn close(&mut self) {
        self.depth -= 1;
        self.at += 1;
    }

    fn skip_value(&mut self) -> Result<(), JsonError> {
        self.skip_space();
        match self.peek() {
            Some(b'{' | b'[') => self.skip_container(),
            _ => self.skip_scalar(),
        }
    }

    fn skip_scalar(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            _ => Err(self.unexpected()),
        }
    }

    /// Skips an array or object of any depth. The outer loop stands where a value is due, the inner
    /// one behind a value that has ended.
    fn skip_container(&mut self) -> Result<(), JsonError> {
        let outside = self.depth;
        let mut levels = Levels::default();
        loop {
            self.skip_space();
            if let Some(opening @ (b'{' | b'[')) = self.peek() {
                self.open()?;
                levels.push(opening == b'{');
                self.skip_space();
                // `}` is `{` + 2, and `]` is `[` + 2.
                if self.peek() != Some(opening + 2) {
                    if opening == b'{' {
                        self.key()?;
                    }
                    continue;
                }
                levels.pop();
                self.close();
            } else {
                self.skip_scalar()?;
            }
            loop {
                if self.depth == outside {
                    return Ok(());
                }
                self.skip_space();
                match (self.peek(), levels.in_object()) {
                    (Some(b','), in_object) => {
                        self.at += 1;
                        if in_object {
                            self.key()?;
                        }
                        break;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        levels.pop();
                        self.close();
                    }
                    _ => return Err(self.unexpected()),
                }
            }
        }
    }

    /// A key and the colon behind it.
    fn key(&mut self) -> Result<RawValue<'a>, JsonError> {
        self.skip_space();
        if self.peek() != Some(b'"') {
            return Err(self.unexpected());
        }
        let before = (self.at, self.raw_controls, self.escapes);
        self.string()?;
        let key = self.since(before);
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(key)
    }

    fn string(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        loop {
            self.at += plain_len(self.rest());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(..=0x1F) => {
                    self.raw_controls += 1;
                    self.at += 1;
                }
                Some(_) => self.beyond_ascii()?,
                None => return Err(self.error(JsonFault::Ended)),
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        self.escapes += 1;
        self.at += match self.rest() {
            [
                _,
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't',
                ..,
            ] => 2,
            [_, b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(|d| d.is_ascii_hexdigit()) => 6,
            [_] => return Err(self.error(JsonFault::Ended)),
            _ => return Err(self.error(JsonFault::Escape)),
        };
        Ok(())
    }

    /// Characters of more than one byte, and the few plain ones that most scripts have between them:
    /// it pays to look for a longer run only behind a word of those.
    fn beyond_ascii(&mut self) -> Result<(), JsonError> {
        let mut plain = 0;
        while plain < 8 {
            match self.peek() {
                Some(0x80..) => match utf8_len(self.rest()) {
                    Some(len) => {
                        self.at += len;
                        plain = 0;
                    }
                    None => return Err(self.error(JsonFault::Utf8)),
                },
                Some(byte) if !is_odd(byte) => {
                    self.at += 1;
                    plain += 1;
                }
                _ => break,
            }
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), JsonError> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
            if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
                return Err(self.error(JsonFault::Number));
            }
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.error(JsonFault::Number));
        }
        Ok(())
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), JsonError> {
        if !self.rest().starts_with(word) {
            return Err(self.error(JsonFault::Unexpected));
        }
        self.at += word.len();
        Ok(())
    }
}

/// Which of the levels that are open are objects, one bit each, the innermost lowest. Up to 128
/// need no allocation, which is all that a request can have.
#[derive(Default)]
struct Levels {
    inner: u128,
    inner_len: u32,
    outer: Vec<u128>,
}

impl Levels {
    fn push(&mut self, object: bool) {
        if self.inner_len == u128::BITS {
            self.outer.push(self.inner);
            self.inner_len = 0;
        }
        self.inner = self.inner << 1 | u128::from(object);
        self.inner_len += 1;
    }

    fn pop(&mut self) {
        self.inner >>= 1;
        self.inner_len -= 1;
        if self.inner_len == 0
            && let Some(outer) = self.outer.pop()
        {
            self.inner = outer;
            self.inner_len = u128::BITS;
        }
    }

    const fn in_object(&self) -> bool {
        self.inner & 1 == 1
    }
}

/// How many bytes from the start are plain: ASCII without quotes, backslashes and controls.
///
/// Most strings end within a few words of 8. Behind four of them, a fold over 32 bytes at a time,
/// which the compiler makes vector code of, goes on to the chunk in which the run ends.
#[inline]
fn plain_len(bytes: &[u8]) -> usize {
    const WORDS: usize = 4;
    let (short, found) = plain_words(bytes, WORDS);
    if found {
        return short;
    }
    let mut len = short;
    let (chunks, _) = bytes.get(len..).unwrap_or_default().as_chunks::<32>();
    for chunk in chunks {
        if chunk.iter().fold(false, |odd, byte| odd | is_odd(*byte)) {
            break;
        }
        len += 32;
    }
    len + plain_words(bytes.get(len..).unwrap_or_default(), usize::MAX).0
}

/// The same for so many words at most, and whether the run ends there. What is less than a word at
/// the end of the bytes goes byte by byte.
#[inline]
fn plain_words(bytes: &[u8], most: usize) -> (usize, bool) {
    let (words, tail) = bytes.as_chunks::<8>();
    let mut len = 0;
    for word in words.iter().take(most) {
        let odd = odd_bytes(word);
        if odd != 0 {
            return (len + odd.trailing_zeros() as usize / 8, true);
        }
        len += 8;
    }
    if words.len() >= most {
        return (len, false);
    }
    let plain = tail.iter().take_while(|byte| !is_odd(**byte)).count();
    (len + plain, true)
}

/// Whether a byte isn't plain. Read as signed, all beyond ASCII are below the controls.
const fn is_odd(byte: u8) -> bool {
    (byte.cast_signed() < 0x20) | (byte == b'"') | (byte == b'\\')
}

/// The bytes of a word that aren't plain: the lowest bit set belongs to the first of them. (A
/// borrow may mark later bytes wrongly, never one before the first.)
const fn odd_bytes(word: &[u8; 8]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES << 7;
    let word = u64::from_le_bytes(*word);
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = quote.wrapping_sub(ONES) & !quote;
    let backslash = backslash.wrapping_sub(ONES) & !backslash;
    (word | control | quote | backslash) & HIGH
}

/// The length of the character that begins here, if its bytes are UTF-8 (Unicode, table 3-7).
const fn utf8_len(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [0xC2..=0xDF, 0x80..=0xBF, ..] => Some(2),
        [0xE0, 0xA0..=0xBF, 0x80..=0xBF, ..]
        | [0xE1..=0xEC | 0xEE | 0xEF, 0x80..=0xBF, 0x80..=0xBF, ..]
        | [0xED, 0x80..=0x9F, 0x80..=0xBF, ..] => Some(3),
        [0xF0, 0x90..=0xBF, 0x80..=0xBF, 0x80..=0xBF, ..]
        | [0xF1..=0xF3, 0x80..=0xBF, 0x80..=0xBF, 0x80..=0xBF, ..]
        | [0xF4, 0x80..=0x8F, 0x80..=0xBF, 0x80..=0xBF, ..] => Some(4),
        _ => None,
    }
}
