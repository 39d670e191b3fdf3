//! A client that controls every byte it sends.

use std::{
    net::Shutdown,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use super::{Address, Broken, Gateway, Message, Stream, Wire, backend::soon};

/// A connection to the gateway.
#[derive(Debug)]
pub(crate) struct Client {
    stream: Arc<Stream>,
    pub(crate) wire: Wire,
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(gateway: &Gateway) -> Self {
        Self::connect_to(gateway.address())
    }

    #[track_caller]
    pub(crate) fn connect_to(address: &Address) -> Self {
        let stream = match Stream::connect(address) {
            Ok(stream) => Arc::new(stream),
            Err(error) => panic!("connecting to {address:?}: {error}"),
        };
        Self {
            wire: Wire::new(Arc::clone(&stream)),
            stream,
        }
    }

    #[track_caller]
    pub(crate) fn send(&self, bytes: impl AsRef<[u8]>) {
        if let Err(error) = self.stream.send(bytes.as_ref()) {
            panic!("sending {} bytes: {error}", bytes.as_ref().len());
        }
    }

    /// Sends, or tells that the gateway has ended the connection.
    pub(crate) fn try_send(&self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.send(bytes.as_ref()).is_ok()
    }

    /// The next whole answer that isn't an interim one.
    #[track_caller]
    pub(crate) fn read(&mut self) -> Message {
        match self.try_read(soon()) {
            Ok(Some(message)) => message,
            Ok(None) => panic!("the connection ended without an answer"),
            Err(broken) => panic!("no whole answer: {broken:?}"),
        }
    }

    /// The same, or why there is none.
    pub(crate) fn try_read(&mut self, until: Instant) -> Result<Option<Message>, Broken> {
        loop {
            match self.wire.message(Some(until))? {
                Some(message) if matches!(message.status(), 100 | 102..=199) => {}
                other => return Ok(other),
            }
        }
    }

    /// Sends one request and reads its answer.
    #[track_caller]
    pub(crate) fn call(&mut self, call: &Call) -> Message {
        self.send(call.bytes());
        self.read()
    }

    /// Sends no more: a FIN, while answers could still be read.
    #[track_caller]
    pub(crate) fn half_close(&self) {
        self.stream
            .shutdown(Shutdown::Write)
            .expect("a connection to half-close");
    }

    /// Fails if anything comes, or the connection ends, within this time.
    #[track_caller]
    pub(crate) fn assert_silent(&mut self, watched: Duration) {
        match self.try_read(Instant::now() + watched) {
            Err(Broken::TimedOut(bytes)) if bytes.is_empty() => {}
            other => panic!("something came: {other:?}"),
        }
    }

    /// Fails if the connection ends within this time, whatever comes.
    #[track_caller]
    pub(crate) fn assert_still_open(&mut self, watched: Duration) {
        match self.wire.rest(Some(Instant::now() + watched)) {
            Err(Broken::TimedOut(_)) => {}
            other => panic!("the connection is over: {other:?}"),
        }
    }

    /// Reads until the gateway ends the connection, cleanly or not; what came until then.
    #[track_caller]
    pub(crate) fn read_to_the_end(&mut self) -> Vec<u8> {
        match self.wire.rest(Some(soon())) {
            Ok(bytes) | Err(Broken::Reset(bytes)) => bytes,
            Err(broken) => panic!("the connection didn't end: {broken:?}"),
        }
    }
}

/// A facet call, as a client writes it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    modern: bool,
    facet: String,
    method: String,
    arguments: String,
    env: Option<String>,
    session: Option<String>,
    headers: Vec<(String, String)>,
}

impl Call {
    /// The documented envelope.
    pub(crate) fn legacy(env: &str) -> Self {
        Self {
            modern: false,
            facet: "EchoFacet".to_owned(),
            method: "Echo".to_owned(),
            arguments: r#"["Hello world!"]"#.to_owned(),
            env: Some(env.to_owned()),
            session: Some("123456789".to_owned()),
            headers: vec![("Content-Type".to_owned(), "application/json".to_owned())],
        }
    }

    /// The new API's form: no env in it.
    pub(crate) fn modern() -> Self {
        let call = Self {
            modern: true,
            env: None,
            ..Self::legacy("")
        };
        call.header("X-Unisave-Request", "Facet")
    }

    pub(crate) fn facet(mut self, facet: &str) -> Self {
        facet.clone_into(&mut self.facet);
        self
    }

    pub(crate) fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    pub(crate) fn arguments(mut self, arguments: &str) -> Self {
        arguments.clone_into(&mut self.arguments);
        self
    }

    pub(crate) fn session(mut self, session: &str) -> Self {
        self.session = Some(session.to_owned());
        self
    }

    /// Leaves the env out of the envelope.
    pub(crate) fn without_env(mut self) -> Self {
        self.env = None;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn body(&self) -> String {
        if self.modern {
            return format!(r#"{{"arguments":{}}}"#, self.arguments);
        }
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let env = self
            .env
            .as_deref()
            .map(|env| format!(r#""env":{},"#, quoted(env)));
        let session = self
            .session
            .as_deref()
            .map_or_else(|| "null".to_owned(), quoted);
        format!(
            concat!(
                r#"{{"method":"facet-call",{}"methodParameters":{{"facetName":{},"#,
                r#""methodName":{},"arguments":{},"sessionId":{},"deviceId":"d-1","#,
                r#""device":{{"platform":"Locust","deviceModel":null}},"gameToken":"g-1","#,
                r#""editorKey":null,"client":{{"backendHash":"h","buildGuid":"b","#,
                r#""frameworkVersion":"0.11.0","assetVersion":"0.11.0","versionString":"1.0"}}}}}}"#
            ),
            env.unwrap_or_default(),
            quoted(&self.facet),
            quoted(&self.method),
            self.arguments,
            session,
        )
    }

    /// The head, with these headers more.
    pub(crate) fn head(&self, more: &str) -> String {
        let path = if self.modern {
            format!("/{}/{}", self.facet, self.method)
        } else {
            "/".to_owned()
        };
        let mut head = format!("POST {path} HTTP/1.1\r\nHost: gate.test\r\n");
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if let (true, Some(session)) = (self.modern, &self.session) {
            head += &format!("Cookie: unisave_session_id={session}\r\n");
        }
        format!("{head}{more}\r\n")
    }

    /// The whole request.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let body = self.body();
        (self.head(&format!("Content-Length: {}\r\n", body.len())) + &body).into_bytes()
    }
}

/// Sends these calls at once, each on a connection of its own; their answers, in the order in
/// which they come, each with the index of its call.
pub(crate) fn burst(gateway: &Gateway, calls: &[Call]) -> mpsc::Receiver<(usize, Message)> {
    let ready: Vec<_> = calls
        .iter()
        .map(|call| (Client::connect(gateway), call.bytes()))
        .collect();
    let (answers, received) = mpsc::channel();
    for (client, bytes) in &ready {
        client.send(bytes);
    }
    for (index, (mut client, _)) in ready.into_iter().enumerate() {
        let answers = answers.clone();
        thread::spawn(move || {
            if let Ok(Some(message)) = client.try_read(soon()) {
                // A test that has failed reads no more.
                drop(answers.send((index, message)));
            }
        });
    }
    received
}
