//! What the documentation says is what the program does: its tables, names and examples.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use envgate::facet::ErrorNumber;

use crate::harness::{Backend, Call, Gateway, Json, TempFile, eventually, ok, run};

/// A file of the repository.
fn read(path: &str) -> String {
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&whole).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The part of the README below a heading, down to the next one of its level.
fn section(heading: &str) -> String {
    let level = heading.split(' ').next().expect("a heading begins with #");
    let next = format!("{level} ");
    let readme = read("README.md");
    let below = readme.lines().skip_while(|line| *line != heading).skip(1);
    let lines: Vec<_> = below.take_while(|line| !line.starts_with(&next)).collect();
    assert!(!lines.is_empty(), "the README has no {heading}");
    lines.join("\n")
}

/// The cells of every table row in a text, its heads and rules left out.
fn rows(text: &str) -> Vec<Vec<String>> {
    let lines: Vec<_> = text.lines().collect();
    let is_rule = |line: &str| line.starts_with("|---");
    let row = |(index, line): (usize, &&str)| {
        let is_head = lines.get(index + 1).is_some_and(|next| is_rule(next));
        let inner = line.strip_prefix('|')?.strip_suffix('|')?;
        let cells = inner.split('|').map(|cell| cell.trim().to_owned());
        (!is_head && !is_rule(line)).then(|| cells.collect())
    };
    lines.iter().enumerate().filter_map(row).collect()
}

/// The blocks of a Markdown text that are marked with a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}");
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("```") {
            let body: Vec<_> = lines
                .by_ref()
                .take_while(|line| line.trim_start() != "```")
                .collect();
            if line.trim_start() == fence {
                blocks.push(body.join("\n") + "\n");
            }
        }
    }
    blocks
}

/// What stands between backticks, where the whole cell does.
fn code(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`')
}

/// full.toml with the keys that it has commented out.
fn full_config() -> String {
    let is_key = |rest: &str| {
        let name = rest.split(" = ").next().unwrap_or_default();
        rest.contains(" = ") && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    let lines = read("fixtures/config/full.toml");
    let lines = lines.lines().map(|line| match line.strip_prefix("# ") {
        Some(rest) if is_key(rest) || rest.starts_with("[[") => rest.to_owned(),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

/// Every key of a configuration with its value; what is in a `when` and in a backend's `env` is the
/// user's to name.
fn keys(config: &str) -> BTreeMap<String, toml::Value> {
    fn add(keys: &mut BTreeMap<String, toml::Value>, path: &str, value: &toml::Value) {
        let below = |key: &str| format!("{path}.{key}");
        match value {
            toml::Value::Table(table)
                if !path.starts_with("backend.when.") && path != "backend.env" =>
            {
                if path == "backend.when" {
                    keys.insert(path.to_owned(), value.clone());
                }
                for (key, value) in table {
                    add(keys, &below(key), value);
                }
            }
            toml::Value::Array(items) if path == "backend" => {
                for item in items {
                    add(keys, path, item);
                }
            }
            _ => {
                keys.insert(path.to_owned(), value.clone());
            }
        }
    }
    let mut found = BTreeMap::new();
    for (key, value) in &config.parse::<toml::Table>().expect("it is TOML") {
        add(&mut found, key, value);
    }
    found
}

fn names<'t>(found: impl IntoIterator<Item = &'t String>) -> BTreeSet<&'t str> {
    found.into_iter().map(String::as_str).collect()
}

fn check(config: &str) {
    let file = TempFile::new("envgate.toml", config);
    let checked = run(&["check-config", file.path()], "");
    assert_eq!(checked.code, Some(0), "{}\nin\n{config}", checked.stderr);
}

#[test]
fn the_configuration_reference_names_every_key() {
    let config = full_config();
    check(&config);
    let rows = rows(&section("## Configuration reference"));
    let documented: Vec<String> = rows
        .iter()
        .map(|row| code(&row[0]).unwrap_or(&row[0]).to_owned())
        .collect();
    assert_eq!(names(&documented), names(keys(&config).keys()));
    assert_eq!(documented.len(), names(&documented).len(), "a key twice");
}

#[test]
fn the_configuration_reference_has_the_defaults() {
    // What isn't commented out in full.toml has its default there; the program's own tests see to
    // that.
    let defaults = keys(&read("fixtures/config/full.toml"));
    let rows = rows(&section("## Configuration reference"));
    for row in &rows {
        let Some(default) = code(&row[0]).and_then(|key| defaults.get(key)) else {
            continue;
        };
        let shown = code(&row[2]).map(|text| format!("value = {text}").parse::<toml::Table>());
        let Some(Ok(shown)) = shown else {
            panic!("no default in {row:?}")
        };
        assert_eq!(&shown["value"], default, "{}", row[0]);
    }
}

#[test]
fn the_limits_have_the_defaults() {
    let defaults = keys(&read("fixtures/config/full.toml"));
    let plain = |text: &str| text.replace([' ', ',', '"'], "");
    let mut compared = 0;
    for row in rows(&section("## Limits")) {
        if let Some(default) = code(&row[2]).and_then(|key| defaults.get(key)) {
            assert_eq!(plain(&row[1]), plain(&default.to_string()), "{}", row[2]);
            compared += 1;
        }
    }
    assert!(compared > 10, "{compared} limits have a key");
}

#[test]
fn keys_that_the_readme_mentions_exist() {
    let known = keys(&full_config());
    let readme = read("README.md");
    let is_key = |text: &&str| {
        let parts: Vec<_> = text.split('.').collect();
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_' || c == '.';
        parts.len() > 1
            && [
                "gateway",
                "env",
                "admission",
                "admin",
                "instances",
                "log",
                "backend",
            ]
            .contains(&parts[0])
            && text.chars().all(is_name)
    };
    let mentioned: BTreeSet<_> = readme.split('`').filter(is_key).collect();
    assert!(mentioned.len() > 20, "{mentioned:?}");
    for key in mentioned {
        assert!(known.contains_key(key), "there is no {key}");
    }
}

#[test]
fn the_error_table_is_the_programs() {
    let documented: Vec<_> = rows(&section("## Errors"))
        .into_iter()
        .map(|row| format!("{} {}", row[0], row[1]))
        .collect();
    let errors = ErrorNumber::ALL;
    let errors = errors.map(|error| format!("{} {}", error.number(), error.status().as_u16()));
    assert_eq!(documented, errors);
}

#[test]
fn the_names_of_metrics_exist_and_all_are_documented() {
    let far = Backend::start(vec![vec![ok("1")]]);
    // Before members; and a worker that ends in the middle of its call.
    let gateways = [
        (Gateway::before(&[&far.url()], ""), ["envgate_members{"; 2]),
        (
            Gateway::start(""),
            ["envgate_instances{", "envgate_instance_exits_total{"],
        ),
    ];
    let mut live = String::new();
    for (gateway, late) in &gateways {
        let call = Call::legacy("A=1\n").facet("ProcessFacet").method("Exit");
        gateway.call(&call.arguments("[0]"));
        live += &eventually("what is counted later is there", || {
            let text = gateway.get("/metrics").text();
            late.iter().all(|name| text.contains(name)).then_some(text)
        });
    }
    let live = metric_names(&live);
    let parts = ["_bucket", "_sum", "_count"];
    let of_histogram = |name: &&str| parts.iter().any(|part| name.ends_with(part));
    let readme = read("README.md");
    for file in [&readme, &read("deploy/grafana-dashboard.json")] {
        let unknown: Vec<_> = metric_names(file).difference(&live).copied().collect();
        assert!(unknown.is_empty(), "no such metrics: {unknown:?}");
    }
    let tabled = rows(&section("## Observability"));
    let tabled: BTreeSet<_> = tabled.iter().filter_map(|row| code(&row[0])).collect();
    let missing = live.iter().filter(|name| !of_histogram(name));
    let missing: Vec<_> = missing.filter(|name| !tabled.contains(*name)).collect();
    assert!(missing.is_empty(), "not documented: {missing:?}");
}

/// The names of metrics in a text.
fn metric_names(text: &str) -> BTreeSet<&str> {
    let of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(|c| !of_name(c));
    let is_metric = |word: &&str| {
        let rest = word.strip_prefix("envgate_");
        let rest = rest.or_else(|| word.strip_prefix("worker_"));
        rest.is_some_and(|rest| !rest.is_empty())
    };
    words.filter(is_metric).collect()
}

#[test]
fn examples_of_configurations_are_right() {
    let examples = blocks(&read("README.md"), "toml");
    assert!(examples.len() >= 3, "{} examples", examples.len());
    for example in examples {
        check(&example);
    }
}

#[test]
fn the_manifests_configuration_is_right_and_the_readme_shows_it() {
    let of = |manifest: &str| {
        let below = manifest
            .lines()
            .skip_while(|line| *line != "  envgate.toml: |");
        let lines = below.skip(1).take_while(|line| *line != "---");
        lines.map(str::trim).collect::<Vec<_>>().join("\n")
    };
    let whole = of(&read("deploy/kubernetes.yaml"));
    check(&whole);
    let shown = blocks(&read("README.md"), "yaml");
    let shown = of(shown.first().expect("manifests in the README"));
    let parse = |text: &str| text.parse::<toml::Table>().expect("it is TOML");
    assert_eq!(parse(&shown), parse(&whole));
}

#[test]
fn the_dashboard_is_json_and_every_panel_asks_for_something() {
    let dashboard = Json::parse(read("deploy/grafana-dashboard.json").as_bytes());
    let dashboard = dashboard.expect("the dashboard is JSON");
    let panels = dashboard.at("panels").map(Json::items).unwrap_or_default();
    assert!(!panels.is_empty());
    for panel in panels {
        let targets = panel.at("targets").map(Json::items).unwrap_or_default();
        assert!(!targets.is_empty(), "{panel:?}");
        for target in targets {
            let asked = target.at("expr").and_then(Json::text).unwrap_or_default();
            assert!(!metric_names(asked).is_empty(), "{target:?}");
        }
    }
}
