//! Integration tests.

#[test]
fn placeholder() {}
