//! Starts that fail, take long, or are cut off.

use std::{fs, net::TcpListener, time::Duration};

use super::*;
use crate::harness::{Client, burst};

#[test]
fn one_that_exits_is_told_with_its_status_and_started_again_after_a_while() {
    let files = Files::new();
    let script = format!(
        "if not os.path.exists({:?}): sys.exit(7)\nrun(inherited())",
        files.path("may")
    );
    let bench = Bench::start(&python(&script, ""));
    let first = bench.gateway.call(&pid_call("A=1\n"));
    // Its back-off has begun: nothing is started for whoever calls now.
    let second = bench.gateway.call(&pid_call("A=1\n"));
    let failed = bench.starts("failed");
    for refused in [first, second] {
        refused.assert_error(503, 3001);
        let text = refused.text();
        assert!(text.contains("exit status: 7"), "{text}");
        assert!(text.contains("before it listened"), "{text}");
        assert_eq!(refused.header("retry-after"), Some("1"));
    }
    assert_eq!(failed, 1);
    // Another env's affair is its own.
    bench
        .gateway
        .call(&pid_call("A=2\n"))
        .assert_error(503, 3001);
    assert_eq!(bench.starts("failed"), 2);
    files.touch("may");
    eventually("it is started again", || {
        let answer = bench.gateway.call(&pid_call("A=1\n"));
        (answer.status() == 200).then_some(())
    });
    let log = bench.finish();
    assert!(log.contains("a worker didn't start"), "{log}");
}

#[test]
fn one_that_never_listens_is_given_up_in_time() {
    let backend = shell("sleep 1000; :", "env = { S = \"{socket}\" }");
    let bench = Bench::start(&format!(
        "[instances]\nstart_timeout = \"300ms\"\n{backend}"
    ));
    let refused = bench.gateway.call(&pid_call("A=1\n"));
    refused.assert_error(504, 3003);
    assert!(
        refused.text().contains("before it listened"),
        "{}",
        refused.text()
    );
    eventually("neither shell nor sleep is left", || {
        let left = marked(&bench.mark).into_iter();
        let mut left = left.filter(|pid| !is_gateway(*pid));
        left.next().is_none().then_some(())
    });
    bench.finish();
}

fn is_gateway(pid: u32) -> bool {
    let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    arguments.contains("\0serve\0")
}

#[test]
fn one_that_listens_late_serves_all_who_waited() {
    let files = Files::new();
    let bench = Bench::start(&files.late());
    let calls = vec![pid_call("A=1\n"); 20];
    let answers = burst(&bench.gateway, &calls);
    files.wait("begun");
    let early = answers.recv_timeout(Duration::from_millis(100));
    assert!(early.is_err(), "answered before it listens: {early:?}");
    files.touch("may");
    let pids = answers.iter().map(|(_, answer)| returned_pid(&answer));
    let pids: Vec<_> = pids.collect();
    assert_eq!(pids, [pids[0]; 20]);
    assert_eq!(bench.starts("ready"), 1);
    bench.finish();
}

#[test]
fn a_start_goes_on_without_the_client_that_asked_for_it() {
    let files = Files::new();
    let bench = Bench::start(&files.late());
    let client = Client::connect(&bench.gateway);
    client.send(pid_call("A=1\n").bytes());
    files.wait("begun");
    drop(client);
    eventually("nobody waits", || (waiting(&bench) == 0).then_some(()));
    files.touch("may");
    eventually("it is ready", || (bench.starts("ready") == 1).then_some(()));
    bench.pid("A=1\n");
    assert_eq!(bench.starts("ready"), 1);
    assert_eq!(bench.starts("cancelled"), 0);
    bench.finish();
}

/// Calls that wait for a start, by the gauge that is set once a second.
fn waiting(bench: &Bench) -> u64 {
    let metrics = bench.gateway.metrics();
    metrics
        .sum("envgate_calls_waiting_for_start")
        .unwrap_or_default() as u64
}

#[test]
fn sigterm_cancels_a_start() {
    let files = Files::new();
    let mut bench = Bench::start(&files.late());
    let mut client = Client::connect(&bench.gateway);
    client.send(pid_call("A=1\n").bytes());
    files.wait("begun");
    bench.gateway.terminate();
    client.read().assert_error(503, 3002);
    assert_eq!(bench.gateway.wait_exit(DEADLINE).code(), Some(0));
    bench.assert_nothing_left();
}

#[test]
fn a_second_sigterm_ends_a_start_and_a_call_at_once() {
    let files = Files::new();
    let hanging = python(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
         def call(c, path, body):\n  open(sys.argv[1], 'w').close(); time.sleep(1000)\n\
         run(inherited())",
        "when = { env = { HANG = \"?\" } }",
    );
    let hanging = hanging.replace("name = \"b\"", "name = \"h\"");
    let hanging = hanging.replace(
        "run(inherited())\"",
        &format!("run(inherited())\", {:?}", files.path("called")),
    );
    let late = files.late();
    let mut bench = Bench::start(&format!(
        "[gateway]\nshutdown_grace = \"60s\"\n{hanging}{late}"
    ));
    let calls = ["HANG=1\n", "A=1\n"].map(|env| {
        let client = Client::connect(&bench.gateway);
        client.send(pid_call(env).bytes());
        client
    });
    files.wait("begun");
    files.wait("called");
    let [mut hung, mut cold] = calls;
    bench.gateway.drain();
    cold.read().assert_error(503, 3002);
    let pid = bench.gateway.pid();
    assert!(is_there(pid), "the call under way holds it up");
    bench.gateway.terminate();
    assert_eq!(
        bench.gateway.wait_exit(Duration::from_secs(5)).code(),
        Some(0)
    );
    hung.read_to_the_end();
    bench.assert_nothing_left();
}

#[test]
fn an_env_at_the_limits_starts_and_one_over_them_starts_nothing() {
    let script = "def call(c, path, body):\n  \
                  returned(c, sum(len(k) + len(v) + 10 for k, v in os.environ.items() if k[0] == 'A'))\n\
                  run(inherited())";
    let bench = Bench::start(&format!(
        "[gateway]\nmax_request_body = \"4MiB\"\n{}",
        python(script, "")
    ));
    let string = |bytes: usize| format!("A={}\n", "x".repeat(bytes - "A=".len()));
    let whole = |more: &str| {
        let value = "x".repeat(64 * 1024 - "AA=\0".len() - 8);
        let all: String = (0..16).map(|i| format!("A{i:x}={value}\n")).collect();
        all.replacen('\n', &format!("{more}\n"), 1)
    };
    let longest = 128 * 1024 - 1;
    for (fits, size) in [(string(longest), longest + 9), (whole(""), 1024 * 1024)] {
        let answer = bench.gateway.call(&pid_call(&fits));
        answer.assert_returned(&size.to_string());
    }
    for over in [string(longest + 1), whole("x")] {
        bench.gateway.call(&pid_call(&over)).assert_error(400, 1104);
    }
    assert_eq!((bench.starts("ready"), bench.starts("failed")), (2, 0));
    bench.finish();
}

#[test]
fn an_env_that_the_backends_own_leaves_no_room_for_is_refused_as_one() {
    let own = (0..9).map(|i| format!("B{i} = {:?}", "y".repeat(125_000)));
    let own = own.collect::<Vec<_>>().join(", ");
    let config = format!(
        "[gateway]\nmax_request_body = \"4MiB\"\n{}",
        sample(&format!("env = {{ {own} }}"))
    );
    let setup = Setup::new(&config);
    let setup = setup.under(&["/bin/sh", "-c", "ulimit -S -s 8192; exec \"$@\"", "sh"]);
    let bench = Bench::with(setup);
    let env: String = (0..9)
        .map(|i| format!("A{i}={}\n", "x".repeat(110_000)))
        .collect();
    bench.gateway.call(&pid_call(&env)).assert_error(400, 1104);
    bench.pid("A=1\n");
    bench.finish();
}

#[test]
fn whoever_took_the_port_first_gets_no_call() {
    let files = Files::new();
    let script = format!(
        "echo $PORT > {0}.part; mv {0}.part {0}; sleep 1000; :",
        files.path("port").display()
    );
    let bench = Bench::start(&format!(
        "[instances]\nstart_timeout = \"2s\"\n{}",
        shell(&script, "env = { PORT = \"{port}\" }")
    ));
    let mut client = Client::connect(&bench.gateway);
    client.send(pid_call("A=1\n").bytes());
    files.wait("port");
    let port = fs::read_to_string(files.path("port")).expect("the port");
    let squatter = squat(port.trim().parse().expect("a port"));
    let refused = client.read();
    refused.assert_error(504, 3003);
    let text = refused.text();
    assert!(
        text.contains("something else listened at its port"),
        "{text}"
    );
    assert_nobody_came(&squatter);
    bench.finish();
}

#[test]
fn the_port_of_a_dead_instance_gets_no_call() {
    let script = "s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
                  s.bind(('127.0.0.1', int(os.environ['PORT']))); s.listen(64)\n\
                  def call(c, path, body): returned(c, '[%d,%s]' % (os.getpid(), os.environ['PORT']))\n\
                  run(s)";
    let bench = Bench::start(&python(script, "env = { PORT = \"{port}\" }"));
    let ask = || {
        let json = bench.gateway.call(&pid_call("A=1\n")).json();
        let items = json.at("returned").map(crate::harness::Json::items);
        let numbers = items.unwrap_or_default().iter();
        let numbers: Vec<u32> = numbers.filter_map(|n| n.number()?.parse().ok()).collect();
        (numbers[0], u16::try_from(numbers[1]).expect("a port"))
    };
    let (pid, port) = ask();
    crate::harness::signal(pid, "KILL");
    eventually("its end is noticed", || {
        (bench.count("envgate_instance_exits_total", "b") == 1).then_some(())
    });
    let squatter = squat(port);
    let (other, elsewhere) = ask();
    assert_ne!((pid, port), (other, elsewhere));
    assert_ne!(port, elsewhere);
    assert_nobody_came(&squatter);
    bench.finish();
}

#[track_caller]
fn squat(port: u16) -> TcpListener {
    let squatter = eventually("the port is free", || {
        TcpListener::bind(("127.0.0.1", port)).ok()
    });
    squatter.set_nonblocking(true).expect("a listener");
    squatter
}

#[track_caller]
fn assert_nobody_came(squatter: &TcpListener) {
    let came = squatter.accept().expect_err("nobody is to come");
    assert_eq!(came.kind(), std::io::ErrorKind::WouldBlock);
}
