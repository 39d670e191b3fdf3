//! What cookies say about the session (CONTRACT 3 and 4).

const NAME: &str = "unisave_session_id=";

/// The session that `Set-Cookie` headers tell.
#[must_use]
pub fn told(values: &[&[u8]]) -> Option<String> {
    let mut values = values.iter().map(|value| header_text(value));
    let value = values.find(|value| value.contains(NAME))?;
    let part = value.split(';').find(|part| part.starts_with(NAME))?;
    Some(decoded(&part[NAME.len()..])).filter(|id| !id.is_empty())
}

fn header_text(value: &[u8]) -> String {
    let latin_1 = || value.iter().copied().map(char::from).collect();
    str::from_utf8(value).map_or_else(|_| latin_1(), str::to_owned)
}

/// Percent-decodes one character at a time: the escapes that make up one, or else the `%` itself.
fn decoded(text: &str) -> String {
    let mut decoded = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let escaped = (1..=4).find_map(|len| {
            let run = rest.get(..3 * len)?;
            let bytes: Option<Vec<u8>> = run.as_bytes().chunks(3).map(escape).collect();
            let character = String::from_utf8(bytes?).ok()?;
            (character.chars().count() == 1).then_some((run, character))
        });
        if let Some((run, character)) = escaped {
            decoded += &character;
            rest = &rest[run.len()..];
        } else {
            decoded.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    decoded
}

fn escape(text: &[u8]) -> Option<u8> {
    let [b'%', digits @ ..] = text else {
        return None;
    };
    // Parsing alone would take a sign.
    let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
    let digits = str::from_utf8(digits).ok().filter(|_| is_hex)?;
    u8::from_str_radix(digits, 16).ok()
}
