//! What goes wrong, and the answer that CONTRACT 7 names for it.

mod answers;
mod clients;
mod connections;
mod draining;
mod members;
mod requests;
mod streams;
