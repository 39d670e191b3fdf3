//! stub

#[allow(missing_docs)]
pub struct DigestKey;
#[allow(missing_docs)]
pub struct EnvDigest;
