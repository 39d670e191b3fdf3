//! A crowd that comes before the process of its env is there.

use std::{fs, time::Duration};

use tokio::task::JoinSet;

use super::{connect, gateway, processes, raise_descriptors, run};
use crate::harness::{Call, PROGRAM, eventually};

const CLIENTS: usize = 1000;
const ENV: &str = "GAME=1\nWORKER_REQUEST_CONCURRENCY=null\n";

#[test]
fn a_thousand_first_callers_share_one_start() {
    raise_descriptors();
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("open");
    // It starts only once all wait for it; what a shell sets by itself isn't of its env.
    let script = format!(
        "until [ -e {} ]; do sleep 0.02; done; exec env -u PWD -u OLDPWD -u SHLVL -u _ {PROGRAM} \
         worker --listen inherit --framework 0.12.0",
        gate.display()
    );
    let backend =
        format!("name = \"b\"\ncommand = [\"sh\", \"-c\", {script:?}]\nlisten = \"inherit\"\n");
    let gateway = gateway("", &backend).start();
    let answers = run(Duration::from_secs(40), async {
        let mut calls = JoinSet::new();
        for (number, mut caller) in connect(&gateway, CLIENTS).await.into_iter().enumerate() {
            calls.spawn(async move {
                let call = Call::legacy(ENV).arguments(&format!("[{number}]"));
                (number, caller.call(&call.bytes()).await)
            });
        }
        let waiting = || gateway.metrics().sum("envgate_calls_waiting_for_start");
        while waiting() != Some(CLIENTS as f64) {
            assert!(
                calls.try_join_next().is_none(),
                "one was answered before there was a worker"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        fs::write(&gate, "").unwrap();
        calls.join_all().await
    });
    assert_eq!(answers.len(), CLIENTS);
    for (number, answer) in answers {
        answer.unwrap().assert_returned(&number.to_string());
    }
    let metrics = gateway.metrics();
    assert_eq!(metrics.sum("envgate_instance_starts_total"), Some(1.0));
    assert_eq!(
        metrics.sum("envgate_instance_exits_total").unwrap_or(0.0),
        0.0
    );
    assert_eq!(
        metrics.sum("envgate_start_wait_seconds_count"),
        Some(CLIENTS as f64)
    );
    let workers = eventually("the worker is alone", || {
        let workers = processes::instances(processes::inner(&gateway));
        (workers.len() == 1).then_some(workers)
    });
    let call = Call::legacy(ENV).facet("ProcessFacet").method("Pid");
    let answer = gateway.call(&call.arguments("[]"));
    answer.assert_returned(&workers[0].to_string());
}
