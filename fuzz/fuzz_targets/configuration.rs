//! Configurations: any file, flags and variables are read or refused with a reason and a fix.
//!
//! The file comes first. Behind a line `---` each line is a flag without its dashes
//! (`set gateway.threads=2`, `listen :80`) or a variable (`WORKER_HTTP_URL=http://*:80`).

#![no_main]

use std::collections::BTreeMap;

use envgate::config::{Config, ConfigError, FlagValues, Sources, Variables};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let (file, lines) = text.split_once("---\n").unwrap_or((&text, ""));
    let mut flags = FlagValues::default();
    let mut variables = BTreeMap::new();
    for line in lines.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "set" => flags.set.push(rest.into()),
            "listen" => flags.listen.push(rest.into()),
            "upstream" => flags.upstream.push(rest.into()),
            "framework" => flags.framework = Some(rest.into()),
            "dialect" => flags.dialect = Some(rest.into()),
            "env-source" => flags.env_source = Some(rest.into()),
            _ => variables.extend(line.split_once('=')),
        }
    }
    for name in [None, Some("envgate.toml".into())] {
        let sources = Sources {
            file: name,
            flags: flags.clone(),
            variables: Variables::from_fn(|name| variables.get(name).map(Into::into)),
        };
        match Config::from_text(file, &sources) {
            Ok(config) => assert!(!format!("{config:?}").is_empty()),
            Err(error) => told_whole(&error),
        }
    }
});

fn told_whole(error: &ConfigError) {
    let ConfigError::Wrong { wrong, fix, .. } = error else {
        panic!("no file was to be read: {error}");
    };
    assert!(
        !wrong.trim().is_empty() && !fix.trim().is_empty(),
        "{error}"
    );
    let shown = error.to_string();
    assert!(
        shown.contains(wrong.as_str()) && shown.ends_with(fix.as_str()),
        "{shown}"
    );
}
