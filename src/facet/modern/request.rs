//! The modern request: path, cookie and body.

use std::borrow::Cow;

use bytes::Bytes;
use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::facet::{
    call::{DecodeError, FacetCall, FacetName, FieldFault, MethodName},
    json::{RawValue, Scanner},
    pieces::{Pieces, PiecesBuilder},
    session,
};

/// All but `pchar` (RFC 3986, 3.3).
const NOT_PCHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// The path that a call is posted to.
#[must_use]
pub fn request_path(call: &FacetCall<'_>) -> Uri {
    let (facet, method) = (call.facet.as_str(), call.method.as_str());
    let mut path = String::with_capacity(2 + facet.len() + method.len());
    for name in [facet, method] {
        path.push('/');
        path.extend(utf8_percent_encode(name, NOT_PCHAR));
    }
    // Percent-encoded and short, so it is always one.
    Uri::from_maybe_shared(Bytes::from(path)).unwrap_or_default()
}

/// The body that a call is posted with. `source` is the buffer that the call was read from.
#[must_use]
pub fn request_body(call: &FacetCall<'_>, source: &Bytes) -> Pieces {
    let mut body = PiecesBuilder::with_capacity(16 + PiecesBuilder::share_of(&call.arguments));
    body.text("{\"arguments\":")
        .value(&call.arguments, source)
        .text("}");
    body.finish()
}

/// Reads a modern client's call for a legacy backend: the path without its query, the values of
/// all `Cookie` headers, the body.
///
/// # Errors
/// In this order: the path is none of a call, a name is none, the body isn't JSON, or it isn't an
/// object with one array `arguments`.
pub fn decode<'a>(
    path: &'a str,
    cookies: impl Iterator<Item = &'a [u8]>,
    body: &'a [u8],
) -> Result<FacetCall<'a>, DecodeError> {
    let segments = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    let (facet, method) = segments
        .filter(|(_, method)| !method.contains('/'))
        .ok_or(DecodeError::Route)?;
    let facet = FacetName::new(segment("facetName", facet)?)
        .map_err(|e| DecodeError::name("facetName", e))?;
    let method = MethodName::new(segment("methodName", method)?)
        .map_err(|e| DecodeError::name("methodName", e))?;
    Ok(FacetCall {
        facet,
        method,
        arguments: arguments(body)?,
        session: session::from_cookie(cookies),
    })
}

/// A path segment's text. `%` without two hex digits behind it is refused: what it stands for is
/// anybody's guess.
fn segment<'a>(field: &'static str, segment: &'a str) -> Result<Cow<'a, str>, DecodeError> {
    let refused = DecodeError::field(field, FieldFault::PercentEncoding);
    let is_escape = |rest: &str| {
        let digits = rest.as_bytes().first_chunk::<2>();
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !segment.split('%').skip(1).all(is_escape) {
        return Err(refused);
    }
    percent_decode_str(segment)
        .decode_utf8()
        .map_err(|_| refused)
}

fn arguments(body: &[u8]) -> Result<RawValue<'_>, DecodeError> {
    let (mut arguments, mut doubled) = (None, false);
    let mut scanner = Scanner::request(body);
    let is_object = scanner
        .members(|scanner, key| {
            let value = scanner.value()?;
            if key == b"arguments" {
                doubled |= arguments.is_some();
                arguments = Some(value);
            }
            Ok(())
        })
        .map_err(DecodeError::Json)?;
    scanner.finish().map_err(DecodeError::Json)?;
    match arguments {
        _ if !is_object => Err(DecodeError::wrong_type("the body", "an object")),
        _ if doubled => Err(DecodeError::field("arguments", FieldFault::Doubled)),
        None => Err(DecodeError::field("arguments", FieldFault::Missing)),
        Some(array) if array.is_array() => Ok(array),
        Some(_) => Err(DecodeError::wrong_type("arguments", "an array")),
    }
}
