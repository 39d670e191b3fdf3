//! Health, metrics, access log, configuration, commands (CONTRACT 8).

use crate::harness::{
    Backend, Call, Client, DEADLINE, Gateway, Json, Setup, Step, TempFile, burst, eventually,
    matches, ok, run,
};

fn backend() -> Backend {
    Backend::start(vec![vec![ok("1")]])
}

fn one_backend(url: &str) -> Setup {
    Setup::new(&format!("[[backend]]\nname = \"b\"\nurls = [{url:?}]\n"))
}

#[test]
fn health_is_ok_while_it_serves() {
    let gateway = Gateway::before(&[&backend().url()], "");
    let health = gateway.get("/health");
    assert_eq!((health.status(), health.text().as_str()), (200, "OK\n"));
}

/// The C# worker's names; those that count calls are tested below.
const REFERENCE_METRICS: [&str; 9] = [
    "worker_requests_total",
    "worker_request_duration_seconds_total",
    "worker_request_response_bytes_total",
    "worker_cpu_usage_seconds_total",
    "worker_cpu_utilization",
    "worker_memory_usage_bytes",
    "worker_network_rx_bytes_total",
    "worker_network_tx_bytes_total",
    "worker_uptime_seconds",
];

#[test]
fn metrics_have_the_workers_names_and_labels() {
    let far = backend();
    let gateway = one_backend(&far.url()).variable("WORKER_ENVIRONMENT_ID", "env-1");
    let gateway = gateway.variable("WORKER_BACKEND_ID", "").start();
    gateway.call(&Call::legacy("A=1\n")).assert_returned("1");
    let metrics = gateway.metrics();
    for name in REFERENCE_METRICS {
        let labels = metrics.labels(name);
        assert!(!labels.is_empty(), "no {name}");
        for labels in labels {
            let environment = labels.get("environment").map(String::as_str);
            assert_eq!(environment, Some("env-1"), "{name}: {labels:?}");
            assert!(
                !labels.contains_key("backend"),
                "an empty label is left out: {name}"
            );
        }
    }
    let windows = metrics.labels("worker_cpu_utilization");
    assert!(
        windows.iter().all(|labels| labels.contains_key("window")),
        "{windows:?}"
    );
    assert!(metrics.names().any(|name| name.starts_with("envgate_")));
}

#[test]
fn metrics_name_the_backend_where_it_is_known() {
    let far = backend();
    let gateway = one_backend(&far.url())
        .variable("WORKER_BACKEND_ID", "b-7")
        .start();
    gateway.call(&Call::legacy("A=1\n")).assert_returned("1");
    for name in REFERENCE_METRICS {
        for labels in gateway.metrics().labels(name) {
            assert_eq!(
                labels.get("backend").map(String::as_str),
                Some("b-7"),
                "{name}"
            );
            assert!(!labels.contains_key("environment"), "{name}: {labels:?}");
        }
    }
}

#[test]
fn as_many_envs_are_hot_as_may_be() {
    let far = backend();
    let gateway = Gateway::before(
        &[&far.url()],
        "[gateway]\nthreads = 1\n[env]\nmax_hot = 2\n",
    );
    for text in ["A=1\n", "A=2\n", "A=2\n", "A=3\n", "A=1\n"] {
        gateway.call(&Call::legacy(text)).assert_returned("1");
    }
    let metrics = gateway.metrics();
    let value = |name| metrics.sum(name);
    assert_eq!(value("envgate_hot_envs"), Some(2.0));
    assert_eq!(value("envgate_env_lookup_hits_total"), Some(1.0));
    assert_eq!(value("envgate_env_lookup_misses_total"), Some(4.0));
}

#[test]
fn metrics_count_as_the_workers_do() {
    let body = r#"{"status":"ok","returned":"12345","logs":[]}"#;
    let slow = std::time::Duration::from_millis(100);
    let reply = vec![
        Step::Hold,
        Step::Delay(slow),
        crate::harness::answer(200, &[], body),
    ];
    let far = Backend::start(vec![reply]);
    let gateway = Gateway::before(&[&far.url()], "[admission]\nconcurrency = 2\nqueue = 1\n");
    let answers = burst(&gateway, &vec![Call::legacy("A=1\n"); 8]);
    let next = || answers.recv_timeout(DEADLINE).expect("an answer").1;
    for _ in 0..5 {
        next().assert_error(429, 2000);
    }
    far.release_all();
    for _ in 0..3 {
        next().assert_returned("\"12345\"");
    }
    // Not a call at all: it was never decoded.
    gateway
        .call(&Call::legacy("").without_env())
        .assert_error(400, 1102);

    let count = |metrics: &crate::harness::Metrics| metrics.sum("worker_requests_total");
    let metrics = eventually("8 decoded calls are counted", || {
        Some(gateway.metrics()).filter(|metrics| count(metrics) >= Some(8.0))
    });
    assert_eq!(count(&metrics), Some(8.0));
    let bytes = metrics.sum("worker_request_response_bytes_total");
    assert_eq!(
        bytes,
        Some(3.0 * body.len() as f64),
        "bytes of the backend's answers"
    );
    let seconds = metrics
        .sum("worker_request_duration_seconds_total")
        .unwrap_or(0.0);
    // Three calls of 100 ms; what they waited for each other isn't execution.
    assert!((0.3..3.0).contains(&seconds), "{seconds} s");
}

#[test]
fn envgates_metrics_tell_errors_by_number() {
    let far = backend();
    let gateway = Gateway::before(&[&far.url()], "");
    gateway
        .call(&Call::legacy("").without_env())
        .assert_error(400, 1102);
    eventually("the error's number is in the metrics", || {
        let text = gateway.get("/metrics").text();
        let found = text.lines().any(|line| {
            line.starts_with("envgate_") && line.contains("\"1102\"") && line.ends_with(" 1")
        });
        found.then_some(())
    });
}

/// `[2026-11-21 08:07:01] R<index> POST /Facet/Method 200 138B 45ms`
const TEXT_LINE: &str = r"\[[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\] R[0-9]+ POST /EchoFacet/Echo 200 [0-9]+B [0-9]+ms";

#[test]
fn the_access_log_has_the_workers_form() {
    let far = backend();
    let gateway = Gateway::before(&[&far.url()], "[gateway]\naccess_log = \"text\"");
    gateway.call(&Call::legacy("A=1\n")).assert_returned("1");
    assert_eq!(gateway.call(&Call::modern()).status(), 200);
    let text = gateway.wait_stdout("two lines", |text| text.lines().count() >= 2);
    let lines: Vec<_> = text.lines().collect();
    assert!(
        lines.iter().all(|line| matches(TEXT_LINE, line)),
        "{lines:?}"
    );
    let index = |line: &str| line.split(' ').nth(2).map(str::to_owned);
    assert_ne!(index(lines[0]), index(lines[1]), "each call has its index");
}

#[test]
fn the_access_log_may_be_json() {
    let far = backend();
    let gateway = Gateway::before(&[&far.url()], "[gateway]\naccess_log = \"json\"");
    gateway.call(&Call::legacy("A=1\n")).assert_returned("1");
    gateway
        .call(&Call::legacy("NUL=\0\n"))
        .assert_error(400, 1104);
    let text = gateway.wait_stdout("two lines", |text| text.lines().count() >= 2);
    // Two connections, perhaps on two threads: the lines may come in either order.
    let mut statuses: Vec<_> = text
        .lines()
        .map(|line| {
            let json = Json::parse(line.as_bytes()).unwrap_or_else(|why| panic!("{why}: {line}"));
            json.at("status").and_then(Json::number).map(str::to_owned)
        })
        .collect();
    statuses.sort();
    assert_eq!(
        statuses,
        [Some("200".to_owned()), Some("400".to_owned())],
        "{text}"
    );
}

#[test]
fn the_access_log_may_be_off() {
    let far = backend();
    let gateway = one_backend(&far.url())
        .argument("--set")
        .argument("gateway.access_log=off");
    let gateway = gateway.start();
    gateway.call(&Call::legacy("A=1\n")).assert_returned("1");
    let (stdout, _) = gateway.outputs();
    assert_eq!(stdout, "");
}

#[test]
fn flags_name_what_the_file_doesnt() {
    let far = backend();
    let arguments = [
        "--upstream",
        &far.url(),
        "--framework",
        "0.10.2",
        "--dialect",
        "legacy",
    ];
    let setup = arguments
        .iter()
        .fold(Setup::new(""), |setup, argument| setup.argument(argument));
    let gateway = setup
        .argument("--env-source")
        .argument("deployment")
        .variable("A", "own")
        .start();
    gateway
        .call(&Call::legacy("A=request\n"))
        .assert_returned("1");
    let body = far.seen()[0].message.json();
    assert_eq!(body.at("env").and_then(Json::text), Some("A=own\n"));
}

/// A configuration that is wrong in one place, the line of that place, and words of the reason.
const WRONG: [(&str, &str, &[&str]); 7] = [
    (
        "[gateway]\nlisten = [\"127.0.0.1:0\"]\nlisteen = 1\n",
        "3",
        &["listeen"],
    ),
    (
        "[gateway]\n\nmax_request_body = \"many\"\n",
        "3",
        &["max_request_body"],
    ),
    (
        "[gateway]\nrequest_timeout = 5\n",
        "2",
        &["request_timeout"],
    ),
    ("[nonsense]\na = 1\n", "1", &["nonsense"]),
    ("[admission]\nqueue = 0\n", "2", &["queue"]),
    (
        "[[backend]]\nname = \"b\"\nurls = [\"https//x\"]\n",
        "3",
        &["urls"],
    ),
    ("[gateway\n", "1", &[]),
];

#[test]
fn a_wrong_configuration_ends_it_before_a_port_is_bound() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("binding port 0");
    let address = taken.local_addr().expect("a bound address").to_string();
    for (text, line, words) in WRONG {
        let file = TempFile::new("wrong.toml", text);
        // Binding this address would fail, and be told instead.
        let serve = ["serve", "--config", file.path(), "--listen", &address];
        for command in [serve.as_slice(), &["check-config", file.path()]] {
            let finished = run(command, "");
            assert_eq!(finished.code, Some(2), "{command:?}: {}", finished.stderr);
            assert_eq!(finished.stdout, "");
            for word in words.iter().chain(&["wrong.toml", line]) {
                let told = finished.stderr.contains(word);
                assert!(
                    told,
                    "{command:?} doesn't tell {word:?}: {}",
                    finished.stderr
                );
            }
        }
    }
    let finished = run(&["serve", "--config", "/nowhere/at-all.toml"], "");
    assert_eq!(finished.code, Some(2), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("/nowhere/at-all.toml"),
        "{}",
        finished.stderr
    );
}

#[test]
fn a_good_configuration_is_called_good() {
    let far = backend();
    let text = format!(
        "[gateway]\nlisten = [\"127.0.0.1:8080\"]\n[[backend]]\nname = \"b\"\nurls = [{:?}]\n",
        far.url()
    );
    let file = TempFile::new("good.toml", &text);
    let finished = run(&["check-config", file.path()], "");
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}

#[test]
fn a_taken_address_is_told() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("binding port 0");
    let address = taken.local_addr().expect("a bound address").to_string();
    let file = TempFile::new("good.toml", "");
    let finished = run(
        &["serve", "--config", file.path(), "--listen", &address],
        "",
    );
    assert!(finished.code.is_some_and(|code| code != 0), "{finished:?}");
    assert!(finished.stderr.contains(&address), "{}", finished.stderr);
}

#[test]
fn without_a_backend_it_runs_the_sample_worker() {
    let gateway = Setup::new("").start();
    let call = Call::legacy("A=1\n").arguments(r#"["Hello world!"]"#);
    gateway.call(&call).assert_returned("\"Hello world!\"");
    gateway.wait_stderr("it says so", |text| text.contains("sample worker"));
    // A modern call brings no env that a process could be started with.
    gateway.call(&Call::modern()).assert_error(400, 1102);
}

#[test]
fn explain_shows_what_an_env_is() {
    let call = Call::legacy("B=2\n# C=3\nPATH=/x\nA=1\nno sign\n").body();
    for input in [call.as_str(), "B=2\n# C=3\nPATH=/x\nA=1\nno sign\n"] {
        let finished = run(&["explain", "-"], input);
        assert_eq!(finished.code, Some(0), "{}", finished.stderr);
        for word in ["A", "B", "PATH", "reserved", "comment"] {
            let told = finished.stdout.contains(word);
            assert!(told, "{word:?} isn't told: {}", finished.stdout);
        }
        let finished = run(&["explain", "--output", "json", "-"], input);
        let json = Json::parse(finished.stdout.trim().as_bytes());
        assert!(json.is_ok(), "{json:?}: {}", finished.stdout);
    }
}

#[test]
fn a_path_cant_steer_the_terminal_of_who_reads_the_log() {
    let gateway = Gateway::before(&[&backend().url()], "");
    gateway.get("/a\u{9b}31m\u{2028}").assert_error(404, 1106);
    gateway.wait_stdout("the path, escaped", |log| {
        log.contains(" GET /a%C2%9B31m%E2%80%A8 404 ")
    });
}

#[test]
fn a_call_that_breaks_off_still_names_its_worker_and_who_ended_it() {
    let far = Backend::start(vec![vec![Step::Hang]]);
    let config = "[gateway]\naccess_log = \"json\"\nshutdown_grace = \"50ms\"\n";
    let mut gateway = Gateway::before(&[&far.url()], config);
    let leaves = Client::connect(&gateway);
    leaves.send(Call::legacy("A=1\n").bytes());
    far.wait_seen(1);
    drop(leaves);
    let member = far.url().trim_start_matches("http://").to_owned();
    let named = |log: &str, outcome: &str| {
        log.lines().any(|line| {
            let outcome = format!("\"outcome\":\"{outcome}\"");
            line.contains(&outcome) && line.contains(&format!("\"member\":\"{member}\""))
        })
    };
    gateway.wait_stdout("who left", |log| named(log, "client_gone"));

    let waits = Client::connect(&gateway);
    waits.send(Call::legacy("A=1\n").bytes());
    far.wait_seen(2);
    gateway.terminate();
    assert!(gateway.wait_exit(DEADLINE).success());
    gateway.wait_stdout("what was cut off", |log| named(log, "cut_off"));
}

#[test]
fn a_ready_file_that_cant_be_written_ends_it() {
    let arguments = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--ready-file",
        "/nowhere/ready",
    ];
    let finished = run(&arguments, "");
    assert_eq!(finished.code, Some(1), "{}", finished.stderr);
    assert!(
        finished.stderr.contains("/nowhere/ready"),
        "{}",
        finished.stderr
    );
}
