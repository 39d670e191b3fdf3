//! What the far end does about a request, as data.

use std::time::Duration;

/// One step of what the backend does about a request. A script that just ends leaves the
/// connection open for the next request.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Sends these bytes.
    Raw(Vec<u8>),
    /// Sends these bytes one by one.
    Drip {
        bytes: Vec<u8>,
        every: Duration,
    },
    Delay(Duration),
    /// Waits for `Backend::release`.
    Hold,
    /// Waits until the peer closes the connection.
    Hang,
    /// Ends what it sends (FIN).
    Close,
    /// Ends the connection with an RST.
    Reset,
}

/// A whole answer with a length.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Step {
    let mut bytes = format!("HTTP/1.1 {status} X\r\n");
    for (name, value) in headers {
        bytes += &format!("{name}: {value}\r\n");
    }
    bytes += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    Step::Raw(bytes.into_bytes())
}

/// The answer of a worker that speaks the new API.
pub(crate) fn ok_modern(returned: &str) -> String {
    format!(r#"{{"status":"ok","returned":{returned},"logs":[]}}"#)
}

/// An answer that suits both dialects: each reads the fields it knows.
pub(crate) fn ok(returned: &str) -> Step {
    let body = format!(
        r#"{{"status":"ok","result":"ok","returned":{returned},"logs":[],"special":{{"sessionId":null,"logs":[],"executionDuration":0.1}}}}"#
    );
    answer(200, &[("Content-Type", "application/json")], &body)
}
