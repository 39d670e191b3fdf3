//! The admin API of the real program, and the commands that ask it.

mod api;
mod commands;

use crate::harness::{Address, Client, Gateway, Json, Message};

const TOKEN: &str = "0123456789abcdef-token";

/// A gateway before the sample worker, its admin API on a free port.
fn gateway(more: &str) -> Gateway {
    Gateway::start(&format!("[admin]\nlisten = \"127.0.0.1:0\"\n{more}"))
}

fn client(gateway: &Gateway) -> Client {
    Client::connect_to(&Address::parse(
        gateway.admin().trim_start_matches("http://"),
    ))
}

/// Sends one request with these header lines.
#[track_caller]
fn ask(gateway: &Gateway, request: &str, headers: &str) -> Message {
    let mut client = client(gateway);
    client.send(format!("{request} HTTP/1.1\r\n{headers}\r\n"));
    client.read()
}

#[track_caller]
fn get(gateway: &Gateway, path: &str) -> Message {
    ask(gateway, &format!("GET {path}"), "Host: localhost\r\n")
}

#[track_caller]
fn assert_problem(answer: &Message, status: u16) {
    assert_eq!(answer.status(), status, "{}", answer.text());
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    let number = status.to_string();
    let json = answer.json();
    assert_eq!(
        json.at("status").and_then(Json::number),
        Some(number.as_str())
    );
    assert!(json.at("detail").and_then(Json::text).is_some());
}

/// The digests of all hot envs, in the order in which they came.
#[track_caller]
fn digests(gateway: &Gateway) -> Vec<String> {
    let rows = get(gateway, "/api/v1/instances?all=true").json();
    let digests = rows
        .items()
        .iter()
        .filter_map(|row| row.at("digest")?.text());
    digests.map(str::to_owned).collect()
}
