//! What is called how.

use std::net::SocketAddr;

use envgate::{
    config::{Config, Sources},
    facet::Dialect::{self, Legacy, Modern},
};

/// Bytes of a small envelope.
const SMALL: usize = 1_100;

/// Bytes of a large argument, or of what a large answer returns.
const LARGE: usize = 100_000;

/// One kind of call.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    client: Dialect,
    worker: Dialect,
    /// Envs that are called in turn.
    pub(crate) envs: usize,
    kind: Kind,
}

/// What is large or wrong about a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Small,
    LargeArguments,
    LargeAnswer,
    NoEnvelope,
}

/// How an answer begins and ends that is as it should be.
pub(crate) struct Expected {
    pub(crate) start: &'static str,
    pub(crate) end: &'static str,
}

const fn scenario(name: &'static str, client: Dialect, worker: Dialect, kind: Kind) -> Scenario {
    Scenario {
        name,
        client,
        worker,
        envs: 1,
        kind,
    }
}

pub(crate) const SCENARIOS: [Scenario; 8] = [
    scenario("legacy-modern", Legacy, Modern, Kind::Small),
    scenario("legacy-legacy", Legacy, Legacy, Kind::Small),
    scenario("modern-modern", Modern, Modern, Kind::Small),
    scenario("modern-legacy", Modern, Legacy, Kind::Small),
    Scenario {
        envs: 1_000,
        ..scenario("legacy-modern-1000-envs", Legacy, Modern, Kind::Small)
    },
    scenario("legacy-modern-100-kb", Legacy, Modern, Kind::LargeArguments),
    scenario(
        "legacy-modern-100-kb-answer",
        Legacy,
        Modern,
        Kind::LargeAnswer,
    ),
    scenario("refusal", Legacy, Modern, Kind::NoEnvelope),
];

impl Scenario {
    /// What the gateway is configured to be.
    pub(crate) fn config(&self, upstream: SocketAddr) -> Config {
        let text = format!(
            r#"
            [gateway]
            listen = ["127.0.0.1:0"]
            threads = 1
            access_log = "off"
            [env]
            # A modern call carries no env: a legacy worker gets the gateway's own.
            fallback = "deployment"
            [log]
            level = "error"
            [[backend]]
            name = "scripted"
            urls = ["http://{upstream}"]
            dialect = "{}"
            "#,
            self.worker.name()
        );
        Config::from_text(&text, &Sources::default()).expect("it is a configuration")
    }

    /// The requests of all envs.
    pub(crate) fn requests(&self) -> Vec<Vec<u8>> {
        (1..=self.envs).map(|env| self.request(env)).collect()
    }

    fn request(&self, env: usize) -> Vec<u8> {
        let empty = envelope(env, "").len();
        let argument = "x".repeat(match self.kind {
            Kind::LargeArguments => LARGE,
            _ => SMALL.checked_sub(empty).expect("an env leaves room"),
        });
        let (path, headers, body) = match (self.client, self.kind) {
            (Legacy, Kind::NoEnvelope) => ("/", "", "x".repeat(SMALL)),
            (Legacy, _) => ("/", "", envelope(env, &argument)),
            (Modern, _) => (
                "/EchoFacet/Echo",
                "X-Unisave-Request: Facet\r\n\
                 Cookie: unisave_session_id=c3Vic3RpdHV0ZQ0123456789;\r\n",
                format!(r#"{{"arguments":["{argument}"]}}"#),
            ),
        };
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
             {headers}Content-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }

    /// What the worker answers.
    pub(crate) fn answer(&self) -> Vec<u8> {
        let returned = match self.kind {
            Kind::LargeAnswer => "x".repeat(LARGE),
            _ => "Hello!".to_owned(),
        };
        let body = match self.worker {
            Modern => format!(r#"{{"status":"ok","returned":"{returned}","logs":[]}}"#),
            Legacy => format!(
                r#"{{"result":"ok","returned":"{returned}","special":{{"sessionId":"c3Vic3RpdHV0ZQ0123456789","logs":[],"executionDuration":0.002}}}}"#
            ),
        };
        let length = body.len();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }

    /// What the client is to be answered.
    pub(crate) const fn expected(&self) -> Expected {
        let (start, end) = match (self.kind, self.client) {
            (Kind::NoEnvelope, _) => ("HTTP/1.1 400 ", "}"),
            (_, Legacy) => ("HTTP/1.1 200 ", "}}"),
            (_, Modern) => ("HTTP/1.1 200 ", "}"),
        };
        Expected { start, end }
    }
}

/// A legacy call as a game's client sends it, from one of the bench's envs.
fn envelope(env: usize, argument: &str) -> String {
    format!(
        concat!(
            r#"{{"method":"facet-call","env":"{}","methodParameters":{{"#,
            r#""facetName":"EchoFacet","methodName":"Echo","arguments":["{}"],"#,
            r#""sessionId":"c3Vic3RpdHV0ZQ0123456789","#,
            r#""deviceId":"00112233445566778899aabbccddeeff","device":{{"#,
            r#""platform":"WindowsPlayer","deviceModel":"Some vendor's model of a computer","#,
            r#""operatingSystem":"Windows 10  (10.0.19045) 64bit","#,
            r#""graphicsDeviceName":"Some vendor's graphics card, series 30","#,
            r#""processorType":"Some vendor's processor at 3.60GHz","systemMemorySize":16310}},"#,
            r#""gameToken":"token-of-some-game","editorKey":null,"client":{{"#,
            r#""backendHash":"0123456789abcdef0123456789abcdef","#,
            r#""buildGuid":"fedcba9876543210fedcba9876543210","#,
            r#""frameworkVersion":"0.12.0","assetVersion":"0.11.1","versionString":"1.4.2"}}}}}}"#,
        ),
        env_text(env),
        argument
    )
}

/// As it stands in an envelope; admission refuses no call of it.
fn env_text(number: usize) -> String {
    [
        "ENV_TYPE=bench",
        &format!("GAME={number:04}"),
        "SESSION_DRIVER=null",
        "ARANGO_DRIVER=http",
        "ARANGO_BASE_URL=http://arango.example:8529/",
        &format!("ARANGO_DATABASE=db_{number:04}"),
        &format!("ARANGO_USERNAME=user_{number:04}"),
        "ARANGO_PASSWORD=not-a-secret",
        "BROADCASTING_SERVER_URL=http://broadcasting.example/",
        "WORKER_REQUEST_CONCURRENCY=null",
        "",
    ]
    .join(r"\n")
}
