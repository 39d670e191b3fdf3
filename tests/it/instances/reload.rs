//! SIGHUP: changed backends get new processes, the others keep theirs, and no call fails of it.

use super::*;
use crate::harness::signal;

/// Two backends: `kept` for envs with `KEPT`, and `b` with these variables of its own.
fn config(own: &str) -> String {
    let kept = sample("when = { env = { KEPT = \"?\" } }").replace("\"b\"", "\"kept\"");
    let b = sample(&format!("env = {{ OWN = {own:?} }}"));
    format!("[gateway]\nlisten = [\"127.0.0.1:0\"]\nthreads = 2\n{kept}{b}")
}

#[track_caller]
fn reload(bench: &Bench, config: &str, said: &str, times: usize) {
    bench.gateway.rewrite_config(config);
    signal(bench.gateway.pid(), "HUP");
    bench
        .gateway
        .wait_stderr(said, |log| log.matches(said).count() == times);
}

const FOLLOWED: &str = "the new configuration is in force";

#[test]
fn changed_backends_get_new_processes_and_the_others_keep_theirs() {
    let bench = Bench::start(&config("one"));
    let kept = bench.pid("KEPT=1\n");
    let before = bench.pid("A=1\n");
    let pids = bench.under_load("A=1\n", |seen| {
        reload(&bench, &config("two"), FOLLOWED, 1);
        eventually("another serves", || {
            seen.has_other_than(before).then_some(())
        });
        bench.wait_gone(before);
    });
    assert_eq!(pids.len(), 2);
    assert_eq!(bench.pid("KEPT=1\n"), kept);
    let json = bench.call("A=1\n", "EnvFacet/Digest", "[\"OWN\"]").json();
    let told = json
        .at2("returned", "digest")
        .and_then(crate::harness::Json::text);
    let expected = blake3::hash(b"two").to_hex();
    assert_eq!(told, Some(&expected[..12]));
    bench.finish();
}

#[test]
fn a_configuration_that_changes_nothing_or_is_wrong_ends_nothing() {
    let bench = Bench::start(&config("one"));
    let envs = ["KEPT=1\n", "A=1\n"];
    let before = envs.map(|env| bench.pid(env));
    let pids = bench.under_load("A=1\n", |_| {
        reload(&bench, &config("one"), FOLLOWED, 1);
        let wrong = [
            "this is no TOML",
            "[[backend]]\nname = \"b\"\ncommand = []\n",
        ];
        for (index, wrong) in wrong.into_iter().enumerate() {
            reload(
                &bench,
                wrong,
                "the configuration stays as it was",
                index + 1,
            );
        }
        let unknown = config("two").replace("OWN", "A=B");
        reload(&bench, &unknown, "the configuration stays as it was", 3);
        let nobody = config("two") + "user = \"no-such-user\"\n";
        reload(&bench, &nobody, "the configuration stays as it was", 4);
    });
    assert_eq!(pids, BTreeSet::from([before[1]]));
    assert_eq!(envs.map(|env| bench.pid(env)), before);
    bench.finish();
}

#[test]
fn a_call_under_way_is_finished_by_the_old_process() {
    // It ends at once on SIGTERM, whatever it is at.
    let script = "def call(c, path, body):\n  \
                  if path == '/TimeFacet/Sleep': time.sleep(1)\n  \
                  returned(c, os.getpid())\n\
                  run(inherited())";
    let config = |own: &str| python(script, &format!("env = {{ OWN = {own:?} }}"));
    let bench = Bench::start(&config("one"));
    let before = bench.pid("A=1\n");
    let mut slow = Client::connect(&bench.gateway);
    slow.send(call("A=1\n", "TimeFacet/Sleep", "[]").bytes());
    eventually("it is under way", || {
        let in_flight = bench.gateway.metrics().sum("envgate_calls_in_flight");
        (in_flight == Some(1.0)).then_some(())
    });
    reload(&bench, &config("two"), FOLLOWED, 1);
    let after = bench.pid("A=1\n");
    assert_ne!(before, after);
    assert!(is_there(before), "it has a call");
    assert_eq!(returned_pid(&slow.read()), before);
    bench.wait_gone(before);
    bench.finish();
}

#[test]
fn limits_follow_without_a_new_process() {
    let bench = Bench::start(&config("one"));
    let before = bench.pid("A=1\n");
    let shorter = format!("[instances]\nidle_timeout = \"1s\"\n{}", config("one"));
    reload(&bench, &shorter, FOLLOWED, 1);
    bench.wait_gone(before);
    bench.finish();
}
