//! The modern dialect: `POST /{facet}/{method}` (CONTRACT 3 and 4).

mod answer;
mod request;

pub use answer::{decode_answer, encode_answer};
pub use request::{decode, request_body, request_path};

#[cfg(test)]
mod tests;
