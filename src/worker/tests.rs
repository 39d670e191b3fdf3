//! The worker over real sockets.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    sync::oneshot,
    task::JoinHandle,
    time::Instant,
};

use super::*;

struct Running {
    address: Address,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start(framework: &str, dialect: Option<Dialect>) -> Running {
    start_at(
        &Address::Tcp(([127, 0, 0, 1], 0).into()),
        framework,
        dialect,
    )
    .await
}

async fn start_at(address: &Address, framework: &str, dialect: Option<Dialect>) -> Running {
    let options = Options {
        framework: framework.parse().unwrap(),
        dialect,
    };
    let worker = Worker::bind(address, options).await.unwrap();
    let address = worker.local_addr().clone();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(worker.run(stopped));
    Running {
        address,
        stop,
        task,
    }
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

impl Running {
    async fn send(&self, head: &str, body: &str) -> Reply {
        match &self.address {
            Address::Tcp(address) => exchange(TcpStream::connect(address).await, head, body).await,
            Address::Unix(path) => exchange(UnixStream::connect(path).await, head, body).await,
        }
    }

    async fn modern(&self, path: &str, arguments: &str, headers: &str) -> Reply {
        let head = format!("POST /{path} HTTP/1.1\r\nX-Unisave-Request: Facet\r\n{headers}");
        self.send(&head, &format!("{{\"arguments\":{arguments}}}"))
            .await
    }

    async fn legacy(&self, facet: &str, method: &str, arguments: &str, session: &str) -> Reply {
        let body = format!(
            r#"{{"method":"facet-call","env":"A=1\nB=two\n","methodParameters":{{"facetName":"{facet}",
            "methodName":"{method}","arguments":{arguments},"sessionId":{session},"deviceId":"d"}}}}"#
        );
        self.send("POST / HTTP/1.1\r\n", &body).await
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }
}

async fn exchange<S>(stream: io::Result<S>, head: &str, body: &str) -> Reply
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = stream.unwrap();
    let length = body.len();
    let request =
        format!("{head}Host: w\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Reply {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_lowercase(),
        body: body.to_owned(),
    }
}

#[tokio::test]
async fn echo_returns_the_argument_byte_for_byte() {
    let worker = start("0.12.0", None).await;
    let reply = worker
        .modern(
            "EchoFacet/Echo",
            r#"[ {"n": 1e400,"m":-0 ,"s":"\u00e9"} ]"#,
            "",
        )
        .await;
    assert_eq!(reply.status, 200);
    let returned = r#"{"status":"ok","returned":{"n": 1e400,"m":-0 ,"s":"\u00e9"},"logs":[]}"#;
    assert_eq!(reply.body, returned);
    worker.end().await;

    let worker = start("0.10.2", None).await;
    let reply = worker.legacy("EchoFacet", "Echo", "[1.0]", "null").await;
    assert!(
        reply
            .body
            .starts_with(r#"{"result":"ok","returned":1.0,"special":"#)
    );
    assert_eq!(reply.json()["special"]["sessionId"], Value::Null);
    assert!(reply.json()["special"]["executionDuration"].is_f64());
    worker.end().await;
}

#[tokio::test]
async fn digests_come_from_the_dialects_env() {
    let worker = start("0.12.0", None).await;
    let reply = worker
        .modern("EnvFacet/Digest", r#"["PATH"]"#, "")
        .await
        .json();
    let path = std::env::var("PATH").unwrap();
    let digest = blake3::hash(path.as_bytes()).to_hex();
    assert_eq!(reply["returned"]["digest"], digest[..12]);
    let reply = worker
        .modern("EnvFacet/Digest", r#"["A=\u0000"]"#, "")
        .await
        .json();
    assert_eq!(reply["returned"]["set"], false);
    worker.end().await;

    let worker = start("0.12.0", Some(Dialect::Legacy)).await;
    let reply = worker
        .legacy("EnvFacet", "Digest", r#"["B"]"#, "null")
        .await
        .json();
    let digest = blake3::hash(b"two").to_hex();
    let expected = json!({ "name": "B", "set": true, "digest": digest[..12] });
    assert_eq!(reply["returned"], expected);
    let reply = worker
        .legacy("EnvFacet", "Digest", r#"["C"]"#, "null")
        .await
        .json();
    assert_eq!(
        reply["returned"],
        json!({ "name": "C", "set": false, "digest": null })
    );
    worker.end().await;
}

#[tokio::test]
async fn failures_have_the_frameworks_form() {
    let worker = start("0.12.0", None).await;
    let reply = worker
        .modern("FailFacet/Throw", r#"["no"]"#, "")
        .await
        .json();
    assert_eq!(reply["status"], "exception");
    assert_eq!(reply["exception"]["Message"], "no");
    assert_eq!(reply["isKnownException"], false);
    let reply = worker
        .modern("FailFacet/ThrowKnown", r#"["no"]"#, "")
        .await
        .json();
    assert_eq!(reply["isKnownException"], true);
    let reply = worker.modern("FailFacet/Crash", "[]", "").await;
    assert_eq!(reply.status, 500);
    assert!(reply.head.contains("x-unisave-error-response: 1.0"));
    assert!(reply.json()["exception"]["Message"].is_string());
    for (path, class) in [
        ("Nope/Echo", "Unisave.Facets.FacetSearchException"),
        ("EchoFacet/Nope", "Unisave.Facets.MethodSearchException"),
        ("TimeFacet/Sleep", "System.ArgumentException"),
    ] {
        let reply = worker.modern(path, "[]", "").await.json();
        assert_eq!(reply["exception"]["ClassName"], class);
    }
    let reply = worker.modern("TimeFacet/Sleep", "[60001]", "").await.json();
    assert_eq!(
        reply["exception"]["ClassName"],
        "System.ArgumentOutOfRangeException"
    );
    worker.end().await;
}

#[tokio::test]
async fn logs_are_written() {
    let worker = start("0.12.0", None).await;
    let reply = worker
        .modern("LogFacet/Write", r#"["hi", 3]"#, "")
        .await
        .json();
    assert_eq!(reply["logs"].as_array().unwrap().len(), 3);
    assert_eq!(reply["logs"][2]["message"], "hi");
    let time: jiff::Timestamp = reply["logs"][0]["time"].as_str().unwrap().parse().unwrap();
    assert!(time <= jiff::Timestamp::now());
    worker.end().await;
}

#[tokio::test]
async fn sessions_are_started_and_counted() {
    let worker = start("0.12.0", None).await;
    let first = worker.modern("SessionFacet/Count", "[]", "").await;
    assert_eq!(first.json()["returned"], 1);
    let cookie = first.head.split("set-cookie: ").nth(1).unwrap();
    let (cookie, rest) = cookie.split_once(';').unwrap();
    assert!(rest.contains("path=/; expires=") && rest.contains("; httponly"));
    let headers = format!("Cookie: a=1; {cookie};\r\n");
    let second = worker.modern("SessionFacet/Count", "[]", &headers).await;
    assert_eq!(second.json()["returned"], 2);
    let other = worker.modern("SessionFacet/Count", "[]", "").await;
    assert_eq!(other.json()["returned"], 1);
    let odd = worker
        .modern(
            "SessionFacet/Count",
            "[]",
            "Cookie: unisave_session_id=a%20b\r\n",
        )
        .await;
    assert!(odd.head.contains("unisave_session_id=a%20b;"));
    worker.end().await;

    let worker = start("0.10.2", None).await;
    let first = worker
        .legacy("SessionFacet", "Count", "[]", "\"\"")
        .await
        .json();
    let id = first["special"]["sessionId"].to_string();
    let second = worker
        .legacy("SessionFacet", "Count", "[]", &id)
        .await
        .json();
    assert_eq!(second["returned"], 2);
    assert_eq!(second["special"]["sessionId"].to_string(), id);
    worker.end().await;
}

#[tokio::test]
async fn one_that_ails_says_so() {
    let worker = start("0.12.0", None).await;
    let reply = worker.modern("HealthFacet/Ail", "[]", "").await;
    assert_eq!(reply.json()["status"], "ok");
    let health = worker.send("GET /health HTTP/1.1\r\n", "").await;
    assert_eq!(health.status, 503);
    let reply = worker.modern("EchoFacet/Echo", "[1]", "").await;
    assert_eq!(reply.json()["returned"], 1);
    worker.end().await;
}

#[tokio::test]
async fn what_is_no_call_is_refused() {
    let worker = start("0.12.0", None).await;
    let health = worker.send("GET /health HTTP/1.1\r\n", "").await;
    assert_eq!((health.status, health.body.as_str()), (200, "OK\n"));
    for (head, body, status) in [
        (
            "POST /A/B HTTP/1.1\r\nX-Unisave-Request: Job\r\n",
            "{}",
            422,
        ),
        ("POST /A/B HTTP/1.1\r\n", "{}", 404),
        (
            "POST /A HTTP/1.1\r\nX-Unisave-Request: Facet\r\n",
            "{}",
            404,
        ),
        ("GET /A/B HTTP/1.1\r\nX-Unisave-Request: Facet\r\n", "", 404),
        (
            "POST /A/B HTTP/1.1\r\nX-Unisave-Request: Facet\r\n",
            "[",
            400,
        ),
        (
            "POST /A/%ff HTTP/1.1\r\nX-Unisave-Request: Facet\r\n",
            "{\"arguments\":[]}",
            400,
        ),
    ] {
        assert_eq!(worker.send(head, body).await.status, status, "{head}");
    }
    worker.end().await;

    let worker = start("0.10.2", None).await;
    for (head, body, status) in [
        ("POST /A HTTP/1.1\r\n", "{}", 404),
        ("POST / HTTP/1.1\r\n", "{}", 400),
        ("POST / HTTP/1.1\r\nX-Unisave-Request: Facet\r\n", "{}", 422),
    ] {
        assert_eq!(worker.send(head, body).await.status, status, "{head}");
    }
    worker.end().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_unread() {
    let worker = start("0.12.0", None).await;
    let Address::Tcp(address) = &worker.address else {
        panic!("it listens on TCP")
    };
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /A/B HTTP/1.1\r\nHost: w\r\nContent-Length: 99999999\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
    drop(stream);
    worker.end().await;
}

#[tokio::test]
async fn old_frameworks_serve_one_call_at_a_time() {
    async fn pair(framework: &str) -> Duration {
        let worker = start(framework, Some(Dialect::Legacy)).await;
        let started = Instant::now();
        tokio::join!(
            worker.legacy("TimeFacet", "Sleep", "[150]", "null"),
            worker.legacy("TimeFacet", "Sleep", "[150]", "null"),
        );
        let took = started.elapsed();
        worker.end().await;
        took
    }
    assert!(pair("0.11.0").await >= Duration::from_millis(300));
    // Two at once take 150 ms; on a busy machine somewhat more, but one after the other never less
    // than 300.
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        fastest = fastest.min(pair("0.11.1").await);
    }
    assert!(fastest < Duration::from_millis(300));
}

#[tokio::test]
async fn shutdown_finishes_the_call_under_way_and_removes_the_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("worker.sock");
    let worker = start_at(&Address::Unix(path.clone()), "0.12.0", None).await;
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let body = r#"{"arguments":[200]}"#;
    let head = format!(
        "POST /TimeFacet/Sleep HTTP/1.1\r\nHost: w\r\nX-Unisave-Request: Facet\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream
        .write_all(format!("{head}{body}").as_bytes())
        .await
        .unwrap();
    // A second exchange, over before shutdown, shows that the first has been accepted.
    worker.modern("EchoFacet/Echo", "[1]", "").await;
    let (ended, answer) = tokio::join!(worker.end(), async {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    });
    let () = ended;
    assert!(
        answer.ends_with(r#"{"status":"ok","returned":null,"logs":[]}"#),
        "{answer}"
    );
    assert!(!path.exists());
}
