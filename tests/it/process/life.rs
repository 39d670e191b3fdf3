//! How workers become ready, are watched, and end.

use super::*;

#[tokio::test]
async fn each_way_of_listening_becomes_ready_and_stops() {
    for way in ["inherit", "{socket}", "{port}"] {
        let config = if way == "inherit" {
            "listen = \"inherit\""
        } else {
            ""
        };
        let bench = Bench::python(way, config, "");
        let process = bench.start().await.unwrap();
        assert_eq!(process.probe_health().await, Health::Well, "{way}");
        assert!(process.rss().unwrap() > 1 << 20);
        let (pid, endpoint) = (process.pid(), process.address().clone());
        let status = process.stop(LONG).await.unwrap();
        assert_eq!(status.to_string(), "signal: 15 (SIGTERM)");
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        if let Address::Unix(socket) = endpoint {
            assert!(!socket.parent().unwrap().exists());
        }
    }
}

#[tokio::test]
async fn a_worker_that_exits_fails_its_start_at_once() {
    let bench = Bench::shell("echo hush; exit 3", "listen = \"inherit\"", LONG);
    let began = Instant::now();
    let error = bench.start().await.unwrap_err();
    assert!(began.elapsed() < LONG / 2);
    let StartError::Exited { status, phase } = error else {
        panic!("{error}")
    };
    assert_eq!((status.code(), phase), (Some(3), Phase::Starting));
}

#[tokio::test]
async fn a_worker_that_never_listens_is_given_up_with_its_group() {
    let mark = format!("1000.{}", fastrand::u64(..));
    let script = format!("sleep {mark} &\necho {{socket}} > /dev/null; wait");
    let config = "env = { S = \"{socket}\" }";
    let bench = Bench::shell(&script, config, Duration::from_millis(500));
    let error = bench.start().await.unwrap_err();
    let expected =
        "the worker was given up before it listened, after instances.start_timeout (500ms)";
    assert_eq!(error.to_string(), expected);
    eventually("its child is gone too", || {
        find(&mark).is_none().then_some(())
    });
}

#[tokio::test]
async fn a_worker_that_listens_late_or_is_not_ready_at_first_is_waited_for() {
    let late = format!("import time; time.sleep(0.3)\n{WORKER}");
    let config = "";
    let bench = Bench::new(&["PYTHON", "WORKER", "{socket}"], &late, config, "", LONG);
    bench.start().await.unwrap();
    let loading = WORKER.replace(
        "while True:",
        "n = 0\nwhile True:\n    n += 1; os.environ['HEALTH'] = '503 Loading' if n < 5 else '200 OK'",
    );
    let bench = Bench::new(&["PYTHON", "WORKER", "{port}"], &loading, config, "", LONG);
    bench.start().await.unwrap();
}

#[tokio::test]
async fn a_worker_that_is_never_ready_is_told_from_one_that_never_listens() {
    let command = ["PYTHON", "WORKER", "{port}"];
    let time = Duration::from_secs(2);
    let bench = Bench::new(&command, WORKER, "", "HEALTH=500 No", time);
    let error = bench.start().await.unwrap_err();
    let StartError::TimedOut { phase, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(phase, Phase::Listening);
    let config = "readiness = \"connect\"";
    let bench = Bench::new(&command, WORKER, config, "HEALTH=500 No", LONG);
    let process = bench.start().await.unwrap();
    let Health::Unwell(status) = process.probe_health().await else {
        panic!("it is well")
    };
    assert_eq!(status, 500);
}

#[tokio::test]
async fn a_worker_that_ignores_sigterm_is_killed_after_the_grace() {
    let stubborn =
        format!("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{WORKER}");
    let bench = Bench::new(&["PYTHON", "WORKER", "inherit"], &stubborn, "", "", LONG);
    let process = bench.start().await.unwrap();
    let status = process.stop(Duration::from_millis(100)).await.unwrap();
    assert_eq!(status.to_string(), "signal: 9 (SIGKILL)");
}

#[tokio::test]
async fn an_exit_is_noticed_and_the_number_stays_until_it_is_collected() {
    let bench = Bench::python("inherit", "", "");
    let process = bench.start().await.unwrap();
    let pid = process.pid();
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(killed.unwrap().success());
    assert_eq!(process.exited().await.to_string(), "signal: 9 (SIGKILL)");
    assert_eq!(process.exited().await.to_string(), "signal: 9 (SIGKILL)");
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(process.rss(), None);
    assert_eq!(process.probe_health().await, Health::Gone);
    process.stop(LONG).await.unwrap();
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[tokio::test]
async fn a_dropped_process_or_start_is_killed_and_collected() {
    let bench = Bench::python("{port}", "", "");
    let process = bench.start().await.unwrap();
    let pid = process.pid();
    drop(process);
    gone(pid);

    let mark = unique("start-to-be-dropped-");
    let bench = Bench::new(&["sh", "-c", "sleep 1000; :", &mark], "", "", "", LONG);
    let mut start = Box::pin(bench.start());
    let pid = loop {
        let polled = tokio::time::timeout(Duration::from_millis(10), &mut start).await;
        assert!(polled.is_err(), "it started");
        if let Some(pid) = find(&mark) {
            break pid;
        }
    };
    drop(start);
    gone(pid);
}

#[tokio::test]
async fn a_flood_of_output_neither_blocks_the_worker_nor_the_gateway() {
    let flood = WORKER.replace(
        "while True:\n    c, _",
        "for i in range(20000): print('x' * 500)\nsys.stdout.flush(); os.environ['DONE'] = '1'\nwhile True:\n    c, _",
    );
    assert_ne!(flood, WORKER);
    let bench = Bench::new(&["PYTHON", "WORKER", "inherit"], &flood, "", "", LONG);
    let process = bench.start().await.unwrap();
    assert_eq!(process.probe_health().await, Health::Well);
}

#[tokio::test]
async fn whoever_else_listens_at_the_port_is_not_spoken_to() {
    let files = tempfile::tempdir().unwrap();
    let told = files.path().join("port");
    let script = format!(
        "echo $PORT > {0}.part; mv {0}.part {0}; sleep 1000",
        told.display()
    );
    let config = "env = { PORT = \"{port}\" }";
    let bench = Bench::shell(&script, config, Duration::from_secs(2));
    let squatter = std::thread::spawn(move || {
        let port = eventually("the port is told", || fs::read_to_string(&told).ok());
        let squatter = TcpListener::bind(("127.0.0.1", port.trim().parse().unwrap())).unwrap();
        squatter.set_nonblocking(true).unwrap();
        squatter
    });
    let error = bench.start().await.unwrap_err();
    let StartError::TimedOut { phase, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(phase, Phase::PortTaken);
    let squatter = squatter.join().unwrap();
    let nobody_came = squatter.accept().unwrap_err();
    assert_eq!(nobody_came.kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_port_of_another_process_of_the_group_is_the_instances() {
    let script = format!("{} -c '{}' $PORT", python(), WORKER.replace('\'', "\""));
    let config = "env = { PORT = \"{port}\" }";
    let bench = Bench::shell(&format!("{script}\n:"), config, LONG);
    let process = bench.start().await.unwrap();
    assert_eq!(process.probe_health().await, Health::Well);
}
