//! The scanner: one pass, no recursion, no allocation for anything a client may send.

use std::borrow::Cow;

use super::{
    RawValue,
    error::{JsonError, JsonFault},
    levels::Levels,
    run::{is_plain, plain_len, utf8_len},
};

/// The nesting that a request may have, its outermost value counted as 1 (CONTRACT 2).
const MAX_REQUEST_NESTING: usize = 128;

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

    #[inline]
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

    #[inline]
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
    #[inline]
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
            let rest = self.rest();
            let plain = plain_len(rest);
            self.at += plain;
            match rest.get(plain) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                odd => self.odd_in_string(odd.copied())?,
            }
        }
    }

    #[inline(never)]
    fn odd_in_string(&mut self, odd: Option<u8>) -> Result<(), JsonError> {
        match odd {
            Some(..=0x1F) => {
                self.raw_controls += 1;
                self.at += 1;
                Ok(())
            }
            Some(_) => self.beyond_ascii(),
            None => Err(self.error(JsonFault::Ended)),
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
                Some(byte) if is_plain(byte) => {
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
