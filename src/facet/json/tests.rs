//! The scanner against `serde_json`, and what it hands out.

use std::borrow::Cow;

use bytes::Bytes;
use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;

fn scan(text: &[u8]) -> Result<RawValue<'_>, JsonError> {
    let mut scanner = Scanner::request(text);
    let value = scanner.value()?;
    scanner.finish()?;
    Ok(value)
}

fn fault(text: &[u8]) -> (usize, JsonFault) {
    let JsonError { at, fault } = scan(text).unwrap_err();
    (at, fault)
}

/// What `serde_json` says of a text without its mark, and with the letter x for each raw control
/// character in a string: where one is allowed so is the other.
fn is_json(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
    let (mut in_string, mut after_backslash) = (false, false);
    let plain = text.iter().map(|&byte| {
        in_string ^= byte == b'"' && !after_backslash;
        after_backslash = in_string && byte == b'\\' && !after_backslash;
        if in_string && byte < 0x20 { b'x' } else { byte }
    });
    let plain = String::from_utf8(plain.collect());
    plain.is_ok_and(|text| serde_json::from_str::<IgnoredAny>(&text).is_ok())
}

fn agrees(text: &[u8]) -> Result<(), TestCaseError> {
    let shown = String::from_utf8_lossy(text);
    match (scan(text), is_json(text)) {
        (Ok(_), true) | (Err(_), false) => {}
        (Err(error), true) if error.fault == JsonFault::Nesting => {}
        (found, _) => prop_assert!(false, "{found:?} for {shown:?}"),
    }
    // Walking an object accepts the same as skipping it.
    let mut scanner = Scanner::request(text);
    let walked = scanner.members(|scanner, _| scanner.value().map(drop));
    let walked = walked.and_then(|_| scanner.finish());
    prop_assert_eq!(walked.map(drop), scan(text).map(drop), "{:?}", shown);
    Ok(())
}

fn json() -> impl Strategy<Value = String> {
    let string = prop_oneof![
        "[ -~]{0,50}".prop_map(|text| json_string(&text)),
        "\\PC{0,20}".prop_map(|text| json_string(&text)),
        Just("\"\\ud83d\\ude00\\uD800\\/\\b\"".to_owned()),
        "[\u{0}-\u{1f}a-cžé😀]{0,40}".prop_map(|raw| format!("\"{raw}\"")),
    ];
    let leaf = prop_oneof![
        string.clone(),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,4})?",
        Just("true".to_owned()),
        Just("false".to_owned()),
        Just("null".to_owned()),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        let member = (string.clone(), "[ \n\t]{0,2}", inner.clone())
            .prop_map(|(key, space, value)| format!("{key}{space}:{space}{value}"));
        prop_oneof![
            (prop::collection::vec(inner, 0..6), "[ \r]{0,2}")
                .prop_map(|(items, space)| format!("[{space}{}{space}]", items.join(","))),
            (prop::collection::vec(member, 0..6), "[ \n]{0,2}").prop_map(
                |(members, space)| format!("{{{}{space}}}", members.join(&format!("{space},")))
            ),
        ]
    })
}

/// A byte that is likely to break something.
fn breaker() -> impl Strategy<Value = u8> {
    prop_oneof![
        prop::sample::select(
            b"\"\\{}[],:-+.eEu0159atfn \n\0\x1F\x7F\x80\xBF\xC2\xED\xF4\xEF".to_vec()
        ),
        any::<u8>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn accepts_what_serde_json_does(text in json()) {
        prop_assert!(scan(text.as_bytes()).is_ok(), "{text:?}");
        agrees(text.as_bytes())?;
        agrees(format!("\u{feff}{text}").as_bytes())?;
    }

    #[test]
    fn refuses_what_serde_json_does(
        text in json(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), breaker(), 0..4), 1..4),
    ) {
        let mut text = text.into_bytes();
        for (at, byte, way) in changes {
            let at = at.index(text.len().max(1)).min(text.len());
            match way {
                0 => text.insert(at, byte),
                1 => text.truncate(at),
                2 if at < text.len() => drop(text.remove(at)),
                _ => if let Some(place) = text.get_mut(at) { *place = byte },
            }
        }
        agrees(&text)?;
    }

    #[test]
    fn agrees_on_noise(text in prop::collection::vec(breaker(), 0..12)) {
        agrees(&text)?;
    }

    #[test]
    fn reads_strings_as_serde_json_does(text in "\\PC{0,30}|[\u{0}-\u{20}\"\\\\a]{0,30}") {
        let json = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(&scan(json.as_bytes()).unwrap().decode_string().unwrap(), &text);
        let ours = json_string(&text);
        prop_assert_eq!(serde_json::from_str::<String>(&ours).unwrap(), text);
    }

    #[test]
    fn what_passes_is_the_sources_bytes_or_says_the_same(text in json()) {
        let source = Bytes::from(format!(" {text}\n"));
        let value = scan(&source).unwrap();
        prop_assert_eq!(value.as_bytes(), text.as_bytes());
        let passed = value.to_bytes(&source);
        if value.has_raw_control() {
            prop_assert!(!scan(&passed).unwrap().has_raw_control());
            prop_assert!(serde_json::from_slice::<IgnoredAny>(&passed).is_ok());
        } else {
            prop_assert_eq!(passed.as_ptr(), source[1..].as_ptr());
            prop_assert_eq!(passed.len(), text.len());
        }
    }
}

/// Every odd byte, alone in a string at every offset: the ends of words and chunks included.
#[test]
fn finds_an_odd_byte_wherever_it_stands() {
    for len in 1..80 {
        for at in 0..len {
            for odd in
                (0..=255u8).filter(|byte| !(0x20..0x80).contains(byte) || b"\"\\".contains(byte))
            {
                let mut text = vec![b'x'; len + 2];
                text[0] = b'"';
                text[len + 1] = b'"';
                text[at + 1] = odd;
                let found = scan(&text);
                assert_eq!(found.is_ok(), odd < 0x20, "{odd} at {at} of {len}");
                assert_eq!(found.is_ok_and(|value| value.has_raw_control()), odd < 0x20);
            }
        }
    }
}

#[test]
fn utf8_is_checked_as_the_standard_library_does() {
    let edges = [
        0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1,
        0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF,
    ];
    for code in 0..edges.len().pow(4) {
        let byte = |place: u32| edges[code / edges.len().pow(place) % edges.len()];
        let text = [b'"', byte(0), byte(1), byte(2), byte(3), b'"'];
        assert_eq!(
            scan(&text).is_ok(),
            str::from_utf8(&text).is_ok(),
            "{text:X?}"
        );
    }
}

#[test]
fn says_where_and_how() {
    assert_eq!(fault(b""), (0, JsonFault::Ended));
    assert_eq!(fault(b" {\"a\""), (5, JsonFault::Ended));
    assert_eq!(fault(b"{\"a\":1,}"), (7, JsonFault::Unexpected));
    assert_eq!(fault(b"[1,]"), (3, JsonFault::Unexpected));
    assert_eq!(fault(b"[1}"), (2, JsonFault::Unexpected));
    assert_eq!(fault(b"\"\\x\""), (1, JsonFault::Escape));
    assert_eq!(fault(b"\"\\u12G4\""), (1, JsonFault::Escape));
    assert_eq!(fault(b"\"\xFF\""), (1, JsonFault::Utf8));
    assert_eq!(fault(b"01"), (1, JsonFault::Number));
    assert_eq!(fault(b"nul"), (0, JsonFault::Unexpected));
    assert_eq!(fault(b"{} {}"), (3, JsonFault::Trailing));
    // A mark is one only at the start, and once.
    assert_eq!(fault(b" \xEF\xBB\xBF1"), (1, JsonFault::Unexpected));
    assert_eq!(
        fault(b"\xEF\xBB\xBF\xEF\xBB\xBF1"),
        (0, JsonFault::Unexpected)
    );
    // An error never shows what it is about.
    assert_eq!(
        scan(b"[s3cret]").unwrap_err().to_string(),
        "unexpected character at byte 1"
    );
}

#[test]
fn nesting_is_bound_in_a_request_and_free_in_an_answer() {
    let nested = |levels: usize| {
        // Objects and arrays in a pattern that no multiple of 128 hides.
        let is_object = |level: &usize| level.is_multiple_of(3);
        let mut text: String = (0..levels)
            .map(|level| if is_object(&level) { "{\"a\":" } else { "[" })
            .collect();
        text.push('1');
        text.extend(
            (0..levels)
                .rev()
                .map(|level| if is_object(&level) { '}' } else { ']' }),
        );
        text
    };
    assert!(scan(nested(128).as_bytes()).is_ok());
    assert_eq!(fault(nested(129).as_bytes()).1, JsonFault::Nesting);
    // The levels that are walked count too.
    let mut scanner = Scanner::request(b"{\"a\":0}");
    assert!(
        scanner
            .members(|scanner, _| scanner.value().map(drop))
            .unwrap()
    );
    for (levels, allowed) in [(127, true), (128, false)] {
        let text = format!("{{\"a\":{}}}", nested(levels));
        let mut scanner = Scanner::request(text.as_bytes());
        let walked = scanner.members(|scanner, _| scanner.value().map(drop));
        assert_eq!(walked.is_ok(), allowed);
    }
    for levels in [127, 128, 129, 255, 256, 257, 5000] {
        let text = nested(levels);
        let answer = |text: &str| Scanner::answer(text.as_bytes()).value().map(drop);
        assert!(answer(&text).is_ok(), "{levels}");
        let wrong = text.replacen("1]", "1}", 1).replacen("1}]", "1]]", 1);
        assert_eq!(answer(&wrong).is_ok(), wrong == text, "{levels}");
    }
    assert!(scan(&[b'['; 100_000]).is_err());
}

#[test]
fn hands_out_members_by_their_unescaped_names() {
    let text = br#" {"a":1,"\u0061\n":[ ],"\ud800":{"x":"\u0001"},"":"" ,"b":{"c":true}} "#;
    let mut seen = Vec::new();
    let mut scanner = Scanner::request(text);
    let is_object = scanner
        .members(|scanner, key| {
            let key = String::from_utf8(key.to_vec()).unwrap();
            if key == "b" {
                return scanner
                    .members(|scanner, key| {
                        assert_eq!(key, b"c");
                        assert!(scanner.value()?.is_true());
                        Ok(())
                    })
                    .map(drop);
            }
            let value = scanner.value()?;
            seen.push(format!(
                "{key}={}",
                str::from_utf8(value.as_bytes()).unwrap()
            ));
            Ok(())
        })
        .unwrap();
    assert!(is_object);
    assert_eq!(scanner.finish().unwrap().as_bytes(), text);
    let expected = ["a=1", "a\n=[ ]", "\\ud800={\"x\":\"\\u0001\"}", "=\"\""];
    assert_eq!(seen, expected);
    assert!(!Scanner::request(b"[{}]").members(|_, _| Ok(())).unwrap());
}

#[test]
fn raw_controls_are_escaped_inside_strings_only() {
    let source = Bytes::from_static(b"[\n\t\"a\tb\x01\\\"\x1F\\\\\", \r{\"\x00\":1}]");
    let value = scan(&source).unwrap();
    assert!(value.has_raw_control());
    assert_eq!(
        value.to_bytes(&source),
        &b"[\n\t\"a\\u0009b\\u0001\\\"\\u001f\\\\\", \r{\"\\u0000\":1}]"[..]
    );
    let spaced = Bytes::from_static(b"[\n\t1\r]");
    assert!(!scan(&spaced).unwrap().has_raw_control());
}

#[test]
fn a_lone_surrogate_passes_but_is_no_text() {
    for lone in [
        r#""\ud800""#,
        r#""\udc00""#,
        r#""\ud800x""#,
        r#""\ud800\n""#,
        r#""\ud800\ud800""#,
        r#""\udc00\ud800""#,
        r#""\ud83d\u0041""#,
    ] {
        let value = scan(lone.as_bytes()).unwrap();
        assert_eq!(value.decode_string(), Err(LoneSurrogate), "{lone}");
    }
    let paired = scan(br#""\ud83d\uDE00\"\/\b\f\n\r\t\u00e9""#).unwrap();
    assert_eq!(
        paired.decode_string().unwrap(),
        "😀\"/\u{8}\u{c}\n\r\t\u{e9}"
    );
    let plain = scan("\"ž\t\"".as_bytes()).unwrap().decode_string().unwrap();
    assert!(matches!(plain, Cow::Borrowed("ž\t")));
}

#[test]
fn a_value_of_another_buffer_is_copied() {
    let value = RawValue::constant("[]");
    assert_eq!(value.to_bytes(&Bytes::from_static(b"{}")), "[]");
}
