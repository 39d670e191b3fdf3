//! A JSON value as the bytes that it was written with.

use std::{borrow::Cow, fmt, slice::SliceIndex};

use bytes::Bytes;

use super::text;

/// A string holds half of a surrogate pair, as an escape: it stands for no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a string holds a lone surrogate")]
pub struct LoneSurrogate;

/// The bytes of one valid JSON value, borrowed from the text that it was found in.
#[derive(Clone, Copy)]
pub struct RawValue<'a> {
    bytes: &'a [u8],
    raw_controls: usize,
    has_escapes: bool,
}

impl RawValue<'static> {
    /// A value of the gateway's own. It must be valid JSON without escapes and raw controls.
    pub(crate) const fn constant(json: &'static str) -> Self {
        Self::new(json.as_bytes(), 0, false)
    }
}

impl<'a> RawValue<'a> {
    pub(super) const fn new(bytes: &'a [u8], raw_controls: usize, has_escapes: bool) -> Self {
        Self {
            bytes,
            raw_controls,
            has_escapes,
        }
    }

    /// The value as it was written.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether a string in it has control characters that should have been escaped.
    #[must_use]
    pub const fn has_raw_control(&self) -> bool {
        self.raw_controls > 0
    }

    /// Whether it is a string.
    #[must_use]
    pub const fn is_string(&self) -> bool {
        matches!(self.bytes, [b'"', ..])
    }

    /// Whether it is an array.
    #[must_use]
    pub const fn is_array(&self) -> bool {
        matches!(self.bytes, [b'[', ..])
    }

    /// Whether it is `null`.
    #[must_use]
    pub const fn is_null(&self) -> bool {
        matches!(self.bytes, b"null")
    }

    /// Whether it is `true`.
    #[must_use]
    pub const fn is_true(&self) -> bool {
        matches!(self.bytes, b"true")
    }

    /// The value to pass on: a slice of `source` (the buffer that it was found in) without a copy,
    /// or, where raw control characters must be escaped, a copy with `\u00XX` in their place.
    #[must_use]
    pub fn to_bytes(&self, source: &Bytes) -> Bytes {
        if self.has_raw_control() {
            return text::escape_raw_controls(self.bytes, self.raw_controls).into();
        }
        // A value of the gateway's own stands in no buffer, and `slice_ref` panics over one.
        let (own, buffer) = (self.bytes.as_ptr_range(), source.as_ptr_range());
        if buffer.start <= own.start && own.end <= buffer.end {
            source.slice_ref(self.bytes)
        } else {
            Bytes::copy_from_slice(self.bytes)
        }
    }

    /// The text of a string.
    ///
    /// # Errors
    /// Where an escape is a lone surrogate.
    pub fn decode_string(&self) -> Result<Cow<'a, str>, LoneSurrogate> {
        // The scan has checked the bytes: nothing is ever replaced.
        Ok(match self.decode_bytes()? {
            Cow::Borrowed(bytes) => match str::from_utf8(bytes) {
                Ok(text) => Cow::Borrowed(text),
                Err(_) => String::from_utf8_lossy(bytes),
            },
            Cow::Owned(bytes) => Cow::Owned(
                String::from_utf8(bytes)
                    .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()),
            ),
        })
    }

    /// The text of a string as UTF-8: what a comparison needs.
    ///
    /// # Errors
    /// Where an escape is a lone surrogate.
    #[inline]
    pub fn decode_bytes(&self) -> Result<Cow<'a, [u8]>, LoneSurrogate> {
        if self.has_escapes {
            text::unescape(self.content()).map(Cow::Owned)
        } else {
            Ok(Cow::Borrowed(self.content()))
        }
    }

    /// What stands between a string's quotes, still escaped.
    #[inline]
    pub(super) fn content(&self) -> &'a [u8] {
        self.bytes
            .get(1..self.bytes.len().saturating_sub(1))
            .unwrap_or_default()
    }

    /// A stretch of it that begins and ends between tokens.
    pub(crate) fn part(&self, range: impl SliceIndex<[u8], Output = [u8]>) -> Self {
        Self {
            bytes: self.bytes.get(range).unwrap_or_default(),
            ..*self
        }
    }
}

/// Shows kind and size only: a value may be a secret.
impl fmt::Debug for RawValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.bytes.first() {
            Some(b'"') => "string",
            Some(b'[') => "array",
            Some(b'{') => "object",
            Some(b't' | b'f') => "boolean",
            Some(b'n') => "null",
            _ => "number",
        };
        write!(f, "RawValue({kind}, {} bytes)", self.bytes.len())
    }
}
