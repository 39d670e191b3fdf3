//! stub
use serde::Deserialize;
/// stub
#[derive(Debug, Clone, Deserialize)]
pub struct Glob(String);
