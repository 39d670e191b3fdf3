//! Many more envs than there may be processes.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};

use super::{Caller, gateway, processes, raise_descriptors, run, sample};
use crate::harness::{Call, Client, Message};

const ENVS: usize = 200;
const CLIENTS_PER_ENV: usize = 50;
const MAX_PROCESSES: usize = 20;

/// Each env's clients come together, one env after the other.
const BETWEEN_ENVS: Duration = Duration::from_millis(40);

/// How long clients come again after they were turned away.
const PATIENCE: Duration = Duration::from_secs(20);

/// When, in milliseconds: so that two slow cores come through with all who are turned away.
const COME_AGAIN: std::ops::Range<u64> = 2000..8000;

/// What a call may be told under pressure (CONTRACT 7).
const ALLOWED: [u32; 4] = [2000, 2001, 2002, 2003];

/// What a client has seen: answers by error number, 0 for a right one.
type Seen = BTreeMap<u32, usize>;

/// An env, and what its worker says of its variable.
struct Env {
    call: Call,
    digest: String,
}

impl Env {
    fn new(number: usize) -> Self {
        let value = format!("value of {number}");
        let hex = blake3::hash(value.as_bytes()).to_hex();
        let call = Call::legacy(&format!("NUMBER={number}\nMARK={value}\n"));
        let call = call.facet("EnvFacet").method("Digest");
        Self {
            call: call.arguments("[\"MARK\"]"),
            digest: hex.chars().take(12).collect(),
        }
    }

    fn assert_own(&self, answer: &Message) {
        assert_eq!(answer.status(), 200, "{}", answer.text());
        let json = answer.json();
        let told = json
            .at("returned")
            .and_then(|returned| returned.at("digest")?.text());
        assert_eq!(told, Some(&*self.digest), "another env's answer");
    }
}

/// Calls until it has one right answer, or its patience is over.
async fn insist(mut caller: Caller, env: &Env, until: Instant) -> Seen {
    let request = env.call.bytes();
    let mut seen = Seen::new();
    loop {
        let answer = caller.call(&request).await.expect("an answer");
        let (status, number) = answer.outcome();
        *seen.entry(number).or_default() += 1;
        if number == 0 {
            env.assert_own(&answer);
            return seen;
        }
        assert!(ALLOWED.contains(&number), "{status} {}", answer.text());
        let pause = Duration::from_millis(fastrand::u64(COME_AGAIN));
        if Instant::now() + pause > until {
            return seen;
        }
        sleep(pause).await;
    }
}

#[test]
fn envs_never_mix_and_processes_never_exceed_their_number() {
    // Each client has a descriptor here and one in the gateway, which needs some for its workers.
    let descriptors = raise_descriptors();
    let clients = CLIENTS_PER_ENV.min(descriptors.saturating_sub(1000) / ENVS);
    assert!(clients > 0, "too few descriptors: {descriptors}");
    let config =
        format!("[gateway]\nmax_connections = 12000\n[instances]\nmax = {MAX_PROCESSES}\n");
    let gateway = gateway(&config, &sample()).start();
    let count = processes::Count::begin(processes::inner(&gateway));
    let envs: Vec<_> = (0..ENVS).map(|number| Arc::new(Env::new(number))).collect();
    let (mut by_env, mut calls) = (vec![Seen::new(); ENVS], JoinSet::new());
    let took = run(PATIENCE * 3, async {
        let began = Instant::now();
        for (number, env) in envs.iter().enumerate() {
            for _ in 0..clients {
                let (env, address) = (Arc::clone(env), gateway.address().clone());
                calls.spawn(async move {
                    sleep(BETWEEN_ENVS * number as u32).await;
                    let caller = Caller::connect(&address).await.expect("connecting");
                    (number, insist(caller, &env, began + PATIENCE).await)
                });
            }
        }
        while let Some(done) = calls.join_next().await {
            let (number, seen) = done.unwrap();
            for (error, times) in seen {
                *by_env[number].entry(error).or_default() += times;
            }
        }
        began.elapsed()
    });
    let (most, looks) = count.end();
    let mut all = Seen::new();
    for (error, times) in by_env.iter().flatten() {
        *all.entry(*error).or_default() += times;
    }
    let metrics = gateway.metrics();
    let starts = metrics.sum("envgate_instance_starts_total");
    println!(
        "{ENVS} envs, {clients} clients each, {took:?}: answers by error number {all:?}, \
         {starts:?} starts, at most {most} processes in {looks} looks"
    );
    assert!(most <= MAX_PROCESSES, "{most} processes at once");
    assert!(most * 2 > MAX_PROCESSES, "only {most} processes: no load");
    let served = by_env.iter().filter(|seen| seen.contains_key(&0)).count();
    assert!(
        served > MAX_PROCESSES,
        "only {served} envs: none made room for another"
    );
    // Whoever was unlucky is served once the crowd has gone.
    let mut client = Client::connect(&gateway);
    for (env, _) in envs
        .iter()
        .zip(by_env)
        .filter(|(_, seen)| !seen.contains_key(&0))
    {
        env.assert_own(&client.call(&env.call));
    }
}
