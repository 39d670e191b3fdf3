//! The two dialects, as a worker reads and writes them (CONTRACT 2 to 5).

use std::time::{Duration, SystemTime};

use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{CONTENT_TYPE, COOKIE, SET_COOKIE},
    request::Parts,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use super::{
    facets::{Answer, Exception, Log, Outcome},
    serve::Refusal,
};
use crate::facet::Dialect;

const REQUEST_KIND: &str = "x-unisave-request";
const ERROR_RESPONSE: &str = "x-unisave-error-response";
const SESSION_COOKIE: &str = "unisave_session_id=";
const SESSION_LIFE: Duration = Duration::from_secs(3600);
/// All but these are escaped in a cookie.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A facet call, free of any dialect.
pub(super) struct Call {
    pub(super) facet: String,
    pub(super) method: String,
    pub(super) arguments: Vec<Box<RawValue>>,
    pub(super) session: Option<String>,
    pub(super) vars: Vars,
}

/// Where the variables of a call are.
pub(super) enum Vars {
    /// In the worker's own environment.
    Own,
    /// In this env string.
    Text(String),
}

const fn bad(reason: &'static str) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, reason)
}

/// `POST /{facet}/{method}`.
pub(super) fn read_modern(head: &Parts, body: &[u8]) -> Result<Call, Refusal> {
    #[derive(Deserialize)]
    struct ModernBody {
        arguments: Vec<Box<RawValue>>,
    }
    let nothing_here = Refusal(
        StatusCode::NOT_FOUND,
        "only POST /{facet}/{method} is served",
    );
    let kind = head.headers.get(REQUEST_KIND).ok_or(nothing_here)?;
    if kind != "Facet" {
        let reason = "only X-Unisave-Request: Facet is known";
        return Err(Refusal(StatusCode::UNPROCESSABLE_ENTITY, reason));
    }
    let names = head
        .uri
        .path()
        .strip_prefix('/')
        .and_then(|path| path.split_once('/'));
    let (facet, method) = names
        .filter(|(_, method)| head.method == Method::POST && !method.contains('/'))
        .ok_or(nothing_here)?;
    let name = |segment| {
        let decoded = percent_decode_str(segment).decode_utf8();
        decoded
            .map(String::from)
            .map_err(|_| bad("a name isn't UTF-8"))
    };
    let body: ModernBody =
        serde_json::from_slice(body).map_err(|_| bad("the body isn't {\"arguments\":[…]}"))?;
    Ok(Call {
        facet: name(facet)?,
        method: name(method)?,
        arguments: body.arguments,
        session: session_of(&head.headers),
        vars: Vars::Own,
    })
}

fn session_of(headers: &HeaderMap) -> Option<String> {
    let cookies = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let id = cookies
        .flat_map(|value| value.split(';'))
        .find_map(|cookie| cookie.trim().strip_prefix(SESSION_COOKIE))?;
    let decoded = percent_decode_str(id).decode_utf8().ok()?;
    (!decoded.is_empty()).then(|| decoded.into_owned())
}

/// The envelope in `POST /`.
pub(super) fn read_legacy(head: &Parts, body: &[u8]) -> Result<Call, Refusal> {
    #[derive(Deserialize)]
    struct Envelope {
        method: String,
        env: String,
        #[serde(rename = "methodParameters")]
        parameters: Parameters,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Parameters {
        facet_name: String,
        method_name: String,
        arguments: Vec<Box<RawValue>>,
        #[serde(default)]
        session_id: Option<String>,
    }
    if head.headers.contains_key(REQUEST_KIND) {
        let reason = "this worker speaks legacy, not the new API";
        return Err(Refusal(StatusCode::UNPROCESSABLE_ENTITY, reason));
    }
    if head.method != Method::POST || head.uri.path() != "/" {
        return Err(Refusal(StatusCode::NOT_FOUND, "only POST / is served"));
    }
    let envelope: Envelope =
        serde_json::from_slice(body).map_err(|_| bad("the body isn't an envelope"))?;
    if envelope.method != "facet-call" {
        return Err(bad("the method isn't facet-call"));
    }
    Ok(Call {
        facet: envelope.parameters.facet_name,
        method: envelope.parameters.method_name,
        arguments: envelope.parameters.arguments,
        session: envelope.parameters.session_id.filter(|id| !id.is_empty()),
        vars: Vars::Text(envelope.env),
    })
}

#[derive(Serialize)]
struct ModernAnswer<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    returned: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exception: Option<Value>,
    #[serde(rename = "isKnownException", skip_serializing_if = "Option::is_none")]
    is_known_exception: Option<bool>,
    logs: &'a [Log],
}

#[derive(Serialize)]
struct LegacyAnswer<'a> {
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    returned: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exception: Option<Value>,
    special: Special<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Special<'a> {
    session_id: Option<&'a str>,
    logs: &'a [Log],
    execution_duration: f64,
}

impl Answer {
    /// The answer in a dialect, to a call that took so long.
    pub(super) fn write(
        &self,
        dialect: Dialect,
        took: Duration,
    ) -> Result<Response<String>, Refusal> {
        let (status, returned, thrown) = match &self.outcome {
            Outcome::Returned(value) => ("ok", Some(&**value), None),
            Outcome::Thrown(exception) => ("exception", None, Some(exception)),
            Outcome::Crashed(exception) => {
                let mut response = json_response(&json!({ "exception": exception.to_json() }))?;
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                let headers = response.headers_mut();
                headers.insert(ERROR_RESPONSE, HeaderValue::from_static("1.0"));
                return Ok(response);
            }
        };
        let exception = thrown.map(Exception::to_json);
        let session_id = self.session.as_deref();
        match dialect {
            Dialect::Modern => {
                let mut response = json_response(&ModernAnswer {
                    status,
                    returned,
                    exception,
                    is_known_exception: thrown.map(|exception| exception.known),
                    logs: &self.logs,
                })?;
                if let Some(id) = session_id {
                    response
                        .headers_mut()
                        .insert(SET_COOKIE, session_cookie(id)?);
                }
                Ok(response)
            }
            Dialect::Legacy => json_response(&LegacyAnswer {
                result: status,
                returned,
                exception,
                special: Special {
                    session_id,
                    logs: &self.logs,
                    execution_duration: took.as_secs_f64(),
                },
            }),
        }
    }
}

impl Exception {
    /// As .NET serialises one.
    fn to_json(&self) -> Value {
        json!({
            "ClassName": self.class,
            "Message": self.message,
            "Data": null,
            "InnerException": null,
            "HelpURL": null,
            "StackTraceString": "   at envgate.worker",
            "RemoteStackTraceString": null,
            "RemoteStackIndex": 0,
            "ExceptionMethod": null,
            "HResult": -2_146_233_088,
            "Source": "envgate",
            "WatsonBuckets": null,
        })
    }
}

const OUR_FAULT: Refusal = Refusal(
    StatusCode::INTERNAL_SERVER_ERROR,
    "the answer can't be written",
);

fn json_response(answer: &impl Serialize) -> Result<Response<String>, Refusal> {
    let mut response = Response::new(serde_json::to_string(answer).map_err(|_| OUR_FAULT)?);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

fn session_cookie(id: &str) -> Result<HeaderValue, Refusal> {
    let id = utf8_percent_encode(id, PLAIN);
    let expires = httpdate::fmt_http_date(SystemTime::now() + SESSION_LIFE);
    let cookie = format!("{SESSION_COOKIE}{id}; path=/; expires={expires}; HttpOnly");
    HeaderValue::from_str(&cookie).map_err(|_| OUR_FAULT)
}
