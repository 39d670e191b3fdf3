//! What a case expects of a message, and how a message differs from it.

use crate::harness::{Json, Message, base64, matches};

/// What a process may have beyond its env: the inherited base, and what Python sets on its own.
const BASE: [&str; 6] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR", "LC_CTYPE"];

/// What a message must be.
#[derive(Debug)]
pub(crate) struct Expected {
    wanted: Json,
    /// Whether numbers are compared by value, as in recordings, instead of by text.
    by_value: bool,
}

impl Expected {
    pub(super) fn read(wanted: &Json, by_value: bool) -> Self {
        Self {
            wanted: wanted.clone(),
            by_value,
        }
    }

    /// All that differs.
    pub(super) fn differences(&self, message: &Message) -> Vec<String> {
        let mut differences = Vec::new();
        let text = |key: &str| self.wanted.at(key).and_then(Json::text);
        if let Some(status) = self.wanted.at("status").and_then(Json::number)
            && message.status().to_string() != status
        {
            let body = clip(&message.text());
            return vec![format!(
                "status {}, want {status}; body {body:?}",
                message.status()
            )];
        }
        let is_request = !message.start.starts_with("HTTP/");
        let side = if is_request { "backend" } else { "client" };
        if let Some(method) = text("method")
            && message.start.split(' ').next() != Some(method)
        {
            differences.push(format!("{side}: {:?}, want method {method}", message.start));
        }
        if let Some(path) = text("path")
            && is_request
            && message.path() != path
        {
            differences.push(format!("{side}: path {}, want {path}", message.path()));
        }
        if let Some(path) = text("decoded_path")
            && !decodes_to(message.path(), path)
        {
            differences.push(format!("{side}: path {}, want {path}", message.path()));
        }
        let first = self
            .header_difference(message)
            .or_else(|| self.env_difference(message))
            .or_else(|| self.body_difference(message));
        differences.extend(first.map(|difference| format!("{side}: {difference}")));
        differences
    }

    fn header_difference(&self, message: &Message) -> Option<String> {
        let Some(Json::Object(headers)) = self.wanted.at("headers") else {
            return None;
        };
        headers.iter().find_map(|(name, wanted)| {
            let got = message.all(name);
            let fits = match wanted {
                Json::Null => got.is_empty(),
                Json::Array(values) => {
                    got == values.iter().filter_map(Json::text).collect::<Vec<_>>()
                }
                Json::Text(text) => match (text.strip_prefix('~'), got.as_slice()) {
                    (Some(pattern), [one]) => matches(pattern, one),
                    (None, [one]) => one == text,
                    _ => false,
                },
                _ => panic!("no expectation of a header: {wanted:?}"),
            };
            (!fits).then(|| format!("header {name}: want {wanted:?}, got {got:?}"))
        })
    }

    /// The variables of the process that relayed the call.
    fn env_difference(&self, message: &Message) -> Option<String> {
        let Some(Json::Object(wanted)) = self.wanted.at("env") else {
            return None;
        };
        let Some(relayed) = message.header("x-relay-env") else {
            return Some("its worker shows no variables".to_owned());
        };
        let Ok(Json::Object(env)) = Json::parse(&base64(relayed)) else {
            return Some(format!("no variables: {relayed:?}"));
        };
        let of_env = |name: &str| {
            wanted
                .iter()
                .any(|(wanted, value)| wanted == name && *value != Json::Null)
        };
        let mut names = env.iter().map(|(name, _)| name.as_str());
        let extra = names
            .find(|name| !of_env(name) && !BASE.contains(name) && !name.starts_with("ENVGATE_"));
        if let Some(extra) = extra {
            return Some(format!("its worker also has {extra}"));
        }
        wanted.iter().find_map(|(name, wanted)| {
            let got = env.iter().find(|(known, _)| known == name);
            let got = got.and_then(|(_, value)| value.text());
            let fits = match (wanted.text(), got) {
                (None, got) => got.is_none(),
                (Some(_), None) => false,
                (Some(wanted), Some(got)) => match wanted.strip_prefix('~') {
                    Some(pattern) => matches(pattern, got),
                    None => wanted == got,
                },
            };
            (!fits).then(|| format!("variable {name}: want {wanted:?}, got {got:?}"))
        })
    }

    fn body_difference(&self, message: &Message) -> Option<String> {
        let got = message.text();
        if let Some(body) = self.wanted.at("body").and_then(Json::text)
            && body.as_bytes() != message.body
        {
            return Some(format!("body: want {:?}, got {:?}", clip(body), clip(&got)));
        }
        let pieces = self
            .wanted
            .at("contains")
            .map(Json::items)
            .unwrap_or_default();
        if let Some(piece) = pieces
            .iter()
            .filter_map(Json::text)
            .find(|p| !got.contains(p))
        {
            return Some(format!("body lacks {piece:?}: {:?}", clip(&got)));
        }
        let wanted = self.wanted.at("json")?;
        match Json::parse(&message.body) {
            Ok(json) => difference(wanted, &json, "$", self.by_value),
            Err(why) => Some(format!("body is not JSON ({why}): {:?}", clip(&got))),
        }
    }
}

fn clip(text: &str) -> String {
    text.chars().take(300).collect()
}

/// Whether a request's path is this text percent-encoded, and holds nothing that a path can't.
fn decodes_to(path: &str, wanted: &str) -> bool {
    let fit = path
        .chars()
        .all(|c| c.is_ascii_graphic() && !r#"?#"<>^`{|}\"#.contains(c));
    fit && percent_encoding::percent_decode_str(path).decode_utf8_lossy() == wanted
}

/// The first difference of two values.
fn difference(wanted: &Json, got: &Json, path: &str, by_value: bool) -> Option<String> {
    let differs = || Some(format!("{path}: want {wanted:?}, got {got:?}"));
    match (wanted, got) {
        (Json::Text(text), _) if is_placeholder(text) => {
            if stands_for(text, got) {
                None
            } else {
                differs()
            }
        }
        (Json::Object(fields), Json::Object(others)) => {
            let missing = fields.iter().find(|(key, _)| got.at(key).is_none());
            let extra = others.iter().find(|(key, _)| wanted.at(key).is_none());
            if let Some((key, _)) = missing {
                return Some(format!("{path}.{key} missing"));
            }
            if let Some((key, value)) = extra {
                return Some(format!("{path}.{key} unexpected: {value:?}"));
            }
            fields.iter().find_map(|(key, value)| {
                difference(value, got.at(key)?, &format!("{path}.{key}"), by_value)
            })
        }
        (Json::Array(items), Json::Array(others)) if items.len() == others.len() => {
            let both = items.iter().zip(others).enumerate();
            both.into_iter().find_map(|(index, (one, other))| {
                difference(one, other, &format!("{path}[{index}]"), by_value)
            })
        }
        (Json::Number(one), Json::Number(other)) if by_value => {
            let same = one.parse::<f64>().ok() == other.parse::<f64>().ok();
            if same { None } else { differs() }
        }
        _ if wanted == got => None,
        _ => differs(),
    }
}

fn range(text: &str) -> Option<(f64, f64)> {
    let (low, high) = text
        .strip_prefix('<')?
        .strip_suffix('>')?
        .split_once(" to ")?;
    Some((low.parse().ok()?, high.parse().ok()?))
}

fn is_placeholder(text: &str) -> bool {
    matches!(text, "<number>" | "<string>" | "<any>") || range(text).is_some()
}

fn stands_for(placeholder: &str, got: &Json) -> bool {
    match (placeholder, got) {
        ("<any>", _) | ("<string>", Json::Text(_)) | ("<number>", Json::Number(_)) => true,
        (text, Json::Number(number)) => {
            let number: f64 = number.parse().unwrap_or(f64::NAN);
            range(text).is_some_and(|(low, high)| (low..=high).contains(&number))
        }
        _ => false,
    }
}

#[test]
fn differences_are_found() {
    let parse = |text: &str| Json::parse(text.as_bytes()).expect("JSON");
    let differ = |wanted: &str, got: &str, by_value| {
        difference(&parse(wanted), &parse(got), "$", by_value).is_some()
    };
    assert!(differ("1.0", "1", false) && !differ("1.0", "1", true));
    assert!(differ(r#"{"a":1}"#, r#"{"a":1,"b":2}"#, false));
    assert!(differ(r#"{"a":1,"b":2}"#, r#"{"a":1}"#, false));
    assert!(differ("[1,2]", "[1]", false));
    assert!(!differ(
        r#"["<number>","<string>","<any>"]"#,
        r#"[1,"x",null]"#,
        false
    ));
    assert!(differ(r#""<number>""#, r#""x""#, false));
    assert!(!differ(r#""<0.25 to 1.5>""#, "0.3", false));
    assert!(differ(r#""<0.25 to 1.5>""#, "1.6", false));
    assert!(decodes_to("/a%60b/c", "/a`b/c") && !decodes_to("/a`b/c", "/a`b/c"));
}
