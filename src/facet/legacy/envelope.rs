//! The legacy request: read in one scan, passed on, or written anew.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;

use crate::facet::{
    call::{DecodeError, FacetCall, FacetName, FieldFault, MethodName},
    json::{JsonError, RawValue, Scanner},
    pieces::{Pieces, PiecesBuilder},
};

/// What the envelope's `env` is to the one who reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvField {
    /// Where the env comes from: it must be there.
    Required,
    /// Nothing: the env comes from elsewhere (CONTRACT 6).
    Ignored,
}

/// A legacy request.
#[derive(Debug, Clone)]
pub struct Envelope<'a> {
    /// The call in it.
    pub call: FacetCall<'a>,
    /// The env string as it was written, quotes and escapes and all: by these bytes an env that was
    /// seen before is found without reading them. `None` where it is ignored.
    pub env: Option<RawValue<'a>>,
    document: RawValue<'a>,
    env_place: Option<Range<usize>>,
}

/// Reads an envelope. Arguments are neither read nor copied.
///
/// # Errors
/// In this order: the body isn't JSON, it isn't an object, one of the seven fields is doubled (read
/// or not), `method`, `env`, `methodParameters` and what is in it.
pub fn decode(body: &[u8], env: EnvField) -> Result<Envelope<'_>, DecodeError> {
    let mut fields = Fields::default();
    let mut scanner = Scanner::request(body);
    let is_object = scanner
        .members(|scanner, key| fields.member(scanner, key))
        .map_err(DecodeError::Json)?;
    let document = scanner.finish().map_err(DecodeError::Json)?;
    if !is_object {
        return Err(DecodeError::wrong_type("the body", "an object"));
    }
    fields.refuse_doubled()?;
    if text("method", fields.method.required("method")?)? != "facet-call" {
        return Err(DecodeError::Method);
    }
    let env = match env {
        EnvField::Required => Some(string("env", fields.env.required("env")?)?),
        EnvField::Ignored => None,
    };
    Ok(Envelope {
        call: fields.call()?,
        env,
        document,
        env_place: fields.env_place,
    })
}

impl<'a> Envelope<'a> {
    /// What the env string says: what is parsed where its bytes are new. Empty where it is ignored.
    ///
    /// # Errors
    /// Where it holds a lone surrogate.
    pub fn env_text(&self) -> Result<Cow<'a, str>, DecodeError> {
        self.env
            .map_or(Ok(Cow::Borrowed("")), |env| text("env", env))
    }

    /// The envelope for a legacy backend: as it came (`source`), without its byte order mark and
    /// with raw control characters escaped. Where `env` (a JSON string) is given, it takes the
    /// place of the client's.
    #[must_use]
    pub fn pass(&self, source: &Bytes, env: Option<&Bytes>) -> Pieces {
        let Some(env) = env else {
            return self.document.to_bytes(source).into();
        };
        let mut body = PiecesBuilder::default();
        if let Some(place) = &self.env_place {
            body.value(&self.document.part(..place.start), source)
                .bytes(env)
                .value(&self.document.part(place.end..), source);
        } else {
            // Nothing but white space stands before the brace, and `method` stands behind it.
            let text = self.document.as_bytes();
            let brace = text.iter().take_while(|byte| **byte != b'{').count();
            body.value(&self.document.part(..=brace), source)
                .text("\"env\":")
                .bytes(env)
                .text(",")
                .value(&self.document.part(brace + 1..), source);
        }
        body.finish()
    }
}

/// The envelope for a call that came in the modern dialect. `source` is the buffer that the call
/// was read from, `env` a JSON string.
#[must_use]
pub fn encode_envelope(call: &FacetCall<'_>, source: &Bytes, env: &Bytes) -> Pieces {
    let mut body = PiecesBuilder::with_capacity(256 + PiecesBuilder::share_of(&call.arguments));
    body.text("{\"method\":\"facet-call\",\"env\":")
        .bytes(env)
        .text(",\"methodParameters\":{\"facetName\":")
        .string(call.facet.as_str())
        .text(",\"methodName\":")
        .string(call.method.as_str())
        .text(",\"arguments\":")
        .value(&call.arguments, source)
        .text(",\"sessionId\":");
    match &call.session {
        None => body.text("null"),
        Some(session) => body.string(session),
    };
    body.text("}}").finish()
}

/// The seven fields as the scan finds them. They are judged behind its end: a body that isn't JSON
/// is that before all else.
#[derive(Default)]
struct Fields<'a> {
    method: Field<'a>,
    env: Field<'a>,
    env_place: Option<Range<usize>>,
    parameters: Parameters,
    parameters_doubled: bool,
    facet_name: Field<'a>,
    method_name: Field<'a>,
    arguments: Field<'a>,
    session_id: Field<'a>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Parameters {
    #[default]
    Missing,
    Object,
    OtherType,
}

impl<'a> Fields<'a> {
    fn member(&mut self, scanner: &mut Scanner<'a>, key: &[u8]) -> Result<(), JsonError> {
        match key {
            b"method" => self.method.take(scanner.value()?),
            b"env" => {
                let env = scanner.value()?;
                let end = scanner.position();
                self.env_place = Some(end - env.as_bytes().len()..end);
                self.env.take(env);
            }
            b"methodParameters" if self.parameters != Parameters::Missing => {
                self.parameters_doubled = true;
                scanner.value()?;
            }
            b"methodParameters" => {
                let is_object = scanner.members(|scanner, key| self.parameter(scanner, key))?;
                self.parameters = if is_object {
                    Parameters::Object
                } else {
                    Parameters::OtherType
                };
            }
            _ => {
                scanner.value()?;
            }
        }
        Ok(())
    }

    fn parameter(&mut self, scanner: &mut Scanner<'a>, key: &[u8]) -> Result<(), JsonError> {
        let value = scanner.value()?;
        match key {
            b"facetName" => self.facet_name.take(value),
            b"methodName" => self.method_name.take(value),
            b"arguments" => self.arguments.take(value),
            b"sessionId" => self.session_id.take(value),
            _ => {}
        }
        Ok(())
    }

    fn refuse_doubled(&self) -> Result<(), DecodeError> {
        let doubled = [
            (self.method.doubled, "method"),
            (self.env.doubled, "env"),
            (self.parameters_doubled, "methodParameters"),
            (self.facet_name.doubled, "facetName"),
            (self.method_name.doubled, "methodName"),
            (self.arguments.doubled, "arguments"),
            (self.session_id.doubled, "sessionId"),
        ];
        match doubled.into_iter().find(|(doubled, _)| *doubled) {
            Some((_, field)) => Err(DecodeError::field(field, FieldFault::Doubled)),
            None => Ok(()),
        }
    }

    fn call(&self) -> Result<FacetCall<'a>, DecodeError> {
        const PARAMETERS: &str = "methodParameters";
        match self.parameters {
            Parameters::Object => {}
            Parameters::Missing => return Err(DecodeError::field(PARAMETERS, FieldFault::Missing)),
            Parameters::OtherType => return Err(DecodeError::wrong_type(PARAMETERS, "an object")),
        }
        let facet = text("facetName", self.facet_name.required("facetName")?)?;
        let facet = FacetName::new(facet).map_err(|e| DecodeError::name("facetName", e))?;
        let method = text("methodName", self.method_name.required("methodName")?)?;
        let method = MethodName::new(method).map_err(|e| DecodeError::name("methodName", e))?;
        let arguments = self.arguments.required("arguments")?;
        if !arguments.is_array() {
            return Err(DecodeError::wrong_type("arguments", "an array"));
        }
        let session = match self.session_id.value {
            None => None,
            Some(null) if null.is_null() => None,
            Some(id) if id.is_string() => Some(text("sessionId", id)?),
            Some(_) => return Err(DecodeError::wrong_type("sessionId", "a string or null")),
        };
        Ok(FacetCall {
            facet,
            method,
            arguments,
            session: session.filter(|id| !id.is_empty()),
        })
    }
}

#[derive(Default)]
struct Field<'a> {
    value: Option<RawValue<'a>>,
    doubled: bool,
}

impl<'a> Field<'a> {
    fn take(&mut self, value: RawValue<'a>) {
        self.doubled |= self.value.is_some();
        self.value = Some(value);
    }

    fn required(&self, field: &'static str) -> Result<RawValue<'a>, DecodeError> {
        self.value
            .ok_or(DecodeError::field(field, FieldFault::Missing))
    }
}

fn string<'a>(field: &'static str, value: RawValue<'a>) -> Result<RawValue<'a>, DecodeError> {
    if value.is_string() {
        Ok(value)
    } else {
        Err(DecodeError::wrong_type(field, "a string"))
    }
}

fn text<'a>(field: &'static str, value: RawValue<'a>) -> Result<Cow<'a, str>, DecodeError> {
    string(field, value)?
        .decode_string()
        .map_err(|_| DecodeError::LoneSurrogate { field })
}
