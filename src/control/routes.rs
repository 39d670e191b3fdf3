//! The routes of the admin API.

use std::{fmt, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{
        Path, Query, Request, State,
        rejection::{PathRejection, QueryRejection},
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{
    HeaderValue, Method, StatusCode, Uri,
    header::{CACHE_CONTROL, SERVER, X_CONTENT_TYPE_OPTIONS},
};
use serde::Deserialize;
use tokio::time::timeout;
use utoipa::IntoParams;

use super::{
    answers::{Nearest, Row, RowState},
    guard::Guard,
    openapi,
    problem::{Problem, json},
};
use crate::instances::{DrainError, InstanceView, State as RunState, Table};

/// No request needs a body; what comes is read and forgotten, if it is no more than this.
const MAX_BODY: usize = 16 * 1024;
/// How long a body may take.
const BODY_TIME: Duration = Duration::from_secs(5);
/// Digits of an env's digest.
const DIGITS: usize = 12;

/// Tells a backend's name by its number.
pub(super) type Names = Box<dyn Fn(u64) -> Option<String> + Send + Sync>;

/// What the answers come from.
pub(super) struct Source {
    pub(super) table: Arc<Table>,
    pub(super) names: Names,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

impl Source {
    fn row(&self, view: InstanceView) -> Row {
        let name = (self.names)(view.backend);
        Row::new(view, name)
    }
}

/// Every route behind the guard.
pub(super) fn routes(source: Source, guard: Guard) -> Router {
    let api = openapi::description();
    Router::new()
        .route("/api/v1/instances", get(instances))
        .route("/api/v1/instances/{id}/drain", post(drain))
        .route("/api/v1/explain", get(explain))
        .route(
            "/api/v1/openapi.json",
            get(async move || openapi::openapi(api)),
        )
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::new(source))
        // The last is the outermost: every answer is marked, and only who is let in may send a
        // body.
        .layer(axum::middleware::from_fn(read_body))
        .layer(from_fn_with_state(Arc::new(guard), let_in))
        .layer(axum::middleware::map_response(mark))
}

async fn let_in(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.refuse(request.uri(), request.headers()) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    }
}

async fn read_body(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    match timeout(BODY_TIME, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(_)) => next.run(Request::from_parts(head, Body::empty())).await,
        Ok(Err(_)) => {
            let detail = format!("no request needs a body, let alone one over {MAX_BODY} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail).into_response()
        }
        Err(_) => {
            let detail = "the body wasn't there in time";
            Problem::new(StatusCode::REQUEST_TIMEOUT, detail).into_response()
        }
    }
}

/// Commands know by `Server` whom they have reached; what is true now isn't to be kept.
async fn mark(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("envgate"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn unknown(uri: Uri) -> Problem {
    let detail = format!(
        "there is no {}; GET /api/v1/openapi.json lists what there is",
        uri.path()
    );
    Problem::new(StatusCode::NOT_FOUND, detail)
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let detail = format!(
        "{} doesn't take {method}; Allow says what it does",
        uri.path()
    );
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}

/// Which instances are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Listed {
    /// Also those that never had a process: every hot env, at backends with workers of their own
    /// too.
    #[serde(default)]
    all: bool,
}

/// The instances that have a process or had one.
#[utoipa::path(
    get,
    path = "/api/v1/instances",
    params(Listed),
    responses(
        (status = 200, description = "by number; an instance whose old process drains beside a \
            new one comes twice", body = [Row]),
        (status = 400, description = "a parameter is wrong", body = Problem,
            content_type = "application/problem+json"),
    )
)]
async fn instances(
    State(source): State<Arc<Source>>,
    listed: Result<Query<Listed>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(listed) = listed.map_err(|rejection| bad_request(rejection.body_text()))?;
    let views = source.table.list().into_iter();
    let views = views.filter(|view| listed.all || view.ever_ran());
    let rows: Vec<Row> = views.map(|view| source.row(view)).collect();
    Ok(json(StatusCode::OK, &rows))
}

/// Retires an instance's process: calls under way are finished, the next one starts another.
#[utoipa::path(
    post,
    path = "/api/v1/instances/{id}/drain",
    params(("id" = u64, Path, description = "the instance's number")),
    responses(
        (status = 202, description = "what drains now", body = Row),
        (status = 400, description = "that is no number", body = Problem,
            content_type = "application/problem+json"),
        (status = 404, description = "there is no such instance", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "it has no process that could drain", body = Problem,
            content_type = "application/problem+json"),
    )
)]
async fn drain(
    State(source): State<Arc<Source>>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(id) = id.map_err(|_| bad_request("an instance's number is a whole number from 1"))?;
    let before = alive(&source.table, id);
    source.table.drain(id).map_err(|error| match error {
        DrainError::Unknown(_) => Problem::new(StatusCode::NOT_FOUND, error.to_string()),
        DrainError::NoProcess(_) => Problem::new(StatusCode::CONFLICT, error.to_string()),
    })?;
    tracing::info!(
        instance = id,
        "an instance is drained, as the admin API was asked to"
    );
    let mut rows = alive(&source.table, id)
        .into_iter()
        .chain(before)
        .map(|view| source.row(view));
    let Some(mut row) = rows.next() else {
        // It began to start and was gone in between.
        let gone = DrainError::NoProcess(id).to_string();
        return Err(Problem::new(StatusCode::CONFLICT, gone));
    };
    // What has no calls may be gone by now: it is told as it was.
    if row.state == RowState::Ready {
        row.state = RowState::Draining;
    }
    Ok(json(StatusCode::ACCEPTED, &row))
}

/// The instance's process that was started last, as long as there is one.
fn alive(table: &Table, id: u64) -> Option<InstanceView> {
    let views = table.list().into_iter();
    views
        .filter(|view| view.id == id && view.is_alive())
        .max_by_key(|view| (view.generation, view.state == RunState::Draining))
}

/// The env to explain.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Explained {
    /// The env's digest, as the access log and the list of instances show it.
    #[param(pattern = "^[0-9a-fA-F]{12}$", example = "2913c3455e08")]
    digest: String,
}

/// Which variables of a hot env differ from the hot env nearest to it. Values are never told.
#[utoipa::path(
    get,
    path = "/api/v1/explain",
    params(Explained),
    responses(
        (status = 200, description = "names of variables", body = Nearest),
        (status = 400, description = "a parameter is wrong", body = Problem,
            content_type = "application/problem+json"),
        (status = 404, description = "no such env is hot", body = Problem,
            content_type = "application/problem+json"),
    )
)]
async fn explain(
    State(source): State<Arc<Source>>,
    explained: Result<Query<Explained>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(explained) = explained.map_err(|rejection| bad_request(rejection.body_text()))?;
    let digest = explained.digest.to_ascii_lowercase();
    if digest.len() != DIGITS || !digest.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(bad_request("a digest is 12 hex digits, like 2913c3455e08"));
    }
    let Some(difference) = source.table.nearest(&digest) else {
        let detail = format!(
            "no env with the digest {digest} is hot; \
             GET /api/v1/instances?all=true lists those that are"
        );
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    };
    Ok(json(StatusCode::OK, &Nearest::new(digest, difference)))
}

fn bad_request(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}
