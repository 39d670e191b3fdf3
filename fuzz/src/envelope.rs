//! What a legacy request says (CONTRACT 2).

use envgate::facet::{DecodeError, FacetName, FieldFault, MethodName};

use crate::oracle::{all, is_string, members, text};

/// A call, with its raw values as they stand in the strict text.
pub struct Call<'a> {
    /// `facetName`.
    pub facet: String,
    /// `methodName`.
    pub method: String,
    /// `arguments`, raw.
    pub arguments: &'a str,
    /// `sessionId`.
    pub session: Option<String>,
    /// `env`, raw.
    pub env: Option<&'a str>,
}

/// Reads the strict form of a body that is JSON and not nested too deeply.
///
/// # Errors
///
/// The first of what the contract refuses, in the order that `legacy::decode` promises.
pub fn read(json: &str, env_required: bool) -> Result<Call<'_>, DecodeError> {
    let Some(envelope) = members(json) else {
        return Err(wrong_type("the body", "an object"));
    };
    let parameters = all(&envelope, "methodParameters");
    let inner = parameters.first().and_then(|object| members(object));
    let inner = inner.unwrap_or_default();
    for (object, field) in [
        (&envelope, "method"),
        (&envelope, "env"),
        (&envelope, "methodParameters"),
        (&inner, "facetName"),
        (&inner, "methodName"),
        (&inner, "arguments"),
        (&inner, "sessionId"),
    ] {
        if all(object, field).len() > 1 {
            return Err(fault(field, FieldFault::Doubled));
        }
    }

    if string("method", all(&envelope, "method").first())? != "facet-call" {
        return Err(DecodeError::Method);
    }
    let env = match all(&envelope, "env").first() {
        None if env_required => return Err(fault("env", FieldFault::Missing)),
        Some(env) if env_required && !is_string(env) => return Err(wrong_type("env", "a string")),
        env => env.filter(|_| env_required).copied(),
    };
    match parameters.first() {
        None => return Err(fault("methodParameters", FieldFault::Missing)),
        Some(object) if !object.starts_with('{') => {
            return Err(wrong_type("methodParameters", "an object"));
        }
        Some(_) => {}
    }
    let facet = string("facetName", all(&inner, "facetName").first())?;
    if let Err(error) = FacetName::new(&*facet) {
        return Err(fault("facetName", FieldFault::Name(error)));
    }
    let method = string("methodName", all(&inner, "methodName").first())?;
    if let Err(error) = MethodName::new(&*method) {
        return Err(fault("methodName", FieldFault::Name(error)));
    }
    let arguments = match all(&inner, "arguments").first() {
        None => return Err(fault("arguments", FieldFault::Missing)),
        Some(array) if array.starts_with('[') => *array,
        Some(_) => return Err(wrong_type("arguments", "an array")),
    };
    let session = match all(&inner, "sessionId").first() {
        None | Some(&"null") => None,
        Some(id) if is_string(id) => Some(string("sessionId", Some(id))?),
        Some(_) => return Err(wrong_type("sessionId", "a string or null")),
    };
    Ok(Call {
        facet,
        method,
        arguments,
        session: session.filter(|id| !id.is_empty()),
        env,
    })
}

fn string(field: &'static str, value: Option<&&str>) -> Result<String, DecodeError> {
    let value = value.ok_or(fault(field, FieldFault::Missing))?;
    if !is_string(value) {
        return Err(wrong_type(field, "a string"));
    }
    text(value).ok_or(DecodeError::LoneSurrogate { field })
}

const fn fault(field: &'static str, fault: FieldFault) -> DecodeError {
    DecodeError::Field { field, fault }
}

const fn wrong_type(field: &'static str, expected: &'static str) -> DecodeError {
    fault(field, FieldFault::Type(expected))
}
