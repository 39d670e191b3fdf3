//! What becomes of calls of every kind before processes: code, variables, dialects.

use std::{collections::BTreeMap, time::Duration};

use super::*;
use crate::harness::{Json, burst};

const RECIPE: &str = "X-Unisave-Initialization-Recipe-Url";

/// A worker that returns its environment and its arguments.
const TELLING: &str = "import json\n\
                       def call(c, path, body): returned(c, json.dumps({'pid': str(os.getpid()), 'argument': sys.argv[-1], **os.environ}))\n\
                       run(inherited())";

#[track_caller]
fn told(answer: &Message) -> BTreeMap<String, String> {
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let json = answer.json();
    let Some(Json::Object(fields)) = json.at("returned") else {
        panic!("{}", answer.text())
    };
    let fields = fields.iter();
    fields
        .map(|(name, value)| (name.clone(), value.text().unwrap_or_default().to_owned()))
        .collect()
}

#[test]
fn another_recipe_header_is_another_instance() {
    let bench = Bench::start(&sample(""));
    let pid = |recipe: Option<&str>| {
        let call = pid_call("A=1\n");
        let call = match recipe {
            Some(recipe) => call.header(RECIPE, recipe),
            None => call,
        };
        returned_pid(&bench.gateway.call(&call))
    };
    let recipes = [None, Some("http://x/a"), Some("http://x/b")];
    let pids = recipes.map(pid);
    assert_eq!(pids.iter().collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(recipes.map(pid), pids);
    bench.finish();
}

#[test]
fn what_is_captured_of_the_recipe_header_is_the_code() {
    let python = Program::interpreter();
    let command = [&python, "-c", &format!("{PYTHON}{TELLING}"), "{rev}"];
    let bench = Bench::start(&backend(&command, "code = '/backends/([^/]+)/'"));
    let told_of = |recipe: &str| {
        told(
            &bench
                .gateway
                .call(&pid_call("A=1\n").header(RECIPE, recipe)),
        )
    };
    let first = told_of("http://x/backends/a1/recipe?signature=1");
    assert_eq!(first["argument"], "a1");
    let same = told_of("http://x/backends/a1/recipe?signature=2");
    assert_eq!(same["pid"], first["pid"]);
    let other = told_of("http://x/backends/b2/recipe");
    assert_eq!(other["argument"], "b2");
    assert_ne!(other["pid"], first["pid"]);
    // Neither a call without a code nor one whose code is none starts anything.
    let without = pid_call("A=1\n");
    let odd = pid_call("A=1\n").header(RECIPE, "http://x/backends/a;b/recipe");
    for call in [without, odd] {
        bench.gateway.call(&call).assert_error(409, 3000);
    }
    assert_eq!((bench.starts("ready"), bench.starts("failed")), (2, 0));
    bench.finish();
}

#[test]
fn reserved_names_are_dropped_and_named_and_the_backends_own_win() {
    let bench = Bench::start(&format!(
        "[env]\nreserved = [\"MY_*\"]\n{}",
        python(
            TELLING,
            "env = { OWN = \"backends\" }\ninherit = [\"HOME\"]"
        )
    ));
    let env = "A=1\nOWN=tenants\nLD_PRELOAD=/x.so\nMY_NAME=1\nENVGATE_PROOF=1\nPATH=/tmp\nHOME=/tmp\nlisten_fds=1\n";
    let told = told(&bench.gateway.call(&pid_call(env)));
    let names: Vec<_> = told.keys().map(String::as_str).collect();
    let expected = [
        "A",
        "ENVGATE_BASE",
        "ENVGATE_PROOF",
        "HOME",
        "LISTEN_FDS",
        "LISTEN_PID",
        "OWN",
        "argument",
        "listen_fds",
        "pid",
    ];
    // Python sets this one where it finds no locale.
    let names: Vec<_> = names
        .into_iter()
        .filter(|name| *name != "LC_CTYPE")
        .collect();
    assert_eq!(names, expected);
    assert_eq!(told["OWN"], "backends");
    assert_eq!(told["HOME"], bench.mark);
    assert_eq!(told["ENVGATE_PROOF"].len(), 64);
    assert_eq!(told["LISTEN_PID"], told["pid"]);
    bench.gateway.call(&pid_call(env));
    let log = bench.finish();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("reserved names"))
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    for name in [
        "OWN",
        "LD_PRELOAD",
        "MY_NAME",
        "ENVGATE_PROOF",
        "PATH",
        "HOME",
    ] {
        assert!(lines[0].contains(name), "{}", lines[0]);
    }
    assert!(
        !lines[0].contains("tenants") && !lines[0].contains("x.so"),
        "{}",
        lines[0]
    );
}

#[test]
fn equal_envs_are_one_instance_and_different_ones_never() {
    let bench = Bench::start(&sample(""));
    let first = bench.pid("A=1\nB=2\n");
    for same in ["B=2\r\nA=1", " A = 1 \n# x=y\n\nB=2", "A=0\nA=1\nB=2"] {
        assert_eq!(bench.pid(same), first, "{same:?}");
    }
    for other in ["A=1\nB=3\n", "A=1\n", "A=1\nB=2\nC=\n", "A=1\nb=2\n"] {
        assert_ne!(bench.pid(other), first, "{other:?}");
    }
    bench.finish();
}

#[test]
fn a_modern_call_needs_a_fallback() {
    let modern = Call::modern()
        .facet("ProcessFacet")
        .method("Pid")
        .arguments("[]");
    let bench = Bench::start(&sample(""));
    bench.gateway.call(&modern).assert_error(400, 1102);
    assert_eq!(bench.starts("ready"), 0);
    bench.finish();

    let config = format!("[env]\nfallback = \"deployment\"\n{}", sample(""));
    let bench = Bench::with(Setup::new(&config).variable("OWN_NAME", "deployed"));
    let first = bench.gateway.call(&modern);
    assert_eq!(first.status(), 200, "{}", first.text());
    let digest = Call::modern()
        .facet("EnvFacet")
        .method("Digest")
        .arguments("[\"OWN_NAME\"]");
    let json = bench.gateway.call(&digest).json();
    let told = json.at2("returned", "digest").and_then(Json::text);
    let expected = blake3::hash(b"deployed").to_hex();
    assert_eq!(told, Some(&expected[..12]));
    assert_eq!(bench.starts("ready"), 1);
    // A legacy call's env is still its own.
    bench.pid("A=1\n");
    assert_eq!(bench.starts("ready"), 2);
    bench.finish();
}

#[test]
fn workers_of_the_legacy_dialect_are_processes_too() {
    let command = [
        PROGRAM,
        "worker",
        "--listen",
        "inherit",
        "--framework",
        "0.12.0",
        "--dialect",
        "legacy",
    ];
    let bench = Bench::start(&format!(
        "[env]\nfallback = \"deployment\"\n{}",
        backend(&command, "dialect = \"legacy\"")
    ));
    let first = bench.pid("A=1\n");
    assert_eq!(bench.pid("A=1\n"), first);
    assert_ne!(bench.pid("A=2\n"), first);
    let json = bench
        .call("A=secret\n", "EnvFacet/Digest", "[\"A\"]")
        .json();
    let expected = blake3::hash(b"secret").to_hex();
    let told = json.at2("returned", "digest").and_then(Json::text);
    assert_eq!(told, Some(&expected[..12]));
    let modern = Call::modern().arguments("[\"x\"]");
    let answer = bench.gateway.call(&modern);
    assert_eq!(answer.json().at("returned").and_then(Json::text), Some("x"));
    bench.finish();
}

#[test]
fn a_framework_of_one_call_at_a_time_gets_one_whatever_the_env_says() {
    // It counts the calls that it has at once.
    let script = "now = most = 0; lock = threading.Lock()\n\
                  def call(c, path, body):\n  \
                  global now, most\n  \
                  with lock: now += 1; most = max(now, most)\n  \
                  time.sleep(0.02)\n  \
                  with lock: now -= 1\n  \
                  answer(c, '{\"result\":\"ok\",\"returned\":%d,\"special\":{\"sessionId\":null,\"logs\":[],\"executionDuration\":0}}' % most)\n\
                  run(inherited())";
    let bench = Bench::start(&python(script, "framework = \"0.10.2\""));
    let env = "WORKER_REQUEST_CONCURRENCY=null\nWORKER_MAX_QUEUE_LENGTH=20\n";
    let answers = burst(&bench.gateway, &vec![pid_call(env); 15]);
    let mut served = 0;
    while let Ok((_, answer)) = answers.recv_timeout(DEADLINE) {
        answer.assert_returned("1");
        served += 1;
    }
    assert_eq!(served, 15);
    bench.finish();
}

#[test]
fn the_limits_of_an_env_are_its_own() {
    let bench = Bench::start(&sample(""));
    let env = "WORKER_REQUEST_CONCURRENCY=2\nWORKER_MAX_QUEUE_LENGTH=3\n";
    bench.pid(env);
    let answers = burst(
        &bench.gateway,
        &vec![call(env, "TimeFacet/Sleep", "[500]"); 9],
    );
    let mut outcomes = Vec::new();
    while let Ok((_, answer)) = answers.recv_timeout(Duration::from_secs(10)) {
        outcomes.push(answer.outcome());
    }
    outcomes.sort_unstable();
    let expected = [vec![(200, 0); 5], vec![(429, 2000); 4]].concat();
    assert_eq!(outcomes, expected);
    bench.finish();
}

#[test]
fn who_debugs_is_told_where_an_answer_came_from() {
    let asking = |env: &str| pid_call(env).header("X-Envgate-Debug", "1");
    let told = |answer: &Message| {
        ["x-envgate-digest", "x-envgate-backend", "x-envgate-member"]
            .map(|name| answer.header(name).map(str::to_owned))
    };
    let bench = Bench::start(&sample(""));
    assert_eq!(
        told(&bench.gateway.call(&asking("A=1\n"))),
        [None, None, None]
    );
    bench.finish();

    let bench = Bench::start(&format!("[gateway]\ndebug = true\n{}", sample("")));
    assert_eq!(
        told(&bench.gateway.call(&pid_call("A=1\n"))),
        [None, None, None]
    );
    let [digest, backend, member] = told(&bench.gateway.call(&asking("A=1\n")));
    let digest = digest.expect("a digest");
    assert!(
        digest.len() == 12 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{digest}"
    );
    assert_eq!(backend.as_deref(), Some("b"));
    assert!(member.is_some_and(|member| member.contains("envgate-")));
    let again = told(&bench.gateway.call(&asking("A=1\n# the same\n")));
    assert_eq!(again[0].as_deref(), Some(digest.as_str()));
    let other = told(&bench.gateway.call(&asking("A=2\n")));
    assert_ne!(other[0].as_deref(), Some(digest.as_str()));
    bench.finish();

    // Nobody is told who isn't trusted.
    let bench = Bench::start(&format!(
        "[gateway]\ndebug = true\ntrusted_peers = [\"unix\"]\n{}",
        sample("")
    ));
    assert_eq!(
        told(&bench.gateway.call(&asking("A=1\n"))),
        [None, None, None]
    );
    bench.finish();
}
