//! The conformance cases of `fixtures/conformance`, and the recorded exchanges of the reference
//! worker, sent through a running gateway.

mod case;
mod compare;

use crate::harness::{Backend, Client, Gateway, Program, Setup, ok};

pub(crate) use case::Case;

/// Runs cases one by one against one gateway; fails with all that differs.
#[track_caller]
fn run(cases: &[Case], setup: Setup, backend: &Backend) {
    let gateway = setup.start();
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| failure(case, &gateway, backend))
        .collect();
    let (failed, all) = (failures.len(), cases.len());
    assert!(
        failures.is_empty(),
        "{failed} of {all} cases fail:\n{}",
        failures.join("\n")
    );
}

fn failure(case: &Case, gateway: &Gateway, backend: &Backend) -> Option<String> {
    backend.rewrite(vec![case.reply.clone()]);
    let mut client = Client::connect(gateway);
    let sent = client.try_send(&case.request);
    let answer = client.try_read(std::time::Instant::now() + crate::harness::DEADLINE);
    let mut differences = Vec::new();
    if !sent {
        differences.push("client: the gateway ended the connection under the request".to_owned());
    }
    match answer {
        Ok(Some(answer)) => differences.extend(case.response.differences(&answer)),
        Ok(None) => differences.push("client: no answer".to_owned()),
        Err(broken) => differences.push(format!("client: {broken:?}")),
    }
    let seen = backend.seen();
    match (&case.backend, seen.as_slice()) {
        (None, []) => {}
        (None, [first, ..]) => {
            differences.push(format!(
                "the backend saw {:?}, not nothing",
                first.message.start
            ));
        }
        (Some(expected), [one]) => differences.extend(expected.differences(&one.message)),
        (Some(_), seen) => {
            differences.push(format!("the backend saw {} requests, want 1", seen.len()));
        }
    }
    (!differences.is_empty()).then(|| format!("{}: {}", case.name, differences.join("; ")))
}

/// One upstream backend; what `[[backend]]` says beyond its name and member, and other tables.
fn one_backend(backend: &Backend, more: &str, tables: &str) -> Setup {
    let url = backend.url();
    Setup::new(&format!(
        "{tables}\n[[backend]]\nname = \"b\"\nurls = [{url:?}]\n{more}\n"
    ))
}

fn run_file(text: &str, more: &str, tables: &str) {
    let backend = Backend::start(vec![vec![ok("null")]]);
    run(
        &Case::file(text),
        one_backend(&backend, more, tables),
        &backend,
    );
}

const FRAMEWORK_0_12_0: &str = "framework = \"0.12.0\"";
const MIB: &str = "[gateway]\nmax_request_body = \"1MiB\"";
const FALLBACK: &str = "[env]\nfallback = \"deployment\"";

macro_rules! cases {
    ($name:literal) => {
        include_str!(concat!(
            "../../../fixtures/conformance/cases/",
            $name,
            ".json"
        ))
    };
}

pub(crate) const REQUEST: &str = cases!("request");
pub(crate) const REFUSED: &str = cases!("refused");
pub(crate) const REPLY: &str = cases!("reply");
const MODERN_CLIENT: &str = cases!("modern-client");
const LEGACY_BACKEND: &str = cases!("legacy-backend");
const PROCESS_ENV: &str = cases!("process-env");
const RELAY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/conformance/relay.py");
const RECORDED: &str = include_str!("../../../fixtures/conformance/recorded-worker.jsonl");

#[test]
fn requests_are_translated() {
    run_file(REQUEST, FRAMEWORK_0_12_0, MIB);
}

#[test]
fn bad_requests_are_refused() {
    run_file(REFUSED, FRAMEWORK_0_12_0, MIB);
}

#[test]
fn replies_are_translated() {
    run_file(REPLY, FRAMEWORK_0_12_0, MIB);
}

#[test]
fn modern_clients_pass_through() {
    run_file(MODERN_CLIENT, FRAMEWORK_0_12_0, MIB);
}

#[test]
fn old_frameworks_get_the_envelope() {
    run_file(LEGACY_BACKEND, "framework = \"0.10.2\"", FALLBACK);
}

#[test]
fn workers_of_the_legacy_dialect_get_the_envelope() {
    let more = format!("{FRAMEWORK_0_12_0}\ndialect = \"legacy\"");
    run_file(LEGACY_BACKEND, &more, FALLBACK);
}

#[test]
fn variables_become_a_processs_own() {
    let backend = Backend::start(vec![vec![ok("null")]]);
    let url = backend.url();
    let (_, port) = url.rsplit_once(':').expect("a port");
    let command = [&Program::interpreter(), RELAY, "{port}", port];
    let config = format!("[[backend]]\nname = \"b\"\ncommand = {command:?}\n");
    let setup = Setup::new(&config).variable("PATH", "/usr/bin:/bin");
    run(&Case::file(PROCESS_ENV), setup, &backend);
}

#[test]
fn recorded_exchanges_are_reproduced() {
    let backend = Backend::start(vec![vec![ok("null")]]);
    let cases: Vec<Case> = Case::recorded(RECORDED);
    assert_eq!(cases.len(), 240);
    run(
        &cases,
        one_backend(&backend, FRAMEWORK_0_12_0, MIB),
        &backend,
    );
}
