//! The session's way between the dialects: a field in one, a cookie in the other (CONTRACT 3 to 5).

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::headers::visible_ascii;

/// The cookie that holds the session's id.
pub const COOKIE_NAME: &str = "unisave_session_id";

/// What a cookie of that name begins with.
const START: &str = "unisave_session_id=";

/// How long a client keeps the cookie: what the framework gives it.
const COOKIE_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// All but the unreserved characters (RFC 3986, 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// The `Cookie` header of a translated call. The semicolon at its end is the reference's.
#[must_use]
pub fn cookie_header(session: &str) -> HeaderValue {
    let mut cookie = named_cookie(session);
    cookie.push(';');
    visible_ascii(cookie)
}

/// The `Set-Cookie` header that tells a modern client its session.
#[must_use]
pub fn set_cookie(session: &str, now: SystemTime) -> HeaderValue {
    let expires = httpdate::fmt_http_date(now + COOKIE_LIFETIME);
    let cookie = named_cookie(session);
    visible_ascii(format!("{cookie}; path=/; expires={expires}; HttpOnly"))
}

fn named_cookie(session: &str) -> String {
    let mut cookie = String::with_capacity(START.len() + 3 * session.len() + 1);
    cookie.push_str(START);
    cookie.extend(utf8_percent_encode(session, RESERVED));
    cookie
}

/// The session that the values of a modern answer's `Set-Cookie` headers tell: of the first value
/// that names it anywhere, the first part that begins with the name. That is how the reference
/// reads them, and where it finds nothing, no later value is looked at.
#[must_use]
pub fn from_set_cookie<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    let value = values.find_map(|value| Some(header_text(value)).filter(|v| v.contains(START)))?;
    let id = value.split(';').find_map(|part| part.strip_prefix(START))?;
    Some(decode_percent(id).into_owned()).filter(|id| !id.is_empty())
}

/// The session that the values of a modern client's `Cookie` headers name.
pub(super) fn from_cookie<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<Cow<'a, str>> {
    let mut cookies = values.map(header_text);
    let id = cookies.find_map(|value| match value {
        Cow::Borrowed(value) => cookie_pair(value).map(decode_percent),
        Cow::Owned(value) => cookie_pair(&value).map(|id| decode_percent(id).into_owned().into()),
    })?;
    Some(id).filter(|id| !id.is_empty())
}

fn cookie_pair(value: &str) -> Option<&str> {
    let mut pairs = value.split(';').filter_map(|pair| pair.split_once('='));
    let (_, id) = pairs.find(|(name, _)| name.trim_matches([' ', '\t']) == COOKIE_NAME)?;
    Some(id.trim_matches([' ', '\t']))
}

/// A header's text: UTF-8, or else Latin-1, which any bytes are.
fn header_text(value: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(value) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => value.iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// Percent-decodes what forms UTF-8 and leaves every other escape as it is written.
fn decode_percent(text: &str) -> Cow<'_, str> {
    let Some((plain, _)) = text.split_once('%') else {
        return Cow::Borrowed(text);
    };
    let mut decoded = String::with_capacity(text.len());
    decoded.push_str(plain);
    let mut rest = text.get(plain.len()..).unwrap_or_default();
    while !rest.is_empty() {
        let bytes: Vec<u8> = escapes(rest).collect();
        let (run, behind) = rest.split_at_checked(3 * bytes.len()).unwrap_or((rest, ""));
        push_decoded(&mut decoded, run, &bytes);
        // What follows is no escape, so a `%` at its very start is plain.
        let next = behind.char_indices().skip(1).find(|(_, c)| *c == '%');
        let next = next.map_or(behind.len(), |(at, _)| at);
        let (plain, from) = behind.split_at_checked(next).unwrap_or((behind, ""));
        decoded.push_str(plain);
        rest = from;
    }
    Cow::Owned(decoded)
}

/// The bytes of the escapes that follow one another at the start of a text.
fn escapes(text: &str) -> impl Iterator<Item = u8> {
    let (triples, _) = text.as_bytes().as_chunks::<3>();
    triples.iter().map_while(|[percent, high, low]| {
        let digit = |digit: &u8| char::from(*digit).to_digit(16);
        let byte = digit(high)? << 4 | digit(low)?;
        u8::try_from(byte).ok().filter(|_| *percent == b'%')
    })
}

/// Adds what a run of escapes stands for; `bytes` has one byte for each.
fn push_decoded(decoded: &mut String, run: &str, bytes: &[u8]) {
    let mut at = 0;
    for chunk in bytes.utf8_chunks() {
        decoded.push_str(chunk.valid());
        at += chunk.valid().len();
        let end = at + chunk.invalid().len();
        decoded.push_str(run.get(3 * at..3 * end).unwrap_or_default());
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(values: &[&str]) -> Option<String> {
        from_set_cookie(values.iter().map(|value| value.as_bytes()))
    }

    #[test]
    fn the_cookie_is_written_as_the_reference_does() {
        assert_eq!(cookie_header("123"), "unisave_session_id=123;");
        assert_eq!(
            cookie_header("with space; and = + % ž-_.~"),
            "unisave_session_id=with%20space%3B%20and%20%3D%20%2B%20%25%20%C5%BE-_.~;"
        );
        assert_eq!(
            set_cookie("s=2", SystemTime::UNIX_EPOCH),
            "unisave_session_id=s%3D2; path=/; expires=Thu, 01 Jan 1970 01:00:00 GMT; HttpOnly"
        );
    }

    #[test]
    fn set_cookie_is_read_as_the_reference_does() {
        assert_eq!(told(&["unisave_session_id=a%3D; path=/"]).unwrap(), "a=");
        assert_eq!(told(&["theme=dark", "unisave_session_id=b"]).unwrap(), "b");
        assert_eq!(told(&["x=1;unisave_session_id=c;y"]).unwrap(), "c");
        assert_eq!(told(&["unisave_session_id=a+b=c"]).unwrap(), "a+b=c");
        assert_eq!(told(&["unisave_session_id= d "]).unwrap(), " d ");
        assert_eq!(
            told(&["unisave_session_id=1; x", "unisave_session_id=2"]).unwrap(),
            "1"
        );
        for nothing in [
            &[][..],
            &["unisave_session_id"],
            &["unisave_session_id=; path=/"],
            &["UNISAVE_SESSION_ID=a"],
            // A part must begin with the name, and a value that has it elsewhere ends the search.
            &["x=1; unisave_session_id=a"],
            &["my_unisave_session_id=a", "unisave_session_id=b"],
            // Nor does a later part of the same name count.
            &["unisave_session_id=; unisave_session_id=a"],
        ] {
            assert_eq!(told(nothing), None, "{nothing:?}");
        }
        assert_eq!(
            from_set_cookie([&b"unisave_session_id=\xE9"[..]].into_iter()).unwrap(),
            "é"
        );
    }

    #[test]
    fn escapes_that_stand_for_nothing_stay() {
        for (escaped, text) in [
            ("%41%2f%2F", "A//"),
            ("%C5%BE", "ž"),
            ("%C3%28", "%C3("),
            ("%c3", "%c3"),
            ("%", "%"),
            ("%4", "%4"),
            ("%%41", "%A"),
            ("%4%41", "%4A"),
            ("%zz%41%", "%zzA%"),
            ("%ED%A0%80", "%ED%A0%80"),
            ("%F0%9F%98%80%FF%41", "😀%FFA"),
            ("ž%C5%BEž%", "žžž%"),
            ("%é1", "%é1"),
            ("a+b", "a+b"),
        ] {
            assert_eq!(decode_percent(escaped), text, "{escaped}");
        }
    }

    #[test]
    fn a_cookie_header_is_searched_by_exact_name() {
        let named = |values: &[&'static str]| {
            from_cookie(values.iter().map(|value| value.as_bytes())).map(Cow::into_owned)
        };
        assert_eq!(
            named(&["a=1; unisave_session_id=DpVN%3D; b=2"]).unwrap(),
            "DpVN="
        );
        assert_eq!(named(&["a=1", " unisave_session_id = x "]).unwrap(), "x");
        assert_eq!(named(&["unisave_session_id=x;"]).unwrap(), "x");
        assert_eq!(
            named(&["xunisave_session_id=x; unisave_session_idx=y"]),
            None
        );
        assert_eq!(
            named(&["unisave_session_id=", "unisave_session_id=x"]),
            None
        );
        assert_eq!(named(&[]), None);
        assert_eq!(
            from_cookie([&b"unisave_session_id=\xE9%41"[..]].into_iter()).unwrap(),
            "éA"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(session in "\\PC{1,20}|[%;=\u{0}-\u{20}žA0]{1,20}") {
            let cookie = cookie_header(&session);
            let read = from_set_cookie([cookie.as_bytes()].into_iter());
            prop_assert_eq!(read.as_ref(), Some(&session));
            let read = from_cookie([cookie.as_bytes()].into_iter());
            prop_assert_eq!(read.as_deref(), Some(&*session));
        }

        #[test]
        fn decoding_agrees_with_the_library_where_all_is_valid(text in "(%[0-7][0-9a-f]|[g-z%]|%C5%BE){0,20}") {
            let library = percent_encoding::percent_decode_str(&text).decode_utf8().unwrap();
            prop_assert_eq!(decode_percent(&text), library);
        }

        #[test]
        fn decoding_never_panics(text in "\\PC*", bytes: Vec<u8>) {
            prop_assert!(decode_percent(&text).len() <= text.len());
            prop_assert_eq!(from_set_cookie([&bytes[..]].into_iter()), None);
        }
    }
}
