//! JSON whose numbers keep their text, read strictly, and base64.

/// A JSON value. Two objects are equal whatever the order of their keys; two numbers where their
/// texts are.
#[derive(Debug, Clone)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(one), Self::Bool(other)) => one == other,
            (Self::Number(one), Self::Number(other)) | (Self::Text(one), Self::Text(other)) => {
                one == other
            }
            (Self::Array(one), Self::Array(other)) => one == other,
            (Self::Object(one), Self::Object(fields)) => {
                one.len() == fields.len()
                    && one.iter().all(|(key, value)| other.at(key) == Some(value))
            }
            _ => false,
        }
    }
}

impl Json {
    /// Reads one value: no duplicate keys, no raw control characters, nothing after it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        let mut reader = Reader { text, place: 0 };
        let value = reader.value()?;
        reader.space();
        if reader.place == text.len() {
            Ok(value)
        } else {
            Err(reader.wrong("something follows"))
        }
    }

    /// A field of an object.
    pub(crate) fn at(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => fields
                .iter()
                .find(|(k, _)| k == key)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// A field of an object that has fields itself.
    pub(crate) fn at2(&self, outer: &str, inner: &str) -> Option<&Self> {
        self.at(outer)?.at(inner)
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn number(&self) -> Option<&str> {
        match self {
            Self::Number(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    place: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.place..).unwrap_or_default()
    }

    fn wrong(&self, what: &str) -> String {
        format!("{what} at byte {}", self.place)
    }

    fn space(&mut self) {
        let rest = self.rest();
        let trimmed = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        self.place += rest.len() - trimmed.len();
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        if found {
            self.place += word.len();
        }
        found
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest().chars().next()?;
        self.place += next.len_utf8();
        Some(next)
    }

    fn value(&mut self) -> Result<Json, String> {
        self.space();
        if self.take("null") {
            Ok(Json::Null)
        } else if self.take("true") {
            Ok(Json::Bool(true))
        } else if self.take("false") {
            Ok(Json::Bool(false))
        } else if self.take("\"") {
            self.string().map(Json::Text)
        } else if self.take("[") {
            self.array()
        } else if self.take("{") {
            self.object()
        } else {
            self.number()
        }
    }

    fn array(&mut self) -> Result<Json, String> {
        let mut items = Vec::new();
        self.space();
        if self.take("]") {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value()?);
            self.space();
            if self.take("]") {
                return Ok(Json::Array(items));
            }
            if !self.take(",") {
                return Err(self.wrong("no comma"));
            }
        }
    }

    fn object(&mut self) -> Result<Json, String> {
        let mut fields: Vec<(String, Json)> = Vec::new();
        self.space();
        if self.take("}") {
            return Ok(Json::Object(fields));
        }
        loop {
            self.space();
            if !self.take("\"") {
                return Err(self.wrong("no key"));
            }
            let key = self.string()?;
            if fields.iter().any(|(known, _)| *known == key) {
                return Err(self.wrong(&format!("a second {key:?}")));
            }
            self.space();
            if !self.take(":") {
                return Err(self.wrong("no colon"));
            }
            fields.push((key, self.value()?));
            self.space();
            if self.take("}") {
                return Ok(Json::Object(fields));
            }
            if !self.take(",") {
                return Err(self.wrong("no comma"));
            }
        }
    }

    fn number(&mut self) -> Result<Json, String> {
        let rest = self.rest();
        let of_number = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
        let length = rest.find(|c| !of_number(c)).unwrap_or(rest.len());
        let text = rest[..length].to_owned();
        // The form is serde_json's to judge; the text is kept.
        if serde_json::from_str::<serde::de::IgnoredAny>(&text).is_err() {
            return Err(self.wrong("no value"));
        }
        self.place += length;
        Ok(Json::Number(text))
    }

    fn string(&mut self) -> Result<String, String> {
        let mut text = String::new();
        loop {
            match self.next() {
                None => return Err(self.wrong("a string without end")),
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape()?),
                Some(c) if c < ' ' => return Err(self.wrong("a raw control character")),
                Some(c) => text.push(c),
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        Ok(match self.next() {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some(c @ ('"' | '\\' | '/')) => c,
            Some('u') => {
                let first = self.hex()?;
                let paired = (0xD800..0xDC00).contains(&first) && self.rest().starts_with("\\u");
                let before = self.place;
                if paired {
                    self.place += 2;
                    let second = self.hex()?;
                    if (0xDC00..0xE000).contains(&second) {
                        let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                        return char::from_u32(code).ok_or_else(|| self.wrong("no character"));
                    }
                    self.place = before;
                }
                // A lone surrogate has no `char`: one of the last private plane stands for it.
                char::from_u32(first)
                    .or_else(|| char::from_u32(0x10_0000 + first))
                    .ok_or_else(|| self.wrong("no character"))?
            }
            _ => return Err(self.wrong("no escape")),
        })
    }

    fn hex(&mut self) -> Result<u32, String> {
        let digits = self.rest().get(..4).unwrap_or_default();
        let code = u32::from_str_radix(digits, 16).map_err(|_| self.wrong("no four digits"))?;
        self.place += 4;
        Ok(code)
    }
}

/// Decodes base64.
pub(crate) fn base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0u32, 0);
    for c in text.bytes().filter(|c| *c != b'=') {
        let six = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => panic!("not base64: {text:?}"),
        };
        bits = (bits << 6) | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    bytes
}

#[test]
fn numbers_keep_their_text_and_objects_no_order() {
    let parse = |text: &str| Json::parse(text.as_bytes());
    assert_ne!(parse("1.0"), parse("1"));
    assert_eq!(
        parse(r#"{"a":1,"b":[-0,1e400]}"#),
        parse(r#" {"b":[-0, 1e400],"a":1} "#)
    );
    assert_eq!(parse(r#""\u0041\ud83d\ude00""#), parse("\"A😀\""));
    for wrong in ["{\"a\":1,\"a\":2}", "\"\u{1}\"", "[1,]", "1 2", "01", ""] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
    assert_eq!(base64("aGVsbG8="), b"hello");
}
