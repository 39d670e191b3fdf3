//! The layers of the crate: imports run downwards only, and the pure modules stay pure.
//!
//! The sources are read as tokens, so that comments and texts don't count, and paths count wherever
//! they stand, in `use` trees or in code.

use std::{fs, path::Path};

/// From the bottom up. Modules on one line don't import each other.
const LAYERS: [&[&str]; 10] = [
    &["env"],
    &["facet"],
    &["telemetry", "thread"],
    &["backend"],
    &["instances", "listen"],
    &["gateway", "control", "worker"],
    &["config"],
    &["commands"],
    &["cli"],
    &["main"],
];

/// Bytes in, values out.
const PURE: [&str; 2] = ["env", "facet"];

/// What has no place in a pure module.
const IMPURE: [&[&str]; 7] = [
    &["tokio"],
    &["hyper"],
    &["std", "net"],
    &["std", "fs"],
    &["std", "process"],
    &["time", "Instant"],
    &["SystemTime", "now"],
];

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// What a file imports that it mustn't. `path` is relative to `src/`.
fn breaches(path: &str, text: &str) -> Vec<String> {
    let parts: Vec<_> = path.trim_end_matches(".rs").split('/').collect();
    let module = parts[0];
    if module == "lib" {
        return Vec::new();
    }
    let Some(own) = layer(module) else {
        return vec![format!("{path}: no layer is named for {module}")];
    };
    let depth = parts.len() - usize::from(parts.last() == Some(&"mod"));
    let mut found = Vec::new();
    for (inner, used) in paths(&tokens(text)) {
        let names: Vec<&str> = used.iter().map(String::as_str).collect();
        if let Some(target) = from_root(&names, depth + inner) {
            match (layer(target), target) {
                (Some(other), _) if target == module || other < own => {}
                (None, _) if !matches!(target, "*" | "self") => {}
                _ => found.push(format!("{path}: {}", names.join("::"))),
            }
        }
        let impure = |banned: &&&[&str]| match names.as_slice() {
            // A crate counts only where the path begins, a module anywhere.
            [first, ..] if banned.len() == 1 => *first == banned[0],
            names => names.windows(banned.len()).any(|window| window == **banned),
        };
        if PURE.contains(&module) && IMPURE.iter().find(impure).is_some() {
            found.push(format!("{path} is to be pure: {}", names.join("::")));
        }
    }
    found
}

/// The crate's top-level name that a path leads to, where it leads through the root.
fn from_root<'a>(names: &[&'a str], depth: usize) -> Option<&'a str> {
    match names {
        ["crate" | "envgate", target, ..] => Some(target),
        ["self", rest @ ..] => from_root(rest, depth).filter(|_| rest.first() == Some(&"super")),
        _ => {
            let up = names.iter().take_while(|name| **name == "super").count();
            (up > 0 && up >= depth)
                .then(|| names.get(up).copied())
                .flatten()
        }
    }
}

/// Identifiers, `::`, and single signs; no comments, texts, characters or lifetimes.
pub(crate) fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(length) = text_literal(rest) {
            length
        } else if first.is_alphabetic() || first == '_' {
            let word = |c: char| c.is_alphanumeric() || c == '_';
            let length = rest.find(|c| !word(c)).unwrap_or(rest.len());
            tokens.push(rest[..length].to_owned());
            length
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut place) = (0, 0);
    while place < text.len() {
        let rest = &text.as_bytes()[place..];
        if rest.starts_with(b"/*") {
            (depth, place) = (depth + 1, place + 2);
        } else if rest.starts_with(b"*/") {
            (depth, place) = (depth - 1, place + 2);
            if depth == 0 {
                return place;
            }
        } else {
            place += 1;
        }
    }
    text.len()
}

/// The length of the string, raw string, character or lifetime that the text begins with.
fn text_literal(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""].iter().find(|prefix| {
        let after = text.strip_prefix(**prefix);
        after.is_some_and(|after| match prefix.ends_with('r') {
            true => after.trim_start_matches('#').starts_with('"'),
            false => after.starts_with('"') || (**prefix != "c" && after.starts_with('\'')),
        })
    })?;
    let body = &text[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = body.len() - body.trim_start_matches('#').len();
        let close = format!("\"{}", "#".repeat(hashes));
        let start = prefix.len() + hashes + 1;
        return Some(
            text[start..]
                .find(&close)
                .map_or(text.len(), |end| start + end + close.len()),
        );
    }
    let quote = body.chars().next()?;
    let mut escaped = false;
    for (place, c) in body.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(prefix.len() + place + c.len_utf8()),
            // A quote that doesn't close after one character begins a lifetime.
            _ if quote == '\''
                && !body[place + c.len_utf8()..].starts_with('\'')
                && !body.starts_with("'\\") =>
            {
                return Some(prefix.len() + 1);
            }
            _ => {}
        }
    }
    Some(text.len())
}

/// All paths of more than one name, groups spelled out, each with the number of inline modules
/// around it.
fn paths(tokens: &[String]) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let mut place = 0;
    let mut braces: Vec<bool> = Vec::new();
    while let Some(token) = tokens.get(place) {
        let is_name = token.starts_with(|c: char| c.is_alphabetic() || c == '_');
        if is_name && tokens.get(place + 1).is_some_and(|next| next == "::") {
            let inner = braces.iter().filter(|module| **module).count();
            let mut spelled = Vec::new();
            place = path(tokens, place, &[], &mut spelled);
            found.extend(spelled.into_iter().map(|names| (inner, names)));
            continue;
        }
        match token.as_str() {
            "{" => {
                let before = place.checked_sub(2).and_then(|before| tokens.get(before));
                braces.push(before.is_some_and(|before| before == "mod"));
            }
            "}" => drop(braces.pop()),
            _ => {}
        }
        place += 1;
    }
    found
}

/// Reads one path or `use` tree; where it ends.
fn path(tokens: &[String], start: usize, before: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut names = before.to_vec();
    let mut place = start;
    loop {
        match tokens.get(place).map(String::as_str) {
            Some("{") if !names.is_empty() => {
                place += 1;
                while let Some(token) = tokens.get(place) {
                    match token.as_str() {
                        "}" => return place + 1,
                        "," => place += 1,
                        _ => place = path(tokens, place, &names, found).max(place + 1),
                    }
                }
                return place;
            }
            Some("*") => {
                names.push("*".to_owned());
                place += 1;
            }
            Some(name) if name.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                names.push(name.to_owned());
                place += 1;
            }
            _ => {}
        }
        if tokens.get(place).is_some_and(|next| next == "::") {
            place += 1;
        } else {
            found.push(names);
            return skip_rename(tokens, place);
        }
    }
}

/// `as name` belongs to the path before it.
fn skip_rename(tokens: &[String], place: usize) -> usize {
    if tokens.get(place).is_some_and(|token| token == "as") {
        place + 2
    } else {
        place
    }
}

/// Has `breaches` look at each source file, of which it is told the path below `src/` and the text;
/// what it found.
pub(crate) fn check_sources(breaches: impl Fn(&str, &str) -> Vec<String>) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let files = check_directory(&root, &root, &breaches, &mut found);
    assert!(files > 10, "only {files} source files were found");
    found
}

fn check_directory(
    directory: &Path,
    root: &Path,
    breaches: &impl Fn(&str, &str) -> Vec<String>,
    found: &mut Vec<String>,
) -> usize {
    let mut files = 0;
    for entry in fs::read_dir(directory)
        .expect("the sources can be read")
        .flatten()
    {
        let path = entry.path();
        if path.is_dir() {
            files += check_directory(&path, root, breaches, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path
                .strip_prefix(root)
                .expect("below the root")
                .to_string_lossy();
            let text = fs::read_to_string(&path).expect("a source file is UTF-8");
            found.extend(breaches(&name, &text));
            files += 1;
        }
    }
    files
}

#[test]
fn imports_run_downwards() {
    let found = check_sources(breaches);
    assert!(
        found.is_empty(),
        "against the layers:\n{}",
        found.join("\n")
    );
}

#[test]
fn a_planted_breach_is_found() {
    let planted = [
        ("env/text.rs", "use crate::facet::FacetCall;"),
        (
            "env/text.rs",
            "fn f() { let x = crate::telemetry::Redacted::new(); }",
        ),
        ("env/mod.rs", "use super::gateway;"),
        ("env/text.rs", "use super::super::gateway::Config;"),
        ("facet/mod.rs", "use std::{fmt, fs, path::Path};"),
        (
            "facet/legacy/decode.rs",
            "use std::{time::{Duration, Instant}};",
        ),
        ("facet/mod.rs", "fn f() { std::process::exit(1) }"),
        (
            "env/mod.rs",
            "use std::time; fn f() { time::Instant::now(); }",
        ),
        (
            "env/mod.rs",
            "async fn f() { tokio::task::yield_now().await }",
        ),
        ("env/mod.rs", "use hyper::Uri;"),
        ("gateway/mod.rs", "use crate::worker::Sample;"),
        ("gateway/mod.rs", "use crate::control::Admin;"),
        ("control/mod.rs", "use crate::gateway::Server;"),
        ("listen/mod.rs", "use crate::instances::Table;"),
        (
            "worker/mod.rs",
            "use crate::{env::Env, gateway::{self, Config}};",
        ),
        (
            "worker/mod.rs",
            "use crate::{\n    env::{Env, EnvKey},\n    // why\n    config,\n};",
        ),
        ("backend/upstream.rs", "use crate::instances as i;"),
        (
            "backend/upstream.rs",
            "fn f<'a>(c: char) { let x = ('\"', crate::gateway::X); }",
        ),
        ("backend/upstream.rs", "use crate::*;"),
        (
            "backend/upstream.rs",
            "mod tests { use super::super::super::gateway; }",
        ),
        ("config/mod.rs", "use envgate::commands::serve;"),
        ("strange/mod.rs", ""),
    ];
    for (path, text) in planted {
        assert!(!breaches(path, text).is_empty(), "{path}: {text}");
    }
}

#[test]
fn what_is_allowed_is_no_breach() {
    let allowed = [
        (
            "env/text.rs",
            "use super::canonical::Env; use std::{collections::BTreeMap, time::Duration};",
        ),
        (
            "env/text.rs",
            "// crate::gateway\n/* use /* crate::cli */ crate::cli; */ /// [`crate::cli`]\nfn f() {}",
        ),
        (
            "env/text.rs",
            "const A: &str = \"crate::gateway\"; const B: &str = r#\"\"crate::cli\"#;",
        ),
        (
            "env/text.rs",
            "const C: char = '\"'; const D: char = '\\''; const E: &str = \"crate::cli\";",
        ),
        ("env/text.rs", "mod tests { use super::super::config; }"),
        (
            "facet/mod.rs",
            "use crate::env::Env; use crate::facet::Call;",
        ),
        (
            "gateway/mod.rs",
            "use crate::{env::Env, instances::{self, Lease}, backend}; use tokio::net;",
        ),
        ("commands/serve.rs", "use crate::{config, gateway, worker};"),
        ("main.rs", "fn main() { envgate::cli::main() }"),
        ("lib.rs", "pub mod env;"),
    ];
    for (path, text) in allowed {
        assert_eq!(breaches(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}
