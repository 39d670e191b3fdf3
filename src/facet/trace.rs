//! What a call is known by across programs: its request id, and the W3C trace it belongs to.

use http::HeaderValue;

/// Whether a client's request id is kept (CONTRACT 3): `[A-Za-z0-9._-]{1,128}`.
#[must_use]
pub fn request_id_is_valid(id: &[u8]) -> bool {
    let is_allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    (1..=128).contains(&id.len()) && id.iter().all(is_allowed)
}

/// A `traceparent` header (W3C Trace Context, level 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

impl TraceParent {
    /// A new trace, not sampled. Neither id may be 0, which stands for none.
    #[must_use]
    pub const fn new(trace_id: u128, span_id: u64) -> Self {
        Self {
            trace_id,
            span_id,
            flags: 0,
        }
    }

    /// Reads a header. Of a later version only what this one knows is read: it may be longer, behind
    /// a further dash.
    #[must_use]
    pub fn parse(header: &[u8]) -> Option<Self> {
        let (known, behind) = header.split_at_checked(55)?;
        let mut parts = known.split(|byte| *byte == b'-');
        let version = hex(parts.next()?, 2)?;
        let parent = Self {
            trace_id: hex(parts.next()?, 32)?,
            span_id: u64::try_from(hex(parts.next()?, 16)?).ok()?,
            flags: u8::try_from(hex(parts.next()?, 2)?).ok()?,
        };
        let is_whole = match version {
            0 => behind.is_empty(),
            0xFF => false,
            _ => matches!(behind, [] | [b'-', ..]),
        };
        Some(parent).filter(|p| is_whole && p.trace_id != 0 && p.span_id != 0)
    }

    /// The same trace, one span further. The id may not be 0.
    #[must_use]
    pub const fn child(self, span_id: u64) -> Self {
        Self { span_id, ..self }
    }

    /// The trace that it belongs to.
    #[must_use]
    pub const fn trace_id(&self) -> u128 {
        self.trace_id
    }

    /// The header to send.
    #[must_use]
    pub fn to_header(&self) -> HeaderValue {
        let mut text = [b'-'; 55];
        let (version, rest) = text.split_at_mut(2);
        version.fill(b'0');
        let (_, rest) = rest.split_at_mut(1);
        let (trace, rest) = rest.split_at_mut(32);
        write_hex(trace, self.trace_id);
        let (_, rest) = rest.split_at_mut(1);
        let (span, rest) = rest.split_at_mut(16);
        write_hex(span, self.span_id.into());
        let (_, flags) = rest.split_at_mut(1);
        write_hex(flags, self.flags.into());
        digits_and_dashes(&text)
    }
}

/// A request id of the gateway's own making: 32 hex digits.
#[must_use]
pub fn made_request_id(number: u128) -> HeaderValue {
    let mut text = [0; 32];
    write_hex(&mut text, number);
    digits_and_dashes(&text)
}

/// The lowest digits of a number, lower-case, as many as there is room for.
fn write_hex(room: &mut [u8], mut number: u128) {
    for digit in room.iter_mut().rev() {
        let value = (number & 0xF) as u8;
        *digit = if value < 10 {
            b'0' + value
        } else {
            b'a' + value - 10
        };
        number >>= 4;
    }
}

fn digits_and_dashes(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).unwrap_or(HeaderValue::from_static(""))
}

/// So many lower-case hex digits as a number.
fn hex(digits: &[u8], len: usize) -> Option<u128> {
    if digits.len() != len {
        return None;
    }
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn request_ids() {
        for id in ["a", "req-42", "A.b_c-9", &"x".repeat(128)] {
            assert!(request_id_is_valid(id.as_bytes()), "{id}");
        }
        for id in ["", "a b", "a/b", "ž", "a\n", &"x".repeat(129)] {
            assert!(!request_id_is_valid(id.as_bytes()), "{id}");
        }
    }

    #[test]
    fn a_child_stays_in_its_trace_and_keeps_the_flags() {
        let header = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = TraceParent::parse(header).unwrap();
        assert_eq!(parent.to_header().as_bytes(), header);
        assert_eq!(
            parent.child(0xB7AD_6B71_6920_3331).to_header(),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-b7ad6b7169203331-01"
        );
        assert_eq!(
            TraceParent::new(1, 2).to_header(),
            "00-00000000000000000000000000000001-0000000000000002-00"
        );
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        for header in [
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-follows",
        ] {
            let parent = TraceParent::parse(header.as_bytes()).unwrap();
            assert!(parent.to_header().to_str().unwrap().starts_with("00-4bf9"));
        }
    }

    #[test]
    fn invalid_headers_are_none() {
        for header in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(header.as_bytes()), None, "{header}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(trace_id in 1u128.., span_id in 1u64..) {
            let parent = TraceParent::new(trace_id, span_id);
            prop_assert_eq!(TraceParent::parse(parent.to_header().as_bytes()), Some(parent));
        }
    }
}
