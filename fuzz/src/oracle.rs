//! Which texts are JSON, and what stands in them.

use std::fmt;

use bytes::Buf;
use envgate::facet::Pieces;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// A body as `serde_json` can judge it: without a byte order mark, and with the raw control
/// characters of its strings escaped. `None` for what is no UTF-8.
#[must_use]
pub fn strict(body: &[u8]) -> Option<String> {
    let text = str::from_utf8(body).ok()?;
    let mut strict = String::new();
    let mut in_string = false;
    let mut characters = text.strip_prefix('\u{feff}').unwrap_or(text).chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => in_string = !in_string,
            '\\' if in_string => {
                strict.push('\\');
                // What is behind it never ends the string. A control character there is none of
                // JSON's escapes, raw or escaped.
                strict.extend(characters.next());
                continue;
            }
            '\0'..='\u{1f}' if in_string => {
                strict += &format!("\\u{:04x}", u32::from(character));
                continue;
            }
            _ => {}
        }
        strict.push(character);
    }
    Some(strict)
}

/// Whether a body is JSON by the contract's rules, apart from its nesting: its strict form then.
#[must_use]
pub fn json(body: &[u8]) -> Option<String> {
    let text = strict(body)?;
    serde_json::from_str::<IgnoredAny>(&text).ok()?;
    Some(text)
}

/// How deep valid JSON is nested: its outermost array or object counts as 1.
#[must_use]
pub fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0, 0);
    let mut bytes = json.bytes();
    let mut in_string = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => in_string = !in_string,
            b'\\' => {
                bytes.next();
            }
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
    }
    deepest
}

/// An object's members in the order of the text, doubled ones too. `None` for what is no object.
#[must_use]
pub fn members(json: &str) -> Option<Vec<(Key, &str)>> {
    let Members(members) = serde_json::from_str(json).ok()?;
    Some(members)
}

/// All values of a member.
#[must_use]
pub fn all<'a>(members: &[(Key, &'a str)], name: &str) -> Vec<&'a str> {
    let named = members.iter().filter(|(key, _)| key.0 == name.as_bytes());
    named.map(|(_, value)| *value).collect()
}

/// The text of a string; `None` for one with a lone surrogate and for what is no string.
#[must_use]
pub fn text(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

/// Whether a value is a string.
#[must_use]
pub fn is_string(json: &str) -> bool {
    json.starts_with('"')
}

/// A key's text, or bytes that are no UTF-8 where it has a lone surrogate.
#[derive(Debug)]
pub struct Key(Vec<u8>);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Key, E> {
                Ok(Key(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

struct Members<'a>(Vec<(Key, &'a str)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<Key, &RawValue>()? {
                    members.push((key, value.get()));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// Checks that a value lies in the body that it was found in: nothing was copied.
///
/// # Panics
///
/// Where it doesn't.
pub fn assert_slice_of(slice: &[u8], body: &[u8]) {
    let (inner, outer) = (slice.as_ptr_range(), body.as_ptr_range());
    assert!(
        outer.start <= inner.start && inner.end <= outer.end,
        "what passes was copied"
    );
}

/// The text of what envgate has written.
///
/// # Panics
///
/// Where it is no UTF-8.
#[must_use]
pub fn written(mut pieces: Pieces) -> String {
    let bytes = pieces.copy_to_bytes(pieces.len());
    str::from_utf8(&bytes).expect("it is UTF-8").to_owned()
}
