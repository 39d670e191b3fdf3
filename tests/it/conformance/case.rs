//! A case as its file writes it.

use std::time::Duration;

use crate::harness::{Json, Step, base64};

use super::compare::Expected;

/// What is sent, what the backend must see and answers, and what the client must get.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// The whole request, byte for byte.
    pub(crate) request: Vec<u8>,
    /// What the backend must see; `None`: nothing may reach it.
    pub(crate) backend: Option<Expected>,
    pub(crate) reply: Vec<Step>,
    pub(crate) response: Expected,
}

impl Case {
    /// The cases of one file.
    pub(crate) fn file(text: &str) -> Vec<Self> {
        let file = Json::parse(text.as_bytes()).expect("a file of cases is JSON");
        let cases: Vec<_> = file.items().iter().map(Self::read).collect();
        assert!(!cases.is_empty(), "a file of cases has cases");
        cases
    }

    fn read(case: &Json) -> Self {
        let mut case = case.clone();
        fill(&mut case);
        let part = |name: &str| case.at(name).filter(|part| **part != Json::Null);
        Self {
            name: case
                .at("name")
                .and_then(Json::text)
                .unwrap_or_default()
                .to_owned(),
            request: request(part("request").expect("a case has a request")),
            backend: part("backend").map(|backend| Expected::read(backend, false)),
            reply: part("reply").map_or_else(Vec::new, reply),
            response: Expected::read(part("response").expect("a case has a response"), false),
        }
    }

    /// Exchanges recorded before the reference worker and behind it, one a line, as cases.
    pub(crate) fn recorded(lines: &str) -> Vec<Self> {
        let lines = lines.split('\n').filter(|line| !line.is_empty());
        lines
            .enumerate()
            .map(|(index, line)| Self::exchange(index + 1, line))
            .collect()
    }

    fn exchange(line: usize, text: &str) -> Self {
        let record = Json::parse(text.as_bytes()).expect("a record is JSON");
        let text = |outer, inner| {
            record
                .at2(outer, inner)
                .and_then(Json::text)
                .unwrap_or_default()
        };
        let body = |part| Json::parse(text(part, "body").as_bytes()).expect("a recorded body");
        let path = text("modern_request", "path");

        let mut headers = pairs(record.at2("modern_request", "headers"));
        headers.retain(|(name, _)| name != "Content-Type");
        headers.push(("Content-Type".to_owned(), "application/json".to_owned()));
        let mut wanted: Vec<_> = headers
            .into_iter()
            .map(|(name, value)| (name, Json::Text(value)))
            .collect();
        if !wanted.iter().any(|(name, _)| name == "Cookie") {
            wanted.push(("Cookie".to_owned(), Json::Null));
        }
        let object = |fields: Vec<(&str, Json)>| {
            Json::Object(
                fields
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect(),
            )
        };
        let backend = object(vec![
            (
                "method",
                Json::Text(text("modern_request", "method").to_owned()),
            ),
            ("decoded_path", Json::Text(path.to_owned())),
            ("headers", Json::Object(wanted)),
            ("json", body("modern_request")),
        ]);

        let mut answer = body("legacy_response");
        if let Json::Object(fields) = &mut answer
            && let Some((_, Json::Object(special))) =
                fields.iter_mut().find(|(key, _)| key == "special")
        {
            special.retain(|(key, _)| key != "executionDuration");
            special.push((
                "executionDuration".to_owned(),
                Json::Text("<number>".to_owned()),
            ));
        }
        let json_headers = object(vec![
            ("Content-Type", Json::Text("~application/json.*".to_owned())),
            ("Set-Cookie", Json::Null),
        ]);
        let status = record
            .at2("legacy_response", "status")
            .expect("a record has a status");
        let response = object(vec![
            ("status", status.clone()),
            ("headers", json_headers),
            ("json", answer),
        ]);
        Self {
            name: format!("recorded {line} {path}"),
            request: request(record.at("legacy_request").expect("a record has a request")),
            backend: Some(Expected::read(&backend, true)),
            reply: reply(record.at("modern_response").expect("a record has a reply")),
            response: Expected::read(&response, true),
        }
    }
}

/// Puts the long texts in place of their marks.
fn fill(case: &mut Json) {
    let Some(Json::Object(marks)) = case.at("fill").cloned() else {
        return;
    };
    let Json::Object(parts) = case else { return };
    let parts = parts
        .iter_mut()
        .filter(|(name, _)| name == "request" || name == "backend");
    for (_, part) in parts {
        let Json::Object(fields) = part else { continue };
        let Some((_, Json::Text(body))) = fields.iter_mut().find(|(key, _)| key == "body") else {
            continue;
        };
        for (mark, filling) in &marks {
            let [Json::Text(text), Json::Number(count)] = filling.items() else {
                panic!("a filling is a text and a count")
            };
            *body = body.replace(mark, &text.repeat(count.parse().expect("a count")));
        }
    }
}

fn pairs(headers: Option<&Json>) -> Vec<(String, String)> {
    let pairs = headers.map(Json::items).unwrap_or_default().iter();
    pairs
        .map(|pair| match pair.items() {
            [Json::Text(name), Json::Text(value)] => (name.clone(), value.clone()),
            _ => panic!("a header is a pair of texts: {pair:?}"),
        })
        .collect()
}

fn text_or<'a>(part: &'a Json, key: &str, default: &'a str) -> &'a str {
    part.at(key).and_then(Json::text).unwrap_or(default)
}

fn payload(part: &Json) -> Vec<u8> {
    match part.at("body_b64").and_then(Json::text) {
        Some(encoded) => base64(encoded),
        None => text_or(part, "body", "").as_bytes().to_vec(),
    }
}

fn headers_or_json(part: &Json) -> Vec<(String, String)> {
    match part.at("headers") {
        Some(headers) => pairs(Some(headers)),
        None => vec![("Content-Type".to_owned(), "application/json".to_owned())],
    }
}

/// Head and body; the head's texts are Latin-1.
fn message(start: &str, headers: &[(String, String)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{start}\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    let latin = |c: char| u8::try_from(u32::from(c)).expect("heads are Latin-1");
    let mut bytes: Vec<u8> = head.chars().map(latin).collect();
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

fn request(part: &Json) -> Vec<u8> {
    if let Some(encoded) = part.at("raw_b64").and_then(Json::text) {
        return base64(encoded);
    }
    let body = payload(part);
    let mut headers = vec![("Host".to_owned(), "gate.test".to_owned())];
    headers.extend(headers_or_json(part));
    let says_length = headers.iter().any(|(name, _)| {
        name.eq_ignore_ascii_case("content-length")
            || name.eq_ignore_ascii_case("transfer-encoding")
    });
    if !says_length {
        headers.push(("Content-Length".to_owned(), body.len().to_string()));
    }
    let (method, path) = (text_or(part, "method", "POST"), text_or(part, "path", "/"));
    message(&format!("{method} {path} HTTP/1.1"), &headers, &body)
}

fn reply(part: &Json) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(delay) = part.at("delay_ms").and_then(Json::number) {
        steps.push(Step::Delay(Duration::from_millis(
            delay.parse().expect("milliseconds"),
        )));
    }
    if let Some(encoded) = part.at("raw_b64").and_then(Json::text) {
        steps.extend([Step::Raw(base64(encoded)), Step::Close]);
        return steps;
    }
    let body = payload(part);
    let mut headers = headers_or_json(part);
    headers.push(("Content-Length".to_owned(), body.len().to_string()));
    let status = part.at("status").and_then(Json::number).unwrap_or("200");
    steps.push(Step::Raw(message(
        &format!("HTTP/1.1 {status} X"),
        &headers,
        &body,
    )));
    steps
}
