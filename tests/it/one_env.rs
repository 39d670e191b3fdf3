//! Pools whose workers hold one env each: who gets a member, and for how long.

mod overlap;

use std::{path::Path, thread, time::Duration};

use crate::harness::{Backend, Call, Client, Gateway, Message, Step, eventually, ok};

const RECIPE: &str = "X-Unisave-Initialization-Recipe-Url";

/// How long nothing must happen.
const WATCHED: Duration = Duration::from_millis(150);

fn holding() -> Backend {
    Backend::start(vec![vec![Step::Hold, ok("1")]])
}

fn before(urls: &[String], slice: &str, more: &str) -> Gateway {
    Gateway::start(&format!(
        "{more}\n[[backend]]\nname = \"b\"\nurls = {urls:?}\ndialect = \"legacy\"\n\
         one_env = true\nenv_slice = {slice:?}\nhealth_interval = \"10ms\"\n"
    ))
}

/// The env's call, sent, on a connection of its own.
fn call(gateway: &Gateway, env: &str) -> Client {
    let client = Client::connect(gateway);
    client.send(Call::legacy(&format!("GAME={env}\n")).bytes());
    client
}

/// The env of a call, as a member was sent it.
fn env_of(message: &Message) -> String {
    let body = message.text();
    let env = body
        .split_once("GAME=")
        .and_then(|(_, rest)| rest.split_once("\\n"));
    env.expect("a call with an env").0.to_owned()
}

/// The envs of the calls that a member was sent, in order.
fn envs(backend: &Backend) -> Vec<String> {
    backend
        .seen()
        .iter()
        .map(|seen| env_of(&seen.message))
        .collect()
}

#[test]
fn two_envs_on_one_member_never_overlap() {
    let backend = holding();
    let gateway = before(&[backend.url()], "10s", "");
    let mut clients = vec![call(&gateway, "a")];
    backend.wait_seen(1);
    // Its calls run together, and go on coming while another env waits.
    clients.push(call(&gateway, "a"));
    backend.wait_seen(2);
    for _ in 0..3 {
        clients.push(call(&gateway, "b"));
    }
    backend.assert_seen_stays(2, WATCHED);
    clients.push(call(&gateway, "a"));
    backend.wait_seen(3);
    for _ in 0..2 {
        backend.release(1);
        backend.assert_seen_stays(3, WATCHED);
    }
    backend.release(1);
    backend.wait_seen(6);
    assert_eq!(envs(&backend), ["a", "a", "a", "b", "b", "b"]);
    backend.release_all();
    for mut client in clients {
        client.read().assert_returned("1");
    }
}

#[test]
fn a_holder_that_has_had_its_slice_makes_way() {
    let backend = holding();
    let gateway = before(&[backend.url()], "1ms", "");
    let mut loads = call(&gateway, "a");
    backend.wait_seen(1);
    let mut other = call(&gateway, "b");
    // As long as it may be loading, its slice hasn't begun.
    backend.assert_seen_stays(1, WATCHED);
    let mut second = call(&gateway, "a");
    backend.wait_seen(2);
    backend.release(1);
    backend.wait_scripts_done(1);
    thread::sleep(WATCHED);
    let mut third = call(&gateway, "a");
    backend.assert_seen_stays(2, WATCHED);
    backend.release(1);
    backend.wait_seen(3);
    backend.assert_seen_stays(3, WATCHED);
    backend.release(1);
    other.read().assert_returned("1");
    backend.wait_seen(4);
    assert_eq!(envs(&backend), ["a", "a", "b", "a"]);
    backend.release_all();
    for client in [&mut loads, &mut second, &mut third] {
        client.read().assert_returned("1");
    }
}

#[test]
fn the_longest_wait_comes_first() {
    let backend = holding();
    let gateway = before(&[backend.url()], "10s", "");
    let mut clients = vec![call(&gateway, "a")];
    backend.wait_seen(1);
    for env in ["d", "c", "b"] {
        clients.push(call(&gateway, env));
        backend.assert_seen_stays(1, WATCHED);
    }
    for answered in 1..=3 {
        backend.release(1);
        backend.wait_seen(answered + 1);
    }
    assert_eq!(envs(&backend), ["a", "d", "c", "b"]);
    assert_eq!(backend.most_in_flight(), 1);
    backend.release_all();
    for mut client in clients {
        client.read().assert_returned("1");
    }
}

#[test]
fn a_busy_env_spreads_to_members_that_nobody_waits_for() {
    let (one, other) = (holding(), holding());
    let limits = "[admission]\nconcurrency = 40\n";
    let gateway = before(&[one.url(), other.url()], "10s", limits);
    let mut clients = Vec::new();
    for count in 1..=12 {
        clients.push(call(&gateway, "a"));
        eventually("the call is in flight", || {
            (one.seen().len() + other.seen().len() == count).then_some(())
        });
    }
    let mut counts = [one.seen().len(), other.seen().len()];
    counts.sort_unstable();
    assert_eq!(counts, [2, 10]);
    one.release_all();
    other.release_all();
    for mut client in clients {
        client.read().assert_returned("1");
    }
}

#[test]
fn who_leaves_gives_up_its_place() {
    let backend = Backend::start(vec![vec![ok("1")], vec![Step::Hold, ok("1")]]);
    let gateway = before(&[backend.url()], "1ms", "");
    call(&gateway, "a").read().assert_returned("1");
    let mut first = call(&gateway, "a");
    backend.wait_seen(2);
    let leaves = call(&gateway, "b");
    backend.assert_seen_stays(2, WATCHED);
    let mut second = call(&gateway, "a");
    backend.assert_seen_stays(2, WATCHED);
    drop(leaves);
    backend.wait_seen(3);
    assert_eq!(envs(&backend), ["a", "a", "a"]);
    backend.release_all();
    first.read().assert_returned("1");
    second.read().assert_returned("1");
}

#[test]
fn who_waits_over_the_deadline_is_told_so_and_makes_way() {
    let backend = holding();
    let timeout = "[gateway]\nrequest_timeout = \"400ms\"\n";
    let gateway = before(&[backend.url()], "1ms", timeout);
    let mut holder = call(&gateway, "a");
    backend.wait_seen(1);
    let mut waits = call(&gateway, "b");
    holder.read().assert_error(504, 4002);
    // Its time-out made the member idle: whoever waited may just have got it.
    let (status, number) = waits.read().outcome();
    assert!(matches!((status, number), (503, 2001) | (504, 4002)));
    backend.release_all();
    call(&gateway, "c").read().assert_returned("1");
}

fn with_code(env: &str, code: Option<&str>) -> Call {
    let call = Call::legacy(&format!("GAME={env}\n"));
    match code {
        Some(code) => call.header(RECIPE, code),
        None => call,
    }
}

#[test]
fn a_member_never_gets_a_second_code() {
    let members = [(); 2].map(|()| Backend::start(vec![vec![ok("1")]]));
    let urls: Vec<_> = members.iter().map(Backend::url).collect();
    let gateway = before(&urls, "10s", "");
    for n in 0..8 {
        let code = format!("http://code/{}", n % 2);
        let call = with_code(&n.to_string(), Some(&code));
        gateway.call(&call).assert_returned("1");
    }
    let refused = [None, Some("http://code/2")];
    for code in refused {
        gateway.call(&with_code("a", code)).assert_error(502, 4000);
    }
    for member in &members {
        let seen = member.seen();
        let codes: Vec<_> = seen
            .iter()
            .map(|seen| seen.message.header(RECIPE))
            .collect();
        assert_eq!(codes, [codes[0]; 4]);
    }
}

#[test]
fn a_call_without_code_goes_where_none_has_been() {
    let members = [(); 2].map(|()| Backend::start(vec![vec![ok("1")]]));
    let urls: Vec<_> = members.iter().map(Backend::url).collect();
    let gateway = before(&urls, "10s", "");
    gateway
        .call(&with_code("a", Some("http://code/1")))
        .assert_returned("1");
    for n in 0..4 {
        let call = with_code(&n.to_string(), None);
        gateway.call(&call).assert_returned("1");
    }
    let mut counts = members.map(|member| member.seen().len());
    counts.sort_unstable();
    assert_eq!(counts, [1, 4]);
}

#[test]
fn a_member_that_refused_takes_another_code() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("worker.sock");
    let start = |path: &Path| Backend::start_unix(path.to_owned(), vec![vec![ok("1")]]);
    let backend = start(&path);
    let config = format!(
        "[[backend]]\nname = \"b\"\nurls = [{:?}]\ndialect = \"legacy\"\none_env = true\n",
        backend.url()
    );
    let gateway = Gateway::start(&config);
    let [one, other] = ["http://code/1", "http://code/2"].map(|code| with_code("a", Some(code)));
    gateway.call(&one).assert_returned("1");
    gateway.call(&other).assert_error(502, 4000);
    drop(backend);
    std::fs::remove_file(&path).expect("the socket's path");
    // Only a call that goes there finds it down.
    eventually("the member refuses", || {
        (gateway.call(&one).outcome() == (502, 4000)).then_some(())
    });
    let _backend = start(&path);
    gateway.call(&other).assert_returned("1");
    gateway.call(&one).assert_error(502, 4000);
}

#[test]
fn a_member_that_is_well_again_takes_another_code() {
    let backend = Backend::start(vec![vec![ok("1")]]);
    let gateway = before(&[backend.url()], "10s", "");
    let [one, other] = ["http://code/1", "http://code/2"].map(|code| with_code("a", Some(code)));
    gateway.call(&one).assert_returned("1");
    let out = |count: u32| {
        eventually("the member changes", || {
            let metrics = gateway.get("/metrics").text();
            let line = format!("envgate_members{{backend=\"b\",state=\"out\"}} {count}");
            metrics.lines().any(|found| found == line).then_some(())
        });
    };
    backend.set_ill(true);
    out(1);
    // It wants to be restarted, and still has its code.
    gateway.call(&other).assert_error(502, 4000);
    backend.set_ill(false);
    out(0);
    gateway.call(&other).assert_returned("1");
    gateway.call(&one).assert_error(502, 4000);
}
