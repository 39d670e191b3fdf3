//! Strings: escapes read, written, and put where control characters were left raw.

use super::LoneSurrogate;

/// A text as a JSON string, with its quotes.
#[must_use]
pub fn json_string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    push_json_string(&mut json, text);
    json
}

/// Writes a text behind others as a JSON string, with its quotes.
pub fn push_json_string(json: &mut String, text: &str) {
    json.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
        let (plain, from) = rest.split_at_checked(at).unwrap_or((rest, ""));
        json.push_str(plain);
        let mut characters = from.chars();
        match characters.next() {
            Some('\n') => json.push_str("\\n"),
            Some('\r') => json.push_str("\\r"),
            Some('\t') => json.push_str("\\t"),
            Some(c @ ('"' | '\\')) => json.extend(['\\', c]),
            Some(c) => json.extend(control_escape(c)),
            None => {}
        }
        rest = characters.as_str();
    }
    json.push_str(rest);
    json.push('"');
}

/// The six characters that stand for a control character.
fn control_escape(control: char) -> [char; 6] {
    let code = u32::from(control);
    let digit = |shift: u32| char::from_digit(code >> shift & 0xF, 16).unwrap_or('0');
    ['\\', 'u', '0', '0', digit(4), digit(0)]
}

/// Valid JSON but for `count` raw control characters in its strings, with those escaped. White
/// space between tokens stays.
pub(super) fn escape_raw_controls(json: &[u8], count: usize) -> Vec<u8> {
    // An escape has six bytes where one stood.
    let mut escaped = Vec::with_capacity(json.len() + 5 * count);
    let (mut in_string, mut after_backslash) = (false, false);
    for &byte in json {
        if in_string && byte < 0x20 {
            escaped.extend(control_escape(char::from(byte)).map(|c| c as u8));
            continue;
        }
        escaped.push(byte);
        if after_backslash {
            after_backslash = false;
        } else if byte == b'"' {
            in_string = !in_string;
        } else {
            after_backslash = in_string && byte == b'\\';
        }
    }
    escaped
}

/// What a string's content says, as UTF-8. The content is one that the scan has accepted.
pub(super) fn unescape(content: &[u8]) -> Result<Vec<u8>, LoneSurrogate> {
    let mut text = Vec::with_capacity(content.len());
    let mut rest = content;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        text.extend_from_slice(rest.get(..at).unwrap_or_default());
        let (character, behind) = escape(rest.get(at + 1..).unwrap_or_default())?;
        text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = behind;
    }
    text.extend_from_slice(rest);
    Ok(text)
}

/// The character of an escape whose backslash is already read, and what follows it.
fn escape(escape: &[u8]) -> Result<(char, &[u8]), LoneSurrogate> {
    let (code, behind) = escape.split_first().unwrap_or((&b'\\', &[]));
    let character = match code {
        b'u' => return unicode_escape(behind),
        b'b' => '\u{8}',
        b'f' => '\u{C}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        itself => char::from(*itself),
    };
    Ok((character, behind))
}

fn unicode_escape(digits: &[u8]) -> Result<(char, &[u8]), LoneSurrogate> {
    let (first, behind) = utf16_unit(digits)?;
    if let Some(character) = char::from_u32(u32::from(first)) {
        return Ok((character, behind));
    }
    let second = behind.strip_prefix(b"\\u").ok_or(LoneSurrogate)?;
    let (second, behind) = utf16_unit(second)?;
    match char::decode_utf16([first, second]).next() {
        Some(Ok(character)) => Ok((character, behind)),
        _ => Err(LoneSurrogate),
    }
}

fn utf16_unit(digits: &[u8]) -> Result<(u16, &[u8]), LoneSurrogate> {
    let (digits, behind) = digits.split_first_chunk::<4>().ok_or(LoneSurrogate)?;
    let unit = digits.iter().fold(0, |unit, digit| {
        let digit = char::from(*digit).to_digit(16).unwrap_or_default();
        unit << 4 | digit
    });
    Ok((u16::try_from(unit).unwrap_or_default(), behind))
}
