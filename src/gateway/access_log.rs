//! A line for each call: in the C# worker's form, or as JSON.

use std::{borrow::Cow, io::Write};

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use super::{config::AccessLog, record::CallRecord};
use crate::telemetry::LineWriter;

/// The access log: its form, and where its lines go.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) form: AccessLog,
    pub(super) lines: LineWriter,
}

/// Writes the line of a call that has ended.
pub(super) fn write(log: &Log, call: &CallRecord) {
    match log.form {
        AccessLog::Off => {}
        AccessLog::Text => log.lines.line(|line| text(line, call)),
        AccessLog::Json => log.lines.line(|line| json(line, call)),
    }
}

/// `[2026-11-21 08:07:01] R1385 POST /MyFacet/Foo 200 138B 45ms`: UTC, the call's index, bytes of
/// the answer's body, execution time.
fn text(line: &mut Vec<u8>, call: &CallRecord) {
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    // Writing to memory can't fail.
    let _ = writeln!(
        line,
        "[{:04}-{:02}-{:02} {:02}:{:02}:{:02}] R{} {} {} {} {}B {}ms",
        now.year(),
        now.month(),
        now.day(),
        now.hour(),
        now.minute(),
        now.second(),
        call.index,
        call.method,
        call.shown_path(),
        call.shown_status(),
        call.sent_bytes,
        call.execution.unwrap_or_default().as_millis(),
    );
}

#[derive(Serialize)]
struct JsonLine<'a> {
    time: String,
    index: u64,
    method: &'a str,
    path: Cow<'a, str>,
    status: u16,
    bytes: u64,
    /// Milliseconds each.
    total_ms: f64,
    start_ms: f64,
    queue_ms: f64,
    connect_ms: f64,
    execution_ms: Option<f64>,
    outcome: &'static str,
    error: Option<u16>,
    client: &'static str,
    backend: Option<&'a str>,
    backend_dialect: Option<&'static str>,
    member: Option<&'a str>,
    env: Option<&'a str>,
    peer: Option<std::net::IpAddr>,
    request_id: &'a str,
    trace_id: String,
}

fn json(line: &mut Vec<u8>, call: &CallRecord) {
    let millis = |duration: std::time::Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
    let backend = call.backend.as_deref();
    let entry = JsonLine {
        time: Timestamp::now().to_string(),
        index: call.index,
        method: call.method.as_str(),
        path: call.shown_path().into(),
        status: call.shown_status(),
        bytes: call.sent_bytes,
        total_ms: millis(call.began.elapsed()),
        start_ms: millis(call.starting),
        queue_ms: millis(call.queued.unwrap_or_default()),
        connect_ms: millis(call.connecting.unwrap_or_default()),
        execution_ms: call.execution.map(millis),
        outcome: call.outcome.name(),
        error: call.error.map(|number| number.number()),
        client: call.client.name(),
        backend: backend.map(|backend| backend.name.as_str()),
        backend_dialect: backend.map(|backend| backend.dialect.name()),
        member: call.member.as_deref(),
        env: call.digest.as_ref().map(|digest| digest.as_str()),
        peer: call.peer,
        request_id: call.ids.request.to_str().unwrap_or_default(),
        trace_id: call.ids.trace_id(),
    };
    // Writing to memory can't fail, and every field is a plain value.
    let _ = serde_json::to_writer(&mut *line, &entry);
    line.push(b'\n');
}
