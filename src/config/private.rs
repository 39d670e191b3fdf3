//! What of a configuration an error must not show: the values of variables and of headers.

/// Whether what is at this key (without the indices of lists) holds such values.
pub(super) fn is_private(key: &str) -> bool {
    ["backend.env", "backend.when"].iter().any(|private| {
        key.strip_prefix(private)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// Whether a line may hold them beside what is wrong with it, as an inline table does.
pub(super) fn mentions_values(line: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    line.split(|c| !is_part(c))
        .any(|word| matches!(word, "env" | "when" | "header"))
}

/// A `--set` flag without its value, where that is private; any other flag as it was typed.
pub(super) fn shown_flag(flag: &str) -> String {
    match flag.split_once('=') {
        Some((key, _)) if flag.starts_with("--set ") && mentions_values(key) => format!("{key}=…"),
        Some((key, value)) if flag.starts_with("--set ") && mentions_values(value) => {
            format!("{key}={}", masked(value))
        }
        _ => flag.to_owned(),
    }
}

/// A line of TOML, as long as before, without what stands in quotes; an open quote goes to the end.
pub(super) fn masked(line: &str) -> String {
    without_quoted(line, &['"', '\''])
}

/// What is wrong, in our words, without a value in quotes; an apostrophe is none.
pub(super) fn masked_message(text: &str) -> String {
    without_quoted(text, &['"'])
}

fn without_quoted(text: &str, quotes: &[char]) -> String {
    let (mut quote, mut escaped) = (None, false);
    let mask = |c: char| match quote {
        None => {
            quote = Some(c).filter(|c| quotes.contains(c));
            c
        }
        Some(open) if c == open && !escaped => {
            quote = None;
            c
        }
        Some(open) => {
            escaped = open == '"' && c == '\\' && !escaped;
            '*'
        }
    };
    text.chars().map(mask).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_quotes_is_masked() {
        for (text, shown) in [
            (
                r#"env = { A = "b", 'C' = 1 }"#,
                r#"env = { A = "*", '*' = 1 }"#,
            ),
            (r#"A = "a\"b" # c"#, r#"A = "****" # c"#),
            (r#"A = "open"#, r#"A = "****"#),
            ("A = 1", "A = 1"),
        ] {
            assert_eq!(masked(text), shown);
        }
    }

    #[test]
    fn only_variables_and_headers_are_private() {
        assert!(is_private("backend.env") && is_private("backend.env.A"));
        assert!(is_private("backend.when.header.x"));
        assert!(!is_private("backend.environment") && !is_private("gateway.listen"));
        assert_eq!(
            shown_flag("--set backend.0.env.A=b"),
            "--set backend.0.env.A=…"
        );
        assert_eq!(
            shown_flag("--set backend.0={env={A=\"b\"}}"),
            "--set backend.0={env={A=\"*\"}}"
        );
        assert_eq!(
            shown_flag("--set gateway.threads=x"),
            "--set gateway.threads=x"
        );
    }
}
