//! stub

#[allow(missing_docs)]
pub struct EnvString;
#[allow(missing_docs)]
pub struct Line;
