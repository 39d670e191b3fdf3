//! Session cookies: whatever headers say, and any id's way there and back. Each line is a header.

#![no_main]

use std::time::{Duration, SystemTime};

use envgate::facet::{modern, session};
use envgate_fuzz::cookie;
use libfuzzer_sys::fuzz_target;

const BODY: &[u8] = b"{\"arguments\":[]}";

fuzz_target!(|data: &[u8]| {
    let headers: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let told = session::from_set_cookie(headers.iter().copied());
    assert_eq!(told, cookie::told(&headers));
    let _ = of_request(headers.iter().copied());

    // The name in front lets the fuzzer get at the id at once.
    let named: Vec<u8> = [b"a=b; unisave_session_id=".as_slice(), data].concat();
    let named = [&*named];
    assert_eq!(
        session::from_set_cookie(named.into_iter()),
        cookie::told(&named)
    );

    let id = String::from_utf8_lossy(data);
    let request = session::cookie_header(&id);
    let answer = session::set_cookie(&id, SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
    for header in [&request, &answer] {
        assert!(
            header
                .as_bytes()
                .iter()
                .all(|byte| (b' '..=b'~').contains(byte))
        );
    }
    let id = Some(&*id).filter(|id| !id.is_empty());
    assert_eq!(of_request([request.as_bytes()].into_iter()).as_deref(), id);
    assert_eq!(
        session::from_set_cookie([answer.as_bytes()].into_iter()).as_deref(),
        id
    );
});

fn of_request<'a>(headers: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    let call = modern::decode("/Facet/Method", headers, BODY).expect("it is a call");
    call.session.map(|id| id.into_owned())
}
