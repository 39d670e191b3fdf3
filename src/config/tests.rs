//! Precedence, and the text of every kind of error.

use std::{path::Path, time::Duration};

use insta::assert_snapshot;

use super::*;
use crate::{gateway::AccessLog, instances::CallLimit, listen::ListenAddr};

/// Loads a file of this text, under its own name, with flags and variables.
fn upstream(backend: &backend::Config) -> &backend::UpstreamConfig {
    match &backend.workers {
        backend::WorkersConfig::Upstream(upstream) => upstream,
        backend::WorkersConfig::Process(_) => panic!("not an upstream"),
    }
}

fn load(text: &str, flags: FlagValues, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("envgate.toml");
    std::fs::write(&file, text).unwrap();
    let get = |name: &str| {
        let known = variables.iter().find(|(known, _)| *known == name);
        known.map(|(_, value)| value.into())
    };
    Config::load(&Sources {
        file: Some(file),
        flags,
        variables: Variables::from_fn(get),
    })
    .map_err(|error| match error {
        ConfigError::Wrong {
            place,
            wrong,
            excerpt,
            fix,
        } => ConfigError::Wrong {
            place: place.replace(&format!("{}/", directory.path().display()), ""),
            wrong,
            excerpt,
            fix,
        },
        unreadable => unreadable,
    })
}

fn error(text: &str) -> String {
    load(text, FlagValues::default(), &[])
        .unwrap_err()
        .to_string()
}

fn flag_error(text: &str, flags: FlagValues) -> String {
    load(text, flags, &[]).unwrap_err().to_string()
}

fn variable_error(name: &str, value: &str) -> String {
    let error = load("", FlagValues::default(), &[(name, value)]).unwrap_err();
    error.to_string()
}

fn set(values: &[&str]) -> FlagValues {
    FlagValues {
        set: values.iter().map(|&value| value.to_owned()).collect(),
        ..FlagValues::default()
    }
}

fn listens(config: &Config) -> Vec<String> {
    config
        .gateway
        .listen
        .iter()
        .map(ListenAddr::to_string)
        .collect()
}

#[test]
fn every_shipped_example_loads() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/config");
    let mut loaded = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let sources = Sources {
            file: Some(entry.unwrap().path()),
            ..Sources::default()
        };
        if let Err(error) = Config::load(&sources) {
            panic!("{error}");
        }
        loaded += 1;
    }
    assert!(loaded >= 4);
}

#[test]
fn the_full_example_holds_the_defaults_and_names_every_key() {
    let text = include_str!("../../fixtures/config/full.toml");
    let config = load(text, FlagValues::default(), &[]).unwrap();
    assert_eq!(format!("{config:#?}"), format!("{:#?}", Config::default()));
    for (key, _) in keys::KEYS {
        let name = key.rsplit('.').next().unwrap();
        assert!(text.contains(name), "{key} isn't in full.toml");
    }
}

#[test]
fn the_backends_of_the_full_example_load_too() {
    let text = include_str!("../../fixtures/config/full.toml");
    let mut loaded = 0;
    for backend in text.split("# [[backend]]").skip(1) {
        let settings = backend.lines().filter_map(|line| line.strip_prefix("# "));
        let settings: Vec<&str> = settings.filter(|line| line.contains(" = ")).collect();
        // The numbers are everywhere, names of groups are the system's.
        let text = settings.join("\n").replace("\"games\"", "1000");
        let config = load(&format!("[[backend]]\n{text}"), FlagValues::default(), &[]).unwrap();
        assert_eq!(config.backends.len(), 1);
        loaded += 1;
    }
    assert_eq!(loaded, 2);
}

#[test]
fn each_key_comes_from_the_highest_source_that_says_it() {
    let variables = [
        ("WORKER_HTTP_URL", "http://*:7000"),
        ("WORKER_DEFAULT_REQUEST_CONCURRENCY", "null"),
        ("WORKER_DEFAULT_MAX_QUEUE_LENGTH", "7"),
        ("WORKER_GRACEFUL_SHUTDOWN_SECONDS", "3"),
        ("WORKER_ENVIRONMENT_ID", "e-1"),
        ("WORKER_BACKEND_ID", ""),
    ];
    let defaults = Config::default();
    let config = load("", FlagValues::default(), &variables).unwrap();
    assert_eq!(listens(&config), ["0.0.0.0:7000"]);
    assert_eq!(config.admission.concurrency, CallLimit::Unlimited);
    assert_eq!(config.admission.queue.get(), 7);
    assert_eq!(config.gateway.shutdown_grace.as_secs(), 3);
    assert_eq!(config.labels.environment.as_deref(), Some("e-1"));
    assert_eq!(config.labels.backend, None);
    assert_eq!(
        config.gateway.request_timeout,
        defaults.gateway.request_timeout
    );

    let file = "[gateway]\nlisten = [\"127.0.0.1:1\"]\naccess_log = \"json\"\n\
                [admission]\nqueue = 9\n";
    let config = load(file, FlagValues::default(), &variables).unwrap();
    assert_eq!(listens(&config), ["127.0.0.1:1"]);
    assert_eq!(config.admission.queue.get(), 9);
    assert_eq!(config.gateway.shutdown_grace.as_secs(), 3);

    let flags = FlagValues {
        listen: vec!["127.0.0.1:2".to_owned(), "unix:/run/x".to_owned()],
        set: vec![
            "gateway.access_log=off".to_owned(),
            "admission.queue=11".to_owned(),
        ],
        ..FlagValues::default()
    };
    let config = load(file, flags, &variables).unwrap();
    assert_eq!(listens(&config), ["127.0.0.1:2", "unix:/run/x"]);
    assert_eq!(config.gateway.access_log, AccessLog::Off);
    assert_eq!(config.admission.queue.get(), 11);
}

#[test]
fn a_variable_that_something_overrides_is_not_read() {
    let variables = [("WORKER_DEFAULT_MAX_QUEUE_LENGTH", "many")];
    assert!(load("[admission]\nqueue = 3", FlagValues::default(), &variables).is_ok());
    assert!(load("", set(&["admission.queue=3"]), &variables).is_ok());
    assert!(load("", FlagValues::default(), &variables).is_err());
}

#[test]
fn the_workers_urls_become_addresses() {
    for (url, address) in [
        ("http://*:8080", "0.0.0.0:8080"),
        ("http://+:80/", "0.0.0.0:80"),
        ("http://0.0.0.0:1", "0.0.0.0:1"),
        ("http://localhost:8080", "127.0.0.1:8080"),
        ("http://localhost", "127.0.0.1:80"),
        ("http://[::1]:9/", "[::1]:9"),
        ("http://[::]", "[::]:80"),
    ] {
        let config = load("", FlagValues::default(), &[("WORKER_HTTP_URL", url)]).unwrap();
        assert_eq!(listens(&config), [address], "{url}");
    }
    for url in [
        "https://*:1",
        "*:8080",
        "http://*:x",
        "http://h:1/path",
        "http://",
        "http://*:70000",
    ] {
        assert!(
            load("", FlagValues::default(), &[("WORKER_HTTP_URL", url)]).is_err(),
            "{url}"
        );
    }
}

#[test]
fn set_overrides_lists_backends_and_what_is_not_there() {
    let file =
        "[[backend]]\nname = \"a\"\nurls = [\"http://h:1\"]\nwhen = { env = { A = \"1\" } }\n";
    let flags = set(&[
        "gateway.listen=[\"127.0.0.1:0\", \"127.0.0.1:0\"]",
        "gateway.request_timeout=90s",
        "gateway.max_request_body = 2MiB",
        "backend.0.balance=least_requests",
        "backend.0.urls.1=unix:/run/w",
        "backend.1.name=b",
        "backend.1.urls.0=http://h:2",
    ]);
    let config = load(file, flags, &[]).unwrap();
    assert_eq!(listens(&config), ["127.0.0.1:0", "127.0.0.1:0"]);
    assert_eq!(config.gateway.request_timeout.as_secs(), 90);
    assert_eq!(config.gateway.max_request_body, bytesize::ByteSize::mib(2));
    let pool = upstream(&config.backends[0]);
    assert_eq!(pool.balance, backend::Balance::LeastRequests);
    assert_eq!(pool.urls.len(), 2);
    assert_eq!(config.backends[1].name, "b");
}

#[test]
fn upstream_makes_a_backend_and_the_rest_goes_to_the_sample_worker() {
    let flags = FlagValues {
        upstream: vec!["http://127.0.0.1:9001".to_owned(), "unix:/run/w".to_owned()],
        framework: Some("0.10.2".to_owned()),
        set: vec!["backend.0.balance=least_requests".to_owned()],
        ..FlagValues::default()
    };
    let config = load("", flags, &[]).unwrap();
    assert_eq!(config.backends[0].name, "default");
    assert_eq!(upstream(&config.backends[0]).urls.len(), 2);
    assert_eq!(config.backends[0].dialect(), Dialect::Legacy);
    let balance = upstream(&config.backends[0]).balance;
    assert_eq!(balance, backend::Balance::LeastRequests);

    let flags = FlagValues {
        framework: Some("0.11.0".to_owned()),
        dialect: Some("legacy".to_owned()),
        env_source: Some("deployment".to_owned()),
        ..FlagValues::default()
    };
    let config = load("", flags, &[]).unwrap();
    assert!(config.backends.is_empty());
    assert_eq!(config.sample.framework.to_string(), "0.11.0");
    assert_eq!(config.sample.dialect, Some(Dialect::Legacy));
    assert_eq!(config.env.source, env::Source::Deployment);
}

#[test]
fn errors_of_the_file() {
    assert_snapshot!(error("# one\n[gateway]\nacess_log = \"off\"\n"), @r#"
    envgate.toml:3:1: unknown key gateway.acess_log
      |
    3 | acess_log = "off"
      | ^^^^^^^^^
      fix: did you mean access_log? Keys of [gateway]: listen, threads, max_request_body, max_response_body, request_timeout, shutdown_grace, trusted_peers, prune, plain_http, debug, access_log, max_header_bytes, max_headers, first_byte_timeout, header_timeout, body_timeout, idle_timeout, send_timeout, max_connections, max_body_memory
    "#);
    assert_snapshot!(error("[gatway]\nthreads = 1\n"), @"
    envgate.toml:1:2: unknown key gatway
      |
    1 | [gatway]
      |  ^^^^^^
      fix: did you mean gateway? Tables: gateway, env, admission, instances, admin, log, backend
    ");
    assert_snapshot!(error("[gateway]\n\taccess_log = \"of\"\n"), @r#"
    envgate.toml:2:15: wrong value for gateway.access_log: "of"
      |
    2 | 	access_log = "of"
      | 	             ^^^^
      fix: did you mean off? it can be off, text, json
    "#);
    assert_snapshot!(error("[gateway]\nrequest_timeout = \"soon\"\n"), @r#"
    envgate.toml:2:19: wrong value for gateway.request_timeout: string "soon"
      |
    2 | request_timeout = "soon"
      |                   ^^^^^^
      fix: write a duration like "60s", "500ms" or "1m 30s"
    "#);
    assert_snapshot!(error("[gateway]\nrequest_timeout = 60\n"), @r#"
    envgate.toml:2:19: wrong value for gateway.request_timeout: integer `60`
      |
    2 | request_timeout = 60
      |                   ^^
      fix: write a duration like "60s", "500ms" or "1m 30s"
    "#);
    assert_snapshot!(error("[gateway]\nthreads = -5\n"), @r"
    envgate.toml:2:11: wrong value for gateway.threads: integer `-5`
      |
    2 | threads = -5
      |           ^^
      fix: write a whole number from 1 to 1024
    ");
    assert_snapshot!(error("[gateway]\nmax_request_body = \"much\"\n"), @r#"
    envgate.toml:2:20: wrong value for gateway.max_request_body: string "much"
      |
    2 | max_request_body = "much"
      |                    ^^^^^^
      fix: write a size like "64KiB" or "1MiB", or a number of bytes
    "#);
    assert_snapshot!(error("[gateway]\nlisten = [\"127.0.0.1:1\",\n  \"localhost\"]\n"), @r#"
    envgate.toml:3:3: wrong value for gateway.listen.1: not an address to listen at
      |
    3 |   "localhost"]
      |   ^^^^^^^^^^^
      fix: write one like 127.0.0.1:8080, [::1]:8080 or unix:/path
    "#);
    assert_snapshot!(error("gateway = 5\n"), @r"
    envgate.toml:1:11: wrong value for gateway: integer `5`
      |
    1 | gateway = 5
      |           ^
      fix: write a table: [gateway]
    ");
    assert_snapshot!(error("[admission]\nconcurrency = 0\n"), @r#"
    envgate.toml:2:15: wrong value for admission.concurrency: not a number of calls
      |
    2 | concurrency = 0
      |               ^
      fix: write a whole number from 1, or "null" for no limit
    "#);
    assert_snapshot!(error("[gateway\nthreads = 1\n"), @r"
    envgate.toml:1:9: not TOML: unclosed table, expected `]`
      |
    1 | [gateway
      |         ^
      fix: write it as https://toml.io says: [table], key = value, text in quotes
    ");
    assert_snapshot!(error("[gateway]\nthreads = 1\nthreads = 2\n"), @r"
    envgate.toml:3:1: not TOML: duplicate key
      |
    3 | threads = 2
      | ^^^^^^^
      fix: write it as https://toml.io says: [table], key = value, text in quotes
    ");
}

#[test]
fn odd_files_are_read_or_refused_but_never_break_the_reader() {
    assert!(
        load(
            "\u{feff}[gateway]\r\nthreads = 2\r\n",
            FlagValues::default(),
            &[]
        )
        .is_ok()
    );
    let deep_key = format!("{}b = 1", "a.".repeat(50_000));
    let deep_table = format!("[{}b]", "a.".repeat(50_000));
    let deep_list = format!("a = {}{}", "[".repeat(50_000), "]".repeat(50_000));
    for text in [&deep_key, &deep_table, &deep_list] {
        assert!(load(text, FlagValues::default(), &[]).is_err());
    }
    for value in [
        &deep_list,
        &format!("{}=1", "a.".repeat(50_000)),
        &format!("{}a=1", "a.".repeat(50_000)),
    ] {
        assert!(load("", set(&[value]), &[]).is_err());
    }
}

#[test]
fn errors_of_backends() {
    assert_snapshot!(error("[backend]\nname = \"a\"\n"), @"
    envgate.toml:1:1: wrong value for backend: a table
      |
    1 | [backend]
      | ^^^^^^^^^
      fix: write tables: [[backend]] with a name, and urls or a command
    ");
    assert_snapshot!(error("\n[[backend]]\nname = \"a\"\n"), @"
    envgate.toml:2:1: wrong value for backend.0: it has neither urls nor a command
      |
    2 | [[backend]]
      | ^^^^^^^^^^^
      fix: name its members or what to start
    ");
    assert_snapshot!(error("[[backend]]\nname = \"a\"\nurls = []\nkind = \"docker\"\n"), @r#"
    envgate.toml:4:8: wrong value for backend.0.kind: "docker"
      |
    4 | kind = "docker"
      |        ^^^^^^^^
      fix: it can be upstream, process
    "#);
    assert_snapshot!(error("[[backend]]\nname = \"a\"\nurls = []\n"), @r#"
    envgate.toml:3:8: wrong value for backend.0.urls: the list is empty
      |
    3 | urls = []
      |        ^^
      fix: name at least one member, like "http://127.0.0.1:9001"
    "#);
    assert_snapshot!(error("[[backend]]\nname = \"a b\"\nurls = [\"http://h:1\"]\n"), @r#"
    envgate.toml:2:8: wrong value for backend.0.name: not a name
      |
    2 | name = "a b"
      |        ^^^^^
      fix: write letters, digits, dots, dashes and underscores, like "eu-1"
    "#);
    assert_snapshot!(error("[[backend]]\nname = \"a\"\nurls = [\"http://h:1/x\"]\n"), @r#"
    envgate.toml:3:9: wrong value for backend.0.urls.0: not a member's URL
      |
    3 | urls = ["http://h:1/x"]
      |         ^^^^^^^^^^^^^^
      fix: write http://host:port or unix:/path
    "#);
    assert_snapshot!(error("[[backend]]\nname = \"a\"\nurls = [\"http://h:80\", \"http://h\"]\n"), @r#"
    envgate.toml:3:24: wrong value for backend.0.urls.1: http://h:80 is there twice
      |
    3 | urls = ["http://h:80", "http://h"]
      |                        ^^^^^^^^^^
      fix: name it once
    "#);
    assert_snapshot!(
        error("[[backend]]\nname = \"a\"\nurls = [\"http://h:1\"]\nframework = \"0.12\"\n"),
        @r#"
        envgate.toml:4:13: wrong value for backend.0.framework: not a framework version: unexpected end of input while parsing minor version number
          |
        4 | framework = "0.12"
          |             ^^^^^^
          fix: write it like 0.12.0
        "#
    );
    assert_snapshot!(
        error("[[backend]]\nname = \"a\"\nurls = [\"http://h:1\"]\nwhen = { header = { \"a b\" = \"\" } }\n"),
        @r#"
    envgate.toml:4:21: wrong value for backend.0.when.header.a b: not a header's name
      |
    4 | when = { header = { "***" = "" } }
      |                     ^^^^^
      fix: write one like x-region
    "#
    );
    let two = |first: &str, second: &str| {
        let table = |rest| format!("[[backend]]\nurls = [\"http://h:1\"]\n{rest}\n");
        error(&format!("{}{}", table(first), table(second)))
    };
    assert_snapshot!(two("name = \"a\"", "name = \"b\""), @r"
    envgate.toml:4:1: wrong value for backend.1: no call ever gets here: a, before it, takes all
      |
    4 | [[backend]]
      | ^^^^^^^^^^^
      fix: put a last, or give it a when
    ");
    assert_snapshot!(two("name = \"a\"\nwhen = { env = { A = \"1\" } }", "name = \"a\""), @r#"
    envgate.toml:7:8: wrong value for backend.1.name: another backend is named a
      |
    7 | name = "a"
      |        ^^^
      fix: give each backend a name of its own
    "#);
}

#[test]
fn errors_of_the_whole() {
    assert_snapshot!(error("[admin]\nlisten = \"0.0.0.0:9180\"\n"), @r#"
    envgate.toml:2:10: wrong value for admin.listen: others can reach it, and nothing keeps them out
      |
    2 | listen = "0.0.0.0:9180"
      |          ^^^^^^^^^^^^^^
      fix: set admin.token_file, or listen at a loopback address like "127.0.0.1:9180"
    "#);
    assert_snapshot!(error("[gateway]\nlisten = []\n"), @r#"
    envgate.toml:2:10: wrong value for gateway.listen: the list is empty
      |
    2 | listen = []
      |          ^^
      fix: name at least one address, like "127.0.0.1:8080"
    "#);
    assert_snapshot!(error("[gateway]\nlisten = [\"[::1]:1\", \"[::1]:1\"]\n"), @r#"
    envgate.toml:2:22: wrong value for gateway.listen.1: [::1]:1 is there twice
      |
    2 | listen = ["[::1]:1", "[::1]:1"]
      |                      ^^^^^^^^^
      fix: name it once
    "#);
    assert_snapshot!(error("[gateway]\nidle_timeout = \"0s\"\n"), @r#"
    envgate.toml:2:16: wrong value for gateway.idle_timeout: nothing is done in no time
      |
    2 | idle_timeout = "0s"
      |                ^^^^
      fix: write a duration like "500ms", "60s" or "1m 30s", at most "1day"
    "#);
    assert_snapshot!(error("[gateway]\nidle_timeout = \"1000y\"\n"), @r#"
    envgate.toml:2:16: wrong value for gateway.idle_timeout: longer than a day
      |
    2 | idle_timeout = "1000y"
      |                ^^^^^^^
      fix: write a duration like "500ms", "60s" or "1m 30s", at most "1day"
    "#);
    assert_snapshot!(error("[gateway]\nmax_request_body = 0\n"), @r#"
    envgate.toml:2:20: wrong value for gateway.max_request_body: nothing fits into 0 bytes
      |
    2 | max_request_body = 0
      |                    ^
      fix: write a size like "1MiB"
    "#);
    assert_snapshot!(error("[gateway]\nmax_header_bytes = \"1KiB\"\n"), @r#"
    envgate.toml:2:20: wrong value for gateway.max_header_bytes: less than 8KiB
      |
    2 | max_header_bytes = "1KiB"
      |                    ^^^^^^
      fix: write a size from "8KiB"
    "#);
    assert_snapshot!(error("[log]\nlevel = \"envgate=loud\"\n"), @r#"
    envgate.toml:2:9: wrong value for log.level: not a level
      |
    2 | level = "envgate=loud"
      |         ^^^^^^^^^^^^^^
      fix: write a level (error, warn, info, debug, trace) or directives like info,envgate::backend=debug
    "#);
}

#[test]
fn a_default_over_its_ceiling_is_lowered_not_refused() {
    let text = "[admission]\nconcurrency = 2000\nqueue = 2000\n";
    load(text, FlagValues::default(), &[]).unwrap();
    let number = ("WORKER_DEFAULT_REQUEST_CONCURRENCY", "5000");
    load("", FlagValues::default(), &[number]).unwrap();
}

#[test]
fn errors_of_flags() {
    assert_snapshot!(flag_error("", set(&["gateway.access_log"])), @r"
    --set gateway.access_log: not key=value
      fix: write it like --set gateway.access_log=off or --set backend.0.name=eu
    ");
    assert_snapshot!(flag_error("", set(&["gateway.access_log=of"])), @r#"
    --set gateway.access_log=of: wrong value for gateway.access_log: "of"
      fix: did you mean off? it can be off, text, json
    "#);
    assert_snapshot!(flag_error("", set(&["gateway.acces_log=off"])), @"
    --set gateway.acces_log=off: unknown key gateway.acces_log
      fix: did you mean access_log? Keys of [gateway]: listen, threads, max_request_body, max_response_body, request_timeout, shutdown_grace, trusted_peers, prune, plain_http, debug, access_log, max_header_bytes, max_headers, first_byte_timeout, header_timeout, body_timeout, idle_timeout, send_timeout, max_connections, max_body_memory
    ");
    assert_snapshot!(flag_error("", set(&["backend.3.name=x"])), @r"
    --set backend.3.name=x: wrong value for backend.3: the list has 0 items, counted from 0: there is no 3
      fix: use an index from 0 to 0
    ");
    assert_snapshot!(flag_error("[gateway]\nprune = \"all\"", set(&["gateway.prune.x=1"])), @r"
    --set gateway.prune.x=1: wrong value for gateway.prune.x: what is above it is a value, not a table
      fix: name a key of the configuration, like gateway.access_log
    ");
    let listen = FlagValues {
        listen: vec!["here".to_owned()],
        ..FlagValues::default()
    };
    assert_snapshot!(flag_error("", listen), @r"
    --listen here: wrong value for gateway.listen.0: not an address to listen at
      fix: write one like 127.0.0.1:8080, [::1]:8080 or unix:/path
    ");
    let file = "[[backend]]\nname = \"a\"\nurls = [\"http://h:1\"]\n";
    let upstream = FlagValues {
        upstream: vec!["http://h:2".to_owned()],
        ..FlagValues::default()
    };
    assert_snapshot!(flag_error(file, upstream), @r#"
    --upstream: it defines a backend, and the file has backends already
      fix: leave the flag out, or override the file's members: --set 'backend.0.urls=["http://127.0.0.1:9001"]'
    "#);
    let framework = FlagValues {
        framework: Some("0.12.0".to_owned()),
        ..FlagValues::default()
    };
    assert_snapshot!(flag_error(file, framework), @r"
    --framework 0.12.0: it is meant for --upstream or the sample worker, and the file has backends
      fix: write framework into their tables, or use --set backend.0.framework=…
    ");
    let framework = FlagValues {
        framework: Some("new".to_owned()),
        ..FlagValues::default()
    };
    assert_snapshot!(flag_error("", framework), @r"
    --framework new: wrong value for framework: not a framework version: unexpected character 'n' while parsing major version number
      fix: write it like 0.12.0
    ");
}

#[test]
fn errors_of_variables_name_the_variable_and_hide_its_value() {
    for (name, value) in [
        ("WORKER_HTTP_URL", "canary://*"),
        ("WORKER_DEFAULT_REQUEST_CONCURRENCY", "canary"),
        ("WORKER_DEFAULT_MAX_QUEUE_LENGTH", "canary"),
        ("WORKER_GRACEFUL_SHUTDOWN_SECONDS", "canary"),
    ] {
        let error = variable_error(name, value);
        assert!(error.starts_with(name), "{error}");
        assert!(!error.contains("canary"), "{error}");
    }
    assert_snapshot!(variable_error("WORKER_HTTP_URL", "https://*:1"), @r"
    WORKER_HTTP_URL: not a URL to listen at
      fix: write it like http://*:8080 or http://127.0.0.1:8080, or use gateway.listen
    ");
    assert_snapshot!(variable_error("WORKER_DEFAULT_REQUEST_CONCURRENCY", "0"), @r"
    WORKER_DEFAULT_REQUEST_CONCURRENCY: not a number of calls
      fix: set it to a whole number from 1, or to null for no limit
    ");
}

#[test]
fn an_unreadable_file_is_named() {
    let sources = Sources {
        file: Some("/nowhere/envgate.toml".into()),
        ..Sources::default()
    };
    let error = Config::load(&sources).unwrap_err();
    assert_snapshot!(error, @r"
    /nowhere/envgate.toml: can't read the configuration
      fix: name a readable file of UTF-8 text
    ");
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn errors_of_members_that_hold_one_env() {
    let backend = "[[backend]]\nname = \"a\"\nurls = [\"http://h:1\"]\n";
    assert_snapshot!(error(&format!("{backend}env_slice = \"1s\"\n")), @r#"
    envgate.toml:4:13: wrong value for backend.0.env_slice: env_slice says nothing without one_env
      |
    4 | env_slice = "1s"
      |             ^^^^
      fix: add one_env = true, or leave env_slice out
    "#);
    let sliced = format!("{backend}one_env = true\nenv_slice = \"0s\"\n");
    assert_snapshot!(error(&sliced), @r#"
    envgate.toml:5:13: wrong value for backend.0.env_slice: nothing is done in no time
      |
    5 | env_slice = "0s"
      |             ^^^^
      fix: write a duration like "500ms", "60s" or "1m 30s", at most "1day"
    "#);
    let balanced = format!("{backend}one_env = true\nbalance = \"least_requests\"\n");
    assert_snapshot!(error(&balanced), @r#"
    envgate.toml:5:11: wrong value for backend.0.balance: one_env chooses the members itself, by env
      |
    5 | balance = "least_requests"
      |           ^^^^^^^^^^^^^^^^
      fix: leave balance out, or one_env
    "#);
    assert_snapshot!(error(&format!("{backend}one_env = 1\n")), @r#"
    envgate.toml:4:11: wrong value for backend.0.one_env: integer `1`
      |
    4 | one_env = 1
      |           ^
      fix: write true or false
    "#);
}

#[test]
fn an_env_has_its_slice_only_where_members_hold_one_env() {
    let slice = |more: &str| {
        let text = format!("[[backend]]\nname = \"a\"\nurls = [\"http://h:1\"]\n{more}");
        let config = load(&text, FlagValues::default(), &[]).unwrap();
        upstream(&config.backends[0]).env_slice
    };
    assert_eq!(slice(""), None);
    let default = Duration::from_millis(100);
    assert_eq!(slice("one_env = true\n"), Some(default));
    assert_eq!(
        slice("one_env = true\nenv_slice = \"1s\"\n"),
        Some(default * 10)
    );
}
