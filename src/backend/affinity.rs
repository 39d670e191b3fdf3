//! What members that hold one env at a time should rather not change.

/// An env with its code, as members know it: the same numbers on every replica.
///
/// They stand for what was hashed. Two envs of one number share a member's place and nothing else,
/// as every call brings its own env.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Affinity {
    /// The env with its code; `None` where there is neither.
    pub env_and_code: Option<u64>,
    /// The code alone, as the recipe header names it.
    pub code: Option<u64>,
}
