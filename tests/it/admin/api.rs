//! The API itself, byte by byte.

use std::{
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use super::{TOKEN, ask, assert_problem, client, digests, gateway, get};
use crate::harness::{
    Backend, Call, Client, DEADLINE, Gateway, Json, Setup, Step, TempFile, eventually, run, unique,
};

#[test]
fn hot_envs_are_listed_and_told_apart_by_names() {
    let gateway = gateway("");
    let nothing = run(&["instances", "--admin", gateway.admin()], "");
    assert_eq!(nothing.code, Some(0), "{}", nothing.stderr);
    assert!(
        nothing.stdout.starts_with("No instance has a process"),
        "{}",
        nothing.stdout
    );
    let values = [unique("value"), unique("value")];
    for value in &values {
        let env = format!("SECRET={value}\nENV_TYPE=x\n");
        gateway
            .call(&Call::legacy(&env))
            .assert_returned(r#""Hello world!""#);
    }
    gateway
        .call(&Call::legacy("ENV_TYPE=x\nOTHER=1\n"))
        .assert_returned(r#""Hello world!""#);
    let rows = get(&gateway, "/api/v1/instances").json();
    let states = rows
        .items()
        .iter()
        .filter_map(|row| row.at("state")?.text());
    assert_eq!(states.collect::<Vec<_>>(), ["ready"; 3]);
    let digests = digests(&gateway);
    assert_eq!(digests.len(), 3);
    let explained = get(&gateway, &format!("/api/v1/explain?digest={}", digests[0]));
    let json = explained.json();
    assert_eq!(
        json.at("nearest").and_then(Json::text),
        Some(digests[1].as_str())
    );
    let changed = json.at("changed").map(Json::items).unwrap_or_default();
    assert_eq!(
        changed.iter().filter_map(Json::text).collect::<Vec<_>>(),
        ["SECRET"]
    );
    let admin = ["--admin", gateway.admin()];
    let all = run(&[&["instances", "--all"][..], &admin].concat(), "");
    assert_eq!(all.stdout.lines().count(), 4, "{}", all.stdout);
    assert!(
        all.stdout.starts_with("ID  BACKEND  DIGEST"),
        "{}",
        all.stdout
    );
    let listed = run(
        &[&["instances", "--all", "--output", "json"][..], &admin].concat(),
        "",
    );
    let rows = Json::parse(listed.stdout.as_bytes()).expect("rows in JSON");
    assert_eq!(rows.items().len(), 3);
    let nearest = run(
        &[&["explain", "--nearest", &digests[2]][..], &admin].concat(),
        "",
    );
    assert_eq!(nearest.code, Some(0), "{}", nearest.stderr);
    assert!(
        nearest.stdout.contains("OTHER   only in this env"),
        "{}",
        nearest.stdout
    );
    assert!(
        nearest.stdout.contains("SECRET  only in the nearest"),
        "{}",
        nearest.stdout
    );
    let drained = run(&[&["drain", "1"][..], &admin].concat(), "");
    assert_eq!(drained.code, Some(0), "{}", drained.stderr);
    let pid = rows.items().first().and_then(|row| row.at("pid")?.number());
    let process = format!("/proc/{}", pid.expect("a pid"));
    assert!(!std::path::Path::new(&process).exists(), "{process}");
    let again = run(&[&["drain", "1"][..], &admin].concat(), "");
    assert_eq!(again.code, Some(1));
    assert_eq!(again.stderr, "error: instance 1 has no process now\n");
    // Nothing that was said holds a value.
    let (stdout, stderr) = gateway.outputs();
    let said = [all, listed, nearest, drained].map(|said| said.stdout + &said.stderr);
    for value in values {
        for said in said.iter().chain([&explained.text(), &stdout, &stderr]) {
            assert!(!said.contains(&value), "{said}");
        }
    }
}

#[test]
fn calls_under_way_and_in_the_queue_are_counted() {
    let far = Backend::start(vec![vec![Step::Hang]]);
    let gateway = Gateway::start(&format!(
        "[admin]\nlisten = \"127.0.0.1:0\"\n[admission]\nconcurrency = 1\n\
         [[backend]]\nname = \"games\"\nurls = [{:?}]\n",
        far.url()
    ));
    let calls = [Client::connect(&gateway), Client::connect(&gateway)];
    for call in &calls {
        call.send(Call::legacy("A=1\n").bytes());
    }
    eventually("one call runs and one waits", || {
        let rows = get(&gateway, "/api/v1/instances?all=true").json();
        let row = rows.items().first()?;
        let number = |name: &str| row.at(name).and_then(Json::number).map(str::to_owned);
        let is_so = number("in_flight")? == "1" && number("queue")? == "1";
        (is_so && row.at("backend")?.text() == Some("games")).then_some(())
    });
}

#[test]
fn refusals_are_problems_and_marked() {
    let gateway = gateway("");
    assert_problem(&get(&gateway, "/nothing"), 404);
    let wrong_method = ask(&gateway, "PUT /api/v1/instances", "Host: localhost\r\n");
    assert_problem(&wrong_method, 405);
    assert_eq!(wrong_method.header("allow"), Some("GET,HEAD"));
    assert_problem(&get(&gateway, "/api/v1/explain?digest=x"), 400);
    let drain = ask(
        &gateway,
        "POST /api/v1/instances/7/drain",
        "Host: localhost\r\n",
    );
    assert_problem(&drain, 404);
    assert_eq!(drain.header("server"), Some("envgate"));
    assert_eq!(drain.header("connection"), Some("close"));
    // The answer reaches who is still sending.
    let mut large = client(&gateway);
    large.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n");
    while large.try_send([b'x'; 20_000]) && large.wire.find(b"}", Some(Instant::now())).is_err() {}
    assert_problem(&large.read(), 413);
}

#[test]
fn web_pages_are_kept_out() {
    let gateway = gateway("");
    let path = "GET /api/v1/instances";
    assert_eq!(ask(&gateway, path, "Host: 127.0.0.1:1\r\n").status(), 200);
    assert_problem(&ask(&gateway, path, "Host: evil.test\r\n"), 421);
    assert_problem(&ask(&gateway, path, ""), 421);
    let form = "Host: localhost\r\nOrigin: http://evil.test\r\nContent-Length: 0\r\n";
    assert_problem(&ask(&gateway, "POST /api/v1/instances/1/drain", form), 403);
}

#[test]
fn a_token_is_asked_for_wherever_it_is_configured() {
    let token = TempFile::new("token", &format!("{TOKEN}\n"));
    let gateway = gateway(&format!("token_file = {:?}\n", token.path()));
    for path in [
        "GET /api/v1/instances",
        "GET /api/v1/openapi.json",
        "GET /nothing",
    ] {
        let refused = ask(&gateway, path, "Host: localhost\r\n");
        assert_problem(&refused, 401);
        assert_eq!(
            refused.header("www-authenticate"),
            Some("Bearer realm=\"envgate\"")
        );
    }
    let with = |token: &str| {
        let headers = format!("Host: gate.test\r\nAuthorization: Bearer {token}\r\n");
        ask(&gateway, "GET /api/v1/instances", &headers)
    };
    assert_eq!(with(TOKEN).status(), 200);
    assert_problem(&with(&TOKEN[1..]), 401);
    let list = ["instances", "--admin", gateway.admin()];
    let without = run(&list, "");
    assert_eq!(without.code, Some(1));
    assert!(
        without.stderr.contains("wants a token; name a copy"),
        "{}",
        without.stderr
    );
    let other = TempFile::new(
        "token",
        "another token of enough bytes".replace(' ', "-").as_str(),
    );
    let wrong = run(&[&list[..], &["--token-file", other.path()]].concat(), "");
    assert!(
        wrong.stderr.contains("refuses the token"),
        "{}",
        wrong.stderr
    );
    let right = run(&[&list[..], &["--token-file", token.path()]].concat(), "");
    assert_eq!(right.code, Some(0), "{}", right.stderr);
    let (stdout, stderr) = gateway.outputs();
    assert!(!stdout.contains(TOKEN) && !stderr.contains(TOKEN));
}

#[test]
fn a_token_that_is_none_keeps_the_gateway_from_starting() {
    let start = |settings: &[&str]| {
        let base = ["serve", "--set", "gateway.listen=[\"127.0.0.1:0\"]"];
        let settings = settings.iter().flat_map(|&setting| ["--set", setting]);
        run(&base.into_iter().chain(settings).collect::<Vec<_>>(), "")
    };
    let short = TempFile::new("token", "short\n");
    let file = format!("admin.token_file={}", short.path());
    let refused = start(&["admin.listen=127.0.0.1:0", &file]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("the token has 5 bytes"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains(short.path()), "{}", refused.stderr);
    let open = start(&["admin.listen=0.0.0.0:0"]);
    assert_eq!(open.code, Some(2));
    assert!(
        open.stderr.contains("set admin.token_file"),
        "{}",
        open.stderr
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("its address");
    let _held = std::net::TcpListener::bind(taken);
    let busy = start(&[&format!("admin.listen={taken}")]);
    assert_eq!(busy.code, Some(1), "{}", busy.stderr);
    assert!(busy.stderr.contains("can't listen at"), "{}", busy.stderr);
}

#[test]
fn a_unix_socket_is_its_owners_and_groups() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("admin.sock");
    let gateway = Gateway::start(&format!("[admin]\nlisten = \"unix:{}\"\n", path.display()));
    assert_eq!(gateway.admin(), format!("unix:{}", path.display()));
    let mode = std::fs::metadata(&path)
        .expect("the socket")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
    gateway
        .call(&Call::legacy("A=1\n"))
        .assert_returned(r#""Hello world!""#);
    let listed = run(&["instances", "--all", "--admin", gateway.admin()], "");
    assert_eq!(
        listed.stdout.lines().count(),
        2,
        "{}{}",
        listed.stdout,
        listed.stderr
    );
    drop(gateway.outputs());
    assert!(!path.exists(), "the socket's file is left behind");
}

#[test]
fn the_description_is_json_and_every_route_answers() {
    let gateway = gateway("");
    let api = get(&gateway, "/api/v1/openapi.json");
    let api: serde_json::Value = serde_json::from_slice(&api.body).expect("JSON");
    let paths = api["paths"].as_object().expect("paths");
    assert_eq!(paths.len(), 4);
    let readme = include_str!("../../../README.md");
    for (path, methods) in paths {
        for method in methods.as_object().expect("methods").keys() {
            let method = method.to_uppercase();
            assert!(
                readme.contains(&format!("`{method} {path}")),
                "{method} {path}"
            );
            let path = path.replace("{id}", "1");
            let answer = ask(&gateway, &format!("{method} {path}"), "Host: localhost\r\n");
            let detail = answer.text();
            assert!(
                !detail.contains("there is no /") && answer.status() != 405,
                "{detail}"
            );
        }
    }
}

#[test]
fn slow_clients_hold_neither_the_api_nor_the_end() {
    let mut gateway = gateway("");
    let slow: Vec<_> = (0..40)
        .map(|index| {
            let client = client(&gateway);
            if index % 2 == 0 {
                client.send("GET /api/v1/instances HTTP/1.1\r\nHo");
            } else {
                client.send("GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n1");
            }
            client
        })
        .collect();
    assert_eq!(get(&gateway, "/api/v1/instances").status(), 200);
    let began = Instant::now();
    for (index, mut client) in slow.into_iter().enumerate() {
        match client.try_read(Instant::now() + DEADLINE) {
            Ok(Some(answer)) => assert_problem(&answer, 408),
            // What is no head yet isn't answered.
            Ok(None) => assert_eq!(index % 2, 0),
            Err(broken) => assert!(broken.is_over() && index % 2 == 0, "{broken:?}"),
        }
    }
    assert!(began.elapsed() < Duration::from_secs(10));
    let _silent = client(&gateway);
    let began = Instant::now();
    gateway.terminate();
    assert_eq!(gateway.wait_exit(DEADLINE).code(), Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn more_connections_than_there_is_room_for_wait_their_turn() {
    let gateway = gateway("");
    let _silent: Vec<_> = (0..64).map(|_| client(&gateway)).collect();
    let began = Instant::now();
    assert_eq!(get(&gateway, "/api/v1/instances").status(), 200);
    assert!(began.elapsed() < Duration::from_secs(10));
    gateway
        .call(&Call::legacy("A=1\n"))
        .assert_returned(r#""Hello world!""#);
}

#[test]
fn without_a_table_there_is_no_admin_api() {
    let gateway = Setup::new("").start();
    let (_, stderr) = gateway.outputs();
    assert!(!stderr.contains("admin"), "{stderr}");
}
