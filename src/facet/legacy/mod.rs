//! The legacy dialect: the envelope in `POST /`, env and all (CONTRACT 2 and 5).

mod answer;
mod envelope;

pub use answer::{decode_answer, encode_answer, pass_answer};
pub use envelope::{EnvField, Envelope, decode, encode_envelope};

#[cfg(test)]
mod tests;
