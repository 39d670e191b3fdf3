//! Why a text is refused.

/// Why a text isn't JSON: where and how, never what stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at byte {at}")]
pub struct JsonError {
    /// The offset in bytes, behind a byte order mark if there is one.
    pub at: usize,
    /// What is wrong there.
    pub fault: JsonFault,
}

/// What can be wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// The text ends inside a value, or before one.
    #[error("it ends too early")]
    Ended,
    /// A character that the grammar doesn't allow there.
    #[error("unexpected character")]
    Unexpected,
    /// An unknown or incomplete escape sequence.
    #[error("invalid escape sequence")]
    Escape,
    /// Bytes inside a string that are no UTF-8.
    #[error("invalid UTF-8")]
    Utf8,
    /// A number that isn't written as JSON writes them.
    #[error("invalid number")]
    Number,
    /// More nesting than allowed.
    #[error("nested too deeply")]
    Nesting,
    /// Something behind the value.
    #[error("something follows the value")]
    Trailing,
}
