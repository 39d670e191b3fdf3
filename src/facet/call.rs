//! The facet call, free of any dialect, and why a request isn't one.

use std::{borrow::Cow, fmt};

use super::json::{JsonError, RawValue};

/// The longest name of a facet or method, in bytes (CONTRACT 3).
const MAX_NAME_LEN: usize = 1024;

/// One remote procedure call: what both dialects carry.
#[derive(Clone)]
pub struct FacetCall<'a> {
    /// The class.
    pub facet: FacetName<'a>,
    /// Its method.
    pub method: MethodName<'a>,
    /// A JSON array, as the client wrote it.
    pub arguments: RawValue<'a>,
    /// The session it belongs to; never empty.
    pub session: Option<Cow<'a, str>>,
}

/// Leaves the session out: who knows it, is the player.
impl fmt::Debug for FacetCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FacetCall")
            .field("facet", &self.facet)
            .field("method", &self.method)
            .field("arguments", &self.arguments)
            .field("session", &self.session.as_ref().map(|_| "***"))
            .finish()
    }
}

/// The name of a class, fit for a path segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FacetName<'a>(Cow<'a, str>);

/// The name of a method, fit for a path segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodName<'a>(Cow<'a, str>);

impl<'a> FacetName<'a> {
    /// Takes a name over.
    ///
    /// # Errors
    /// Where CONTRACT 3 refuses it.
    pub fn new(name: impl Into<Cow<'a, str>>) -> Result<Self, NameError> {
        checked(name.into()).map(Self)
    }

    /// The name as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'a> MethodName<'a> {
    /// Takes a name over.
    ///
    /// # Errors
    /// Where CONTRACT 3 refuses it.
    pub fn new(name: impl Into<Cow<'a, str>>) -> Result<Self, NameError> {
        checked(name.into()).map(Self)
    }

    /// The name as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name may be any that .NET has, but none that another reads as more than one path segment, or
/// as none.
fn checked(name: Cow<'_, str>) -> Result<Cow<'_, str>, NameError> {
    match &*name {
        "" => Err(NameError::Empty),
        "." | ".." => Err(NameError::Dots),
        long if long.len() > MAX_NAME_LEN => Err(NameError::TooLong),
        other if other.contains(|c: char| matches!(c, '/' | '\\') || c.is_control()) => {
            Err(NameError::Character)
        }
        _ => Ok(name),
    }
}

/// Why a name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing in it.
    #[error("is empty")]
    Empty,
    /// `.` or `..`.
    #[error("is a relative path")]
    Dots,
    /// Over 1 KiB.
    #[error("is longer than 1 KiB")]
    TooLong,
    /// A slash, backslash or control character.
    #[error("holds a slash, a backslash or a control character")]
    Character,
}

/// Why a request isn't a facet call. No variant carries anything that the client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The body isn't JSON that the contract takes (1100).
    #[error("the body isn't valid JSON")]
    Json(#[source] JsonError),
    /// A string that must be read stands for no text (1100).
    #[error("`{field}` holds a lone surrogate")]
    LoneSurrogate {
        /// Which one.
        field: &'static str,
    },
    /// `method` is another than `facet-call` (1101).
    #[error("`method` isn't `facet-call`")]
    Method,
    /// A field is missing, doubled or of the wrong type (1102).
    #[error("`{field}` {fault}")]
    Field {
        /// Which one.
        field: &'static str,
        /// What is wrong with it.
        fault: FieldFault,
    },
    /// The path isn't a facet's and a method's name (1106).
    #[error("no such route: a facet call goes to /facet/method")]
    Route,
}

/// What can be wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldFault {
    /// Not there.
    #[error("is missing")]
    Missing,
    /// There twice.
    #[error("is there more than once")]
    Doubled,
    /// Of another type than named.
    #[error("must be {0}")]
    Type(&'static str),
    /// Not a name.
    #[error("{0}")]
    Name(NameError),
    /// A path segment that isn't percent-encoded UTF-8.
    #[error("isn't percent-encoded UTF-8")]
    PercentEncoding,
}

impl DecodeError {
    pub(super) const fn field(field: &'static str, fault: FieldFault) -> Self {
        Self::Field { field, fault }
    }

    pub(super) const fn wrong_type(field: &'static str, expected: &'static str) -> Self {
        Self::field(field, FieldFault::Type(expected))
    }

    pub(super) const fn name(field: &'static str, error: NameError) -> Self {
        Self::field(field, FieldFault::Name(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_dotnet_pass() {
        for name in [
            "EchoFacet",
            "My.Namespace.Outer+Inner",
            "List`1",
            "<>c__DisplayClass2_0",
            "...",
            ".x",
            "žluťoučký",
            "a b",
            "100%",
        ] {
            assert_eq!(FacetName::new(name).unwrap().as_str(), name);
            assert_eq!(MethodName::new(name).unwrap().as_str(), name);
        }
        assert!(FacetName::new("x".repeat(1024)).is_ok());
    }

    #[test]
    fn names_that_change_the_path_are_refused() {
        let long = "x".repeat(1025);
        for (name, error) in [
            ("", NameError::Empty),
            (".", NameError::Dots),
            ("..", NameError::Dots),
            (&long, NameError::TooLong),
            ("a/b", NameError::Character),
            ("a\\b", NameError::Character),
            ("a\nb", NameError::Character),
            ("a\u{7f}", NameError::Character),
            ("a\u{85}", NameError::Character),
        ] {
            assert_eq!(FacetName::new(name), Err(error));
            assert_eq!(MethodName::new(name), Err(error));
        }
        // The limit counts bytes.
        assert_eq!(FacetName::new("ž".repeat(513)), Err(NameError::TooLong));
    }

    #[test]
    fn debug_never_shows_the_session_or_the_arguments() {
        let call = FacetCall {
            facet: FacetName::new("F").unwrap(),
            method: MethodName::new("M").unwrap(),
            arguments: RawValue::constant("[\"s3cret\"]"),
            session: Some("s3cret".into()),
        };
        assert!(!format!("{call:?}").contains("s3cret"));
    }
}
