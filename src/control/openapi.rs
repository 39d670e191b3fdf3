//! The description of the admin API, made from its routes.

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderValue, header::CONTENT_TYPE};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        ContentBuilder, Ref, ResponseBuilder,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{problem::Problem, routes};

/// The description as JSON.
pub(super) fn description() -> Bytes {
    // It is made of constants and so can always be written.
    Bytes::from(Api::openapi().to_pretty_json().unwrap_or_default())
}

/// This description.
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
pub(super) fn openapi(api: Bytes) -> Response {
    let mut response = Response::new(Body::from(api));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "envgate admin API",
        description = "What a gateway's instances are up to. Every refusal is a problem \
            (RFC 9457). Where the gateway has an admin.token_file, every request must bring its \
            token, or is answered 401; where it hasn't, a request whose Host is no loopback name \
            is answered 421, and one of a web page (Origin) 403. Bodies over 16 KiB are answered \
            413. A connection serves one request."
    ),
    paths(
        routes::instances,
        routes::drain,
        routes::explain,
        openapi
    ),
    components(schemas(Problem)),
    modifiers(&Common),
    security((), ("token" = []))
)]
struct Api;

/// What every route has in common: the token, where there is one (RFC 6750), and the form of a
/// refusal, whatever its status.
struct Common;

impl Modify for Common {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
        let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
        let refusal = ResponseBuilder::new()
            .description("it isn't let in, or isn't as a request should be")
            .content("application/problem+json", problem.build())
            .build();
        for path in openapi.paths.paths.values_mut() {
            for operation in path.get.iter_mut().chain(&mut path.post) {
                let responses = &mut operation.responses.responses;
                responses.insert("default".to_owned(), refusal.clone().into());
            }
        }
    }
}
