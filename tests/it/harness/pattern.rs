//! The few regular expressions that cases and tests need: literals, `.`, classes, `\` escapes,
//! `* + ? {n} {n,m}`, and negative lookahead. No alternation, no groups.

/// Whether the whole text matches.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    at(&pattern, &text, true)
}

fn at(pattern: &[char], text: &[char], whole: bool) -> bool {
    if pattern.is_empty() {
        return text.is_empty() || !whole;
    }
    if let Some(rest) = pattern.strip_prefix(&['(', '?', '!']) {
        let close = rest
            .iter()
            .position(|c| *c == ')')
            .expect("a lookahead ends");
        return !at(&rest[..close], text, false) && at(&rest[close + 1..], text, whole);
    }
    let (atom, rest) = pattern.split_at(atom_length(pattern));
    let (least, most, rest) = repetition(rest);
    let mut taken = 0;
    while taken < most && text.get(taken).is_some_and(|c| fits(atom, *c)) {
        taken += 1;
    }
    (least..=taken)
        .rev()
        .any(|count| at(rest, &text[count..], whole))
}

fn atom_length(pattern: &[char]) -> usize {
    match pattern[0] {
        '\\' => 2,
        '[' => {
            1 + pattern
                .iter()
                .position(|c| *c == ']')
                .expect("a class ends")
        }
        '(' | '|' => panic!("groups aren't supported"),
        _ => 1,
    }
}

fn repetition(rest: &[char]) -> (usize, usize, &[char]) {
    match rest.first() {
        Some('*') => (0, usize::MAX, &rest[1..]),
        Some('+') => (1, usize::MAX, &rest[1..]),
        Some('?') => (0, 1, &rest[1..]),
        Some('{') => {
            let close = rest.iter().position(|c| *c == '}').expect("a count ends");
            let count: String = rest[1..close].iter().collect();
            let (least, most) = count.split_once(',').unwrap_or((&count, &count));
            let number = |text: &str| text.parse().expect("a count is a number");
            (number(least), number(most), &rest[close + 1..])
        }
        _ => (1, 1, rest),
    }
}

fn fits(atom: &[char], c: char) -> bool {
    match atom {
        ['.'] => c != '\n',
        ['\\', escaped] => *escaped == c,
        ['[', '^', inside @ .., ']'] => !in_class(inside, c),
        ['[', inside @ .., ']'] => in_class(inside, c),
        [literal] => *literal == c,
        _ => false,
    }
}

fn in_class(inside: &[char], c: char) -> bool {
    match inside {
        [low, '-', high, rest @ ..] => (*low..=*high).contains(&c) || in_class(rest, c),
        [one, rest @ ..] => *one == c || in_class(rest, c),
        [] => false,
    }
}

#[test]
fn patterns_match_whole_texts() {
    assert!(matches(
        "application/json.*",
        "application/json; charset=utf-8"
    ));
    assert!(!matches("json", "json "));
    assert!(matches("(?!.*evil).+", "good") && !matches("(?!.*evil).+", "an evil one"));
    assert!(matches("a(?!b)[0-9a-f]{2}-x?", "a0f-") && !matches("a(?!0)[0-9a-f]{2}", "a0f"));
    assert!(matches(r"\[[0-9]+\] R.*", "[12] R1") && !matches(r"a\.b", "axb"));
}
