//! The admin API over a table whose processes the tests play: what it answers, what it refuses, and
//! that its description says so.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
};
use http::{Request, Response, StatusCode};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};

use super::{
    guard::{Guard, WayIn},
    routes::{Source, routes},
};
use crate::instances::{Stage, Table};

fn api(table: &Arc<Table>) -> Router {
    let names = Box::new(|backend| (backend == 1).then(|| "games".to_owned()));
    let table = Arc::clone(table);
    routes(Source { table, names }, Guard::new(WayIn::Open))
}

async fn ask_with(table: &Arc<Table>, method: &str, path: &str, body: Body) -> Response<Body> {
    let request = Request::builder().method(method).uri(path).body(body);
    let service = TowerToHyperService::new(api(table));
    service.call(request.unwrap()).await.unwrap()
}

/// Status, kind of the body, and the body.
async fn ask(table: &Arc<Table>, method: &str, path: &str) -> (u16, String, Value) {
    read(ask_with(table, method, path, Body::empty()).await).await
}

async fn read(answer: Response<Body>) -> (u16, String, Value) {
    let (head, body) = answer.into_parts();
    assert_eq!(head.headers["server"], "envgate");
    assert_eq!(head.headers["cache-control"], "no-store");
    let kind = head.headers["content-type"].to_str().unwrap().to_owned();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    (
        head.status.as_u16(),
        kind,
        serde_json::from_slice(&body).unwrap(),
    )
}

#[track_caller]
fn assert_problem((status, kind, body): (u16, String, Value), expected: u16) {
    assert_eq!(
        (status, kind.as_str()),
        (expected, "application/problem+json"),
        "{body}"
    );
    assert_eq!(body["status"], expected);
    assert_eq!(body["type"], "about:blank");
    let title = StatusCode::from_u16(expected).unwrap().canonical_reason();
    assert_eq!(body["title"].as_str(), title);
    assert!(!body["detail"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn instances_are_told_with_what_they_are_up_to() {
    let mut stage = Stage::new();
    let serving = stage.hot(1, "A=1");
    let _lease = stage.start(&serving, 4711).await;
    let failed = stage.hot(2, "A=2");
    stage.fail(&failed, "status 1").await;
    stage.hot(1, "A=3");
    let (status, kind, listed) = ask(&stage.table, "GET", "/api/v1/instances").await;
    assert_eq!((status, kind.as_str()), (200, "application/json"));
    let digest = |instance: &crate::instances::Instance| instance.env().unwrap().digest.to_string();
    let rows = json!([
        {
            "id": 1, "digest": digest(&serving), "backend": "games", "state": "ready",
            "generation": 1, "pid": 4711, "age_seconds": 0, "calls": 0, "in_flight": 1, "queue": 0,
            "rss_bytes": null, "last_error": null,
        },
        {
            "id": 2, "digest": digest(&failed), "backend": null, "state": "failed",
            "generation": 2, "pid": null, "age_seconds": null, "calls": 0, "in_flight": 0,
            "queue": 0, "rss_bytes": null, "last_error": "it ended by itself: status 1",
        },
    ]);
    assert_eq!(listed, rows);
    let (_, _, all) = ask(&stage.table, "GET", "/api/v1/instances?all=true").await;
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), 3);
    assert_eq!(
        (&all[2]["state"], &all[2]["generation"]),
        (&json!("absent"), &json!(0))
    );
    let (_, _, none) = ask(&stage.table, "GET", "/api/v1/instances?all=false").await;
    assert_eq!(none, rows);
}

#[tokio::test]
async fn draining_ends_in_the_process_being_gone() {
    let mut stage = Stage::new();
    let instance = stage.hot(1, "A=1");
    let lease = stage.start(&instance, 4711).await;
    let (status, _, row) = ask(&stage.table, "POST", "/api/v1/instances/1/drain").await;
    assert_eq!(status, 202);
    assert_eq!(row["state"], "draining");
    assert_eq!((&row["pid"], &row["in_flight"]), (&json!(4711), &json!(1)));
    assert_problem(
        ask(&stage.table, "POST", "/api/v1/instances/1/drain").await,
        409,
    );
    // The next call starts another beside the one that drains.
    let _next = stage.start(&instance, 4712).await;
    let (_, _, rows) = ask(&stage.table, "GET", "/api/v1/instances").await;
    let states: Vec<_> = rows.as_array().unwrap().iter().collect();
    let states: Vec<_> = states
        .iter()
        .map(|row| (&row["generation"], &row["state"]))
        .collect();
    assert_eq!(
        states,
        [
            (&json!(1), &json!("draining")),
            (&json!(2), &json!("ready"))
        ]
    );
    drop(lease);
    stage.end(&instance, 1);
    let (_, _, rows) = ask(&stage.table, "GET", "/api/v1/instances").await;
    assert_eq!(rows.as_array().unwrap().len(), 1);
    assert_eq!(rows[0]["pid"], 4712);
}

#[tokio::test]
async fn what_had_no_call_is_told_as_draining_although_it_is_gone() {
    let mut stage = Stage::new();
    let instance = stage.hot(1, "A=1");
    let lease = stage.start(&instance, 4711).await;
    drop(lease);
    let (status, _, row) = ask(&stage.table, "POST", "/api/v1/instances/1/drain").await;
    assert_eq!(
        (status, &row["state"], &row["pid"]),
        (202, &json!("draining"), &json!(4711))
    );
}

#[tokio::test]
async fn the_nearest_env_is_told_by_names() {
    let stage = Stage::new();
    let own = stage.hot(1, "A=geheim1\nB=2");
    let digest = own.env().unwrap().digest.to_string();
    let path = format!("/api/v1/explain?digest={digest}");
    let (status, _, alone) = ask(&stage.table, "GET", &path).await;
    assert_eq!((status, &alone["nearest"]), (200, &Value::Null));
    stage.hot(1, "A=geheim2\nC=3");
    let (_, _, nearest) = ask(
        &stage.table,
        "GET",
        &path
            .to_uppercase()
            .replace("/API/V1/EXPLAIN?DIGEST", "/api/v1/explain?digest"),
    )
    .await;
    assert_eq!(nearest["digest"], digest);
    assert_eq!(nearest["changed"], json!(["A"]));
    assert_eq!(nearest["only_here"], json!(["B"]));
    assert_eq!(nearest["only_there"], json!(["C"]));
    assert!(!nearest.to_string().contains("geheim"));
}

#[tokio::test]
async fn every_refusal_is_a_problem() {
    let stage = Stage::new();
    stage.hot(1, "A=1");
    for (method, path, status) in [
        ("GET", "/", 404),
        ("GET", "/api/v1", 404),
        ("GET", "/api/v1/instances/", 404),
        ("DELETE", "/api/v1/instances", 405),
        ("GET", "/api/v1/instances/1/drain", 405),
        ("POST", "/api/v1/openapi.json", 405),
        ("POST", "/api/v1/instances/x/drain", 400),
        ("POST", "/api/v1/instances/-1/drain", 400),
        ("POST", "/api/v1/instances/99999999999999999999/drain", 400),
        ("POST", "/api/v1/instances/%ff/drain", 400),
        ("POST", "/api/v1/instances/7/drain", 404),
        ("POST", "/api/v1/instances/1/drain", 409),
        ("GET", "/api/v1/instances?all=maybe", 400),
        ("GET", "/api/v1/instances?al=true", 400),
        ("GET", "/api/v1/explain", 400),
        ("GET", "/api/v1/explain?digest=", 400),
        ("GET", "/api/v1/explain?digest=12345678901", 400),
        ("GET", "/api/v1/explain?digest=12345678901g", 400),
        (
            "GET",
            "/api/v1/explain?digest=123456789012&digest=123456789012",
            400,
        ),
        ("GET", "/api/v1/explain?digest=000000000000", 404),
    ] {
        let answer = ask_with(&stage.table, method, path, Body::empty()).await;
        assert_eq!(
            answer.status() == 405,
            answer.headers().contains_key("allow")
        );
        assert_problem(read(answer).await, status);
    }
    let body = Body::from(vec![b'x'; 16 * 1024 + 1]);
    let large = ask_with(&stage.table, "GET", "/api/v1/instances", body).await;
    assert_problem(read(large).await, 413);
    let body = Body::from(vec![b'x'; 16 * 1024]);
    let small = ask_with(&stage.table, "GET", "/api/v1/instances", body).await;
    assert_eq!(small.status(), 200);
}

#[tokio::test]
async fn the_description_names_every_route_and_every_route_is_there() {
    let stage = Stage::new();
    let (status, kind, api) = ask(&stage.table, "GET", "/api/v1/openapi.json").await;
    assert_eq!((status, kind.as_str()), (200, "application/json"));
    let paths = api["paths"].as_object().unwrap();
    let routes = include_str!("routes.rs");
    let routed = routes.split(".route(").skip(1);
    let routed: BTreeSet<_> = routed.filter_map(|route| route.split('"').nth(1)).collect();
    assert_eq!(
        paths.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        routed
    );
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            let path = path.replace("{id}", "1");
            let answer = ask_with(&stage.table, &method.to_uppercase(), &path, Body::empty()).await;
            let answers = methods[method]["responses"].as_object().unwrap();
            assert_ne!(answer.status(), 405, "{method} {path}");
            assert!(
                answers.contains_key(answer.status().as_str()),
                "{method} {path}"
            );
        }
    }
}
