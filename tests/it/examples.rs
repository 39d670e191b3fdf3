//! The workers of `examples/` and the sample worker as programs: listening in every way, behind a
//! gateway, with the environment that they were given.

use std::{path::Path, process::Command};

use envgate::env::env_proof;

use crate::harness::{
    Address, Call, Client, Gateway, Json, PROGRAM, Program, Running, VARIABLES, Way, eventually,
};

fn call(facet: &str, method: &str, arguments: &str) -> Call {
    let call = Call::legacy("A=1\n").facet(facet).method(method);
    call.arguments(arguments)
}

/// Whether its `/health` is well, again and again over one connection; the header of its proof.
#[track_caller]
fn assert_is_well(worker: &Running) -> Option<String> {
    let mut client = Client::connect_to(&worker.address);
    let mut proof = None;
    // Twice, for the connection is to be kept.
    for _ in 0..2 {
        let health = worker.health(&mut client);
        assert_eq!((health.status(), health.text().as_str()), (200, "OK\n"));
        proof = health.header("x-envgate-env-proof").map(str::to_owned);
    }
    proof
}

/// Whether it says that it runs with the variables that were meant.
#[track_caller]
fn assert_proves(worker: &Running) {
    let meant = VARIABLES.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let meant = env_proof(&worker.nonce, meant.into_iter());
    assert_eq!(assert_is_well(worker), Some(meant));
}

#[track_caller]
fn assert_calls_are_served(gateway: &Gateway) {
    let mut client = Client::connect(gateway);
    for value in [r#"{"a":[1,"č",null]}"#, "\"x\"", "false"] {
        let echo = call("EchoFacet", "Echo", &format!("[{value}]"));
        client.call(&echo).assert_returned(value);
    }
    let thrown = gateway.call(&call("NoFacet", "Nothing", "[]"));
    let json = thrown.json();
    assert_eq!(json.at("result").and_then(Json::text), Some("exception"));
    let class = json.at2("exception", "ClassName").and_then(Json::text);
    assert!(class.is_some_and(|class| !class.is_empty()), "{json:?}");
}

#[track_caller]
fn assert_sessions_last(gateway: &Gateway) {
    let count = |session: &str| {
        let answer = gateway.call(&call("SessionFacet", "Count", "[]").session(session));
        let id = answer.json();
        let id = id.at2("special", "sessionId").and_then(Json::text);
        (answer.clone(), id.expect("a session").to_owned())
    };
    let (first, started) = count("");
    first.assert_returned("1");
    assert!(!started.is_empty());
    let (second, same) = count(&started);
    second.assert_returned("2");
    assert_eq!(same, started);
    let odd = "a b/č;%";
    for seen in ["1", "2"] {
        let (answer, id) = count(odd);
        answer.assert_returned(seen);
        assert_eq!(id, odd);
    }
}

/// Whether a request that is on its way for long keeps no other waiting.
#[track_caller]
fn assert_several_at_once(worker: &Running) {
    let echo = Call::modern().bytes();
    let (begun, rest) = echo.split_at(echo.len() - 5);
    let mut slow = Client::connect_to(&worker.address);
    slow.send(begun);
    for _ in 0..3 {
        let answer = Client::connect_to(&worker.address).call(&Call::modern());
        assert_eq!(answer.status(), 200);
    }
    slow.send(rest);
    let answer = slow.read().json();
    let returned = answer.at("returned").and_then(Json::text);
    assert_eq!(returned, Some("Hello world!"));
}

fn assert_example_serves(program: Option<Program>) {
    let Some(program) = program else { return };
    for way in Way::ALL {
        let mut worker = program.start(way);
        assert_is_well(&worker);
        assert_several_at_once(&worker);
        let gateway = worker.gateway();
        assert_calls_are_served(&gateway);
        assert_sessions_last(&gateway);
        for (name, value) in VARIABLES {
            let get = call("EnvFacet", "Get", &format!("[{name:?}]"));
            let value = serde_json::Value::from(value).to_string();
            gateway.call(&get).assert_returned(&value);
        }
        // The envelope's env isn't the worker's.
        let get = call("EnvFacet", "Get", r#"["A"]"#);
        gateway.call(&get).assert_returned("null");
        assert_eq!(worker.terminate().code(), Some(0), "{way:?}");
    }
}

#[test]
fn the_python_example_serves() {
    assert_example_serves(Program::python());
}

#[test]
fn the_node_example_serves() {
    assert_example_serves(Program::node());
}

#[test]
fn the_examples_are_small() {
    for file in ["python/worker.py", "node/worker.mjs", "csharp/Program.cs"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("examples")
            .join(file);
        let text = std::fs::read_to_string(path).expect("an example");
        assert!(text.lines().count() < 40, "{file}");
        let longest = text.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(120), "{file}: {longest:?}");
    }
}

#[test]
fn the_sample_worker_serves() {
    for way in Way::ALL {
        let mut worker = Program::sample().start(way);
        assert_proves(&worker);
        assert_several_at_once(&worker);
        let gateway = worker.gateway();
        assert_calls_are_served(&gateway);
        assert_sessions_last(&gateway);
        let pid = call("ProcessFacet", "Pid", "[]");
        let own = worker.pid().to_string();
        gateway.call(&pid).assert_returned(&own);
        assert_eq!(worker.terminate().code(), Some(0), "{way:?}");
        if let (Way::PassedSocket, Address::Unix(path)) = (way, &worker.address) {
            assert!(path.exists(), "another's socket was removed");
        }
    }
}

#[test]
fn the_sample_worker_fails_when_it_is_told_to() {
    let mut worker = Program::sample().start(Way::Socket);
    let gateway = worker.gateway();
    let held = || {
        let statm = std::fs::read_to_string(format!("/proc/{}/status", worker.pid()));
        let statm = statm.expect("the worker runs");
        let line = statm.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.expect("what it holds") >> 10
    };
    let hold = |mib: &str| gateway.call(&call("MemoryFacet", "Hold", mib));
    hold("[64]").assert_returned("null");
    assert!(held() >= 64, "it holds {} MiB", held());
    // The allocator gives back what was freed a second ago, as something else is freed.
    eventually("what was held is given back", || {
        hold("[1]").assert_returned("null");
        hold("[0]").assert_returned("null");
        (held() < 64).then_some(())
    });
    let refused = hold("[1025]").json();
    assert_eq!(refused.at("result").and_then(Json::text), Some("exception"));

    gateway
        .call(&call("HealthFacet", "Ail", "[]"))
        .assert_returned("null");
    let mut client = Client::connect_to(&worker.address);
    assert_eq!(worker.health(&mut client).status(), 503);

    let exit = gateway.call(&call("ProcessFacet", "Exit", "[7]"));
    exit.assert_error(502, 4000);
    assert_eq!(worker.wait_exit().code(), Some(7));
}

#[test]
fn a_socket_that_wasnt_passed_on_is_refused_by_name() {
    let run = |before: &str| {
        let script = format!("{before} exec {PROGRAM} worker --listen inherit --framework 0.12.0");
        let mut shell = Command::new("/bin/sh");
        let ended = shell.arg("-c").arg(script).env_clear().output();
        let ended = ended.expect("running a shell");
        assert_eq!(ended.status.code(), Some(1));
        String::from_utf8(ended.stderr).expect("a text")
    };
    assert!(run("").contains("LISTEN_PID isn't set"));
    let anothers = run("export LISTEN_PID=1 LISTEN_FDS=1;");
    assert!(anothers.contains("LISTEN_PID isn't"), "{anothers}");
    let none = run("export LISTEN_PID=$$;");
    assert!(none.contains("LISTEN_FDS isn't set"), "{none}");
    let several = run("export LISTEN_PID=$$ LISTEN_FDS=2;");
    assert!(several.contains("LISTEN_FDS isn't 1"), "{several}");
    for descriptor in ["3<&-", "3</dev/null"] {
        let closed = run(&format!(
            "export LISTEN_PID=$$ LISTEN_FDS=1; exec {descriptor};"
        ));
        assert!(closed.contains("descriptor 3 is no"), "{closed}");
    }
}
