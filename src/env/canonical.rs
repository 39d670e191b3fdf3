//! The canonical env and its key.

/// stub
#[derive(Clone)]
pub struct Env {}
/// stub
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EnvKey([u8; 32]);
/// stub
#[derive(Debug, thiserror::Error)]
pub enum EnvError {
    /// stub
    #[error("line {line}: a NUL character; no process can be given it")]
    Nul {
        /// one-based
        line: usize,
    },
}
