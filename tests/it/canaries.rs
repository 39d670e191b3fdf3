//! No env value and no session id in anything that the gateway says of its own: a broad mix of
//! traffic carries values that occur nowhere else, and every output is searched for them.

use std::{collections::BTreeSet, time::Instant};

use crate::{
    conformance::{self, Case},
    harness::{
        Address, Backend, Call, Client, DEADLINE, Gateway, Message, Program, Refusing, Setup, Step,
        answer, burst, ok, run, unique,
    },
};

/// The values that must not show, and what was said where.
struct Watch {
    canaries: Vec<String>,
    said: Vec<(String, String)>,
}

impl Watch {
    fn new() -> Self {
        Self {
            canaries: ["envValue", "session", "setting", "own"].map(unique).into(),
            said: Vec::new(),
        }
    }

    fn env_value(&self) -> &str {
        &self.canaries[0]
    }

    fn session(&self) -> &str {
        &self.canaries[1]
    }

    /// A value of a variable that the gateway reads itself.
    fn setting(&self) -> &str {
        &self.canaries[2]
    }

    /// A value of one of the gateway's own variables.
    fn own(&self) -> &str {
        &self.canaries[3]
    }

    /// Keeps an answer for the search if the gateway made it; a backend may repeat what it got.
    fn heard(&mut self, what: &str, answer: &Message) {
        if answer.header("x-unisave-worker-error").is_some() || what.starts_with('/') {
            let text = format!("{}\n{:?}\n{}", answer.start, answer.headers, answer.text());
            self.said.push((what.to_owned(), text));
        }
    }

    #[track_caller]
    fn assert_silent(&self) {
        assert!(!self.said.is_empty(), "nothing was said");
        for (what, text) in &self.said {
            for canary in &self.canaries {
                let found = text.lines().find(|line| line.contains(canary.as_str()));
                assert!(found.is_none(), "{what} shows {canary}: {found:?}");
            }
        }
    }

    fn env(&self) -> String {
        format!(
            "SECRET={0}\n{0}_AS_TEXT\nENV_TYPE={0}\n# {0}\nPATH={0}\n",
            self.env_value()
        )
    }

    fn call(&self) -> Call {
        Call::legacy(&self.env()).session(self.session())
    }

    /// Calls that fail and calls that don't.
    fn calls(&self) -> Vec<Call> {
        let env = |more: String| Call::legacy(&(self.env() + &more)).session(self.session());
        vec![
            self.call(),
            env(format!("WORKER_REQUEST_CONCURRENCY={}\n", self.setting())),
            env(format!("WORKER_MAX_QUEUE_LENGTH={}\n", self.setting())),
            env("NUL=\0\n".to_owned()),
            env(format!("LD_PRELOAD={}\n", self.env_value())),
            env(format!("HUGE={}\n", self.env_value().repeat(8000))),
            self.call().method(""),
            self.call().method("../x"),
            self.call().arguments("{}"),
            self.call().arguments("[1").method("Cut"),
            self.call().without_env(),
            self.call().header("X-Request-Id", "not an id"),
            self.call().header("traceparent", "nonsense"),
            Call::modern().session(self.session()),
            Call::modern()
                .session(self.session())
                .header("X-Unisave-Request", "Other"),
        ]
    }

    /// The conformance requests, their env's password and their session id being canaries.
    fn conformance(&self) -> Vec<Vec<u8>> {
        let files = [
            conformance::REQUEST,
            conformance::REFUSED,
            conformance::REPLY,
        ];
        let password = "kq8wW2mVd0o4";
        assert!(files.iter().all(|file| file.contains(password)));
        let files = files.map(|file| {
            file.replace(password, self.env_value())
                .replace("123456789", self.session())
        });
        files
            .iter()
            .flat_map(|file| Case::file(file))
            .map(|case| case.request)
            .collect()
    }
}

/// What a backend does to the calls that reach it, over and over.
fn scripts(watch: &Watch) -> Vec<Vec<Step>> {
    let cookie = format!("unisave_session_id={}; path=/", watch.session());
    let json = [
        ("Content-Type", "application/json"),
        ("Set-Cookie", cookie.as_str()),
    ];
    let repeats = format!(r#"{{"status":"ok","returned":"{}"}}"#, watch.env_value());
    let raw = |text: &str| Step::Raw(text.as_bytes().to_vec());
    let cut = format!("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{repeats}");
    let once = vec![
        vec![ok("1")],
        vec![answer(200, &json, &repeats)],
        vec![answer(200, &json, &repeats[1..])],
        vec![answer(200, &[("Content-Encoding", "gzip")], &repeats)],
        vec![answer(500, &json, "{\"exception\":{}}")],
        vec![raw(&cut), Step::Close],
        vec![
            raw(&format!("{} is no HTTP\r\n\r\n", watch.session())),
            Step::Close,
        ],
        vec![answer(
            200,
            &json,
            &format!("\"{}\"", watch.env_value().repeat(4000)),
        )],
        vec![Step::Reset],
        vec![Step::Close],
        vec![Step::Hang],
    ];
    std::iter::repeat_n(once, 20).flatten().collect()
}

/// Sends everything there is to one gateway.
fn traffic(watch: &mut Watch, gateway: &Gateway) {
    let read = |client: &mut Client| client.try_read(Instant::now() + DEADLINE).ok().flatten();
    let requests = watch.calls().iter().map(Call::bytes).collect::<Vec<_>>();
    for bytes in requests.into_iter().chain(watch.conformance()) {
        let mut client = Client::connect(gateway);
        client.try_send(bytes);
        if let Some(answer) = read(&mut client) {
            watch.heard("an answer", &answer);
        }
    }
    // Bodies cut short, unparseable heads with secrets in them, clients that leave.
    let client = Client::connect(gateway);
    client.send(watch.call().head("Content-Length: 9999\r\n") + &watch.call().body());
    client.half_close();
    drop(client);
    let mut client = Client::connect(gateway);
    client.try_send(format!(
        "Cookie: unisave_session_id={}\r\n\r\n",
        watch.session()
    ));
    if let Some(answer) = read(&mut client) {
        watch.heard("a bare refusal", &answer);
    }
    let client = Client::connect(gateway);
    client.send(watch.call().bytes());
    drop(client);
    // A burst, so that some are refused for their number.
    let calls = vec![watch.call(); 40];
    let answers = burst(gateway, &calls);
    while let Ok((_, answer)) = answers.recv_timeout(DEADLINE) {
        watch.heard("an answer to a burst", &answer);
    }
    for path in ["/metrics", "/health"] {
        watch.heard(path, &gateway.get(path));
    }
    let page = gateway.get(&format!("/{}", unique("no-page")));
    watch.heard("a page that isn't there", &page);
}

/// Asks the admin API for all that it knows of the envs that are hot.
fn ask_admin(watch: &mut Watch, gateway: &Gateway) {
    let address = Address::parse(gateway.admin().trim_start_matches("http://"));
    let mut ask = |path: &str| {
        let mut client = Client::connect_to(&address);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let answer = client.read();
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        watch.heard(path, &answer);
        answer
    };
    let rows = ask("/api/v1/instances?all=true").json();
    let digests = rows
        .items()
        .iter()
        .filter_map(|row| row.at("digest")?.text());
    let digests: BTreeSet<_> = digests.collect();
    assert!(!digests.is_empty(), "no env is hot");
    for digest in digests {
        ask(&format!("/api/v1/explain?digest={digest}"));
    }
}

/// Runs the traffic through a gateway with these settings, and searches all that it says.
fn search(access_log: &str, backend_settings: &str, env_settings: &str, urls: &[String]) {
    let mut watch = Watch::new();
    let backend = Backend::start(scripts(&watch));
    let urls: Vec<_> = urls.iter().cloned().chain([backend.url()]).collect();
    let gateway = Setup::new(&format!(
        "[log]\nlevel = \"trace\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [gateway]\naccess_log = \"{access_log}\"\nrequest_timeout = \"200ms\"\n\
         max_response_body = \"64KiB\"\n\
         [admission]\nconcurrency = 2\nqueue = 4\n\
         [env]\n{env_settings}\n\
         [[backend]]\nname = \"b\"\nurls = {urls:?}\n{backend_settings}\n"
    ))
    .variable("OWN_SECRET", watch.own())
    .variable("MULTI_SECRET", &format!("a\n{}", watch.own()))
    .variable("RUST_LOG", "trace")
    .start();
    traffic(&mut watch, &gateway);
    ask_admin(&mut watch, &gateway);
    let (stdout, stderr) = gateway.outputs();
    assert!(
        access_log == "off" || stdout.contains("Echo"),
        "no access log: {stdout}"
    );
    watch
        .said
        .extend([("stdout".to_owned(), stdout), ("stderr".to_owned(), stderr)]);
    watch.assert_silent();
}

#[test]
fn nothing_shows_before_modern_backends() {
    search("json", "", "", &[Refusing::new().url()]);
}

#[test]
fn nothing_shows_before_legacy_backends() {
    search(
        "text",
        "dialect = \"legacy\"",
        "fallback = \"deployment\"",
        &[],
    );
}

#[test]
fn nothing_of_the_gateways_own_variables_shows() {
    search(
        "json",
        "dialect = \"legacy\"",
        "source = \"deployment\"",
        &[],
    );
}

/// A worker that tells all its variables on both streams, before it fails in the way that one of
/// them says, or serves.
const TELLTALE: &str = r#"
import os, socket, sys, threading, time
for stream in (sys.stdout, sys.stderr):
    for name, value in os.environ.items():
        if not name.startswith("ENVGATE_"): print(f"I have {name}={value}!", file=stream, flush=True)
fail = os.environ.get("FAIL")
if fail == "exit": sys.exit(3)
if fail == "hang": time.sleep(1000)
def serve(c):
    while request := c.recv(1 << 20):
        if b"GET /health" in request: body = b"OK\n"
        elif fail == "crash": os._exit(4)
        else: body = b'{"status":"ok","returned":null,"logs":[]}'
        proof = b"X-Envgate-Env-Proof: 00\r\n" if fail == "proof" else b""
        c.sendall(b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (proof, len(body), body))
listener = socket.socket(fileno=3)
while True: threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

#[test]
fn nothing_shows_of_processes_that_tell_all_they_have() {
    let mut watch = Watch::new();
    let command = [&Program::interpreter(), "-c", TELLTALE];
    let gateway = Setup::new(&format!(
        "[log]\nlevel = \"trace\"\n\
         [gateway]\naccess_log = \"json\"\nrequest_timeout = \"3s\"\ndebug = true\n\
         [admission]\nconcurrency = 2\nqueue = 4\n\
         [instances]\nstart_timeout = \"1s\"\n\
         [env]\nfallback = \"deployment\"\n\
         [[backend]]\nname = \"p\"\ncommand = {command:?}\nenv = {{ BACKENDS = {:?} }}\n",
        watch.setting()
    ))
    .variable("OWN_SECRET", watch.own())
    .variable("MULTI_SECRET", &format!("a\n{}", watch.own()))
    .start();
    for (fail, outcome) in [
        ("exit", (503, 3001)),
        ("proof", (503, 3001)),
        ("hang", (504, 3003)),
        ("crash", (502, 4000)),
        ("none", (200, 0)),
    ] {
        let env = format!("{}FAIL={fail}\n", watch.env());
        let call = Call::legacy(&env).session(watch.session());
        let answer = gateway.call(&call.header("X-Envgate-Debug", "1"));
        assert_eq!(answer.outcome(), outcome, "{fail}: {}", answer.text());
        watch.heard("an answer about a process", &answer);
    }
    traffic(&mut watch, &gateway);
    let (stdout, stderr) = gateway.outputs();
    for said in [
        "I have SECRET=***",
        "I have BACKENDS=***",
        "I have OWN_SECRET=***",
        "reserved names",
    ] {
        assert!(stderr.contains(said), "not in the log: {said}");
    }
    watch
        .said
        .extend([("stdout".to_owned(), stdout), ("stderr".to_owned(), stderr)]);
    watch.assert_silent();
}

#[test]
fn nothing_shows_while_draining() {
    let mut watch = Watch::new();
    let backend = Backend::start(vec![vec![Step::Hang]]);
    let gateway = Setup::new(&format!(
        "[log]\nlevel = \"trace\"\n[gateway]\nshutdown_grace = \"300ms\"\n\
         [[backend]]\nname = \"b\"\nurls = [{:?}]\n",
        backend.url()
    ))
    .start();
    let address: Address = gateway.address().clone();
    let running = Client::connect_to(&address);
    running.send(watch.call().bytes());
    backend.wait_seen(1);
    let mut late = Client::connect_to(&address);
    gateway.terminate();
    if late.try_send(watch.call().bytes())
        && let Ok(Some(answer)) = late.try_read(Instant::now() + DEADLINE)
    {
        watch.heard("an answer while draining", &answer);
    }
    let (stdout, stderr) = gateway.outputs();
    watch
        .said
        .extend([("stdout".to_owned(), stdout), ("stderr".to_owned(), stderr)]);
    watch.assert_silent();
}

#[test]
fn explain_masks_values() {
    let mut watch = Watch::new();
    for call in watch.calls() {
        for output in ["text", "json"] {
            let finished = run(&["explain", "--output", output, "-"], &call.body());
            watch
                .said
                .push(("explain's output".to_owned(), finished.stdout));
            watch
                .said
                .push(("explain's errors".to_owned(), finished.stderr));
        }
    }
    for output in ["text", "json"] {
        let finished = run(&["explain", "--output", output, "-"], &watch.env());
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        assert!(finished.stdout.contains("SECRET"), "{}", finished.stdout);
        watch
            .said
            .push(("explain's output".to_owned(), finished.stdout));
        watch
            .said
            .push(("explain's errors".to_owned(), finished.stderr));
    }
    watch.assert_silent();
}
