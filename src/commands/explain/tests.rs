use insta::assert_snapshot;

use super::*;

const ENV: &str = "# API_KEY=canary-comment\nENV_TYPE=production\nTOKEN=canary-value\n\n\
                   canary-no-equals\n=canary-no-name\nTOKEN=canary-later\nEMPTY=\n\
                   LD_PRELOAD=/canary.so\nWORKER_REQUEST_CONCURRENCY=4\nMY_OWN=canary\n";

const CONFIG: &str = "[env]\nreserved = [\"MY_*\"]\ndigest_key_file = \"KEY\"\n\
    [[backend]]\nname = \"eu\"\nurls = [\"http://h:1\"]\nframework = \"0.10.2\"\n\
    when = { env = { ENV_TYPE = \"prod*\" }, header = { X-Region = \"eu\" } }\n\
    [[backend]]\nname = \"dev\"\nurls = [\"http://h:2\"]\nwhen = { env = { ENV_TYPE = \"dev*\" } }\n";

/// What a file says.
fn load(text: &str) -> Config {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("envgate.toml");
    std::fs::write(&file, text).unwrap();
    Config::load(&Sources {
        file: Some(file),
        ..Sources::default()
    })
    .unwrap()
}

fn config() -> Config {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("digest.key");
    std::fs::write(&key, [7; 32]).unwrap();
    load(&CONFIG.replace("KEY", key.to_str().unwrap()))
}

fn shared_key() -> Key {
    Key {
        key: DigestKey::from_secret(&[7; 32]).unwrap(),
        is_shared: true,
    }
}

fn explain(config: &Config, headers: &[&str], input: &str) -> anyhow::Result<Explanation> {
    let headers = headers.iter().map(|text| header(text).unwrap()).collect();
    Explanation::of(config, &shared_key(), &headers, input.as_bytes())
}

#[test]
fn an_env_is_shown_without_its_values() {
    let explanation = explain(&config(), &["x-region: eu"], ENV).unwrap();
    let text = explanation.text(Style::PLAIN);
    assert_snapshot!(text, @r"
    env          6 variables, 1 of them on several lines
    digest       bcbba77021a5 (as the gateway shows it)
    backend      eu (upstream, legacy, framework 0.10.2)
    concurrency  4
    queue        30

    NAME                        VALUE  LINE
    EMPTY                       empty  8
    ENV_TYPE                    set    2
    LD_PRELOAD                  set    9     reserved: kept from processes, not from upstream workers
    MY_OWN                      set    11    reserved: kept from processes, not from upstream workers
    TOKEN                       set    3,7   the last counts
    WORKER_REQUEST_CONCURRENCY  set    10

    line 1 is a comment
    line 5 is ignored: it has no =
    line 6 is ignored: it has no name before its =
    ");
    let json = explanation.json().to_string();
    for shown in [text, json] {
        assert!(!shown.contains("canary"), "{shown}");
        assert!(!shown.contains("production"), "{shown}");
    }
}

#[test]
fn at_a_process_backend_its_own_variables_are_reserved_too() {
    let config = load(
        "[[backend]]\nname = \"own\"\ncommand = [\"w\"]\nframework = \"0.11.0\"\n\
         env = { MINE = \"canary\" }\nwhen = { env = { KIND = \"own\" } }\n\
         [[backend]]\nname = \"rest\"\nurls = [\"http://h:1\"]\nframework = \"0.11.0\"\n",
    );
    let env = "MINE=1\nMINES=1\nPATH=/x\nWORKER_REQUEST_CONCURRENCY=4\n";
    let own = explain(&config, &[], &format!("{env}KIND=own\n")).unwrap();
    let text = own.text(Style::PLAIN);
    assert_snapshot!(text.split_at(text.find("backend").unwrap()).1, @r"
    backend      own (process, modern, framework 0.11.0)
    concurrency  1
    queue        30

    NAME                        VALUE  LINE
    KIND                        set    5
    MINE                        set    1     reserved: the process doesn't get it
    MINES                       set    2
    PATH                        set    3     reserved: the process doesn't get it
    WORKER_REQUEST_CONCURRENCY  set    4
    ");
    assert!(!text.contains("canary"), "{text}");
    let elsewhere = explain(&config, &[], env).unwrap();
    let reserved: Vec<_> = elsewhere
        .variables
        .iter()
        .filter(|variable| variable.is_reserved)
        .map(|variable| variable.name.as_str())
        .collect();
    assert_eq!(reserved, ["PATH"]);
    assert_eq!(elsewhere.limits.unwrap().concurrency.get(), 4);
}

#[test]
fn an_envelope_shows_the_same_env() {
    let env = serde_json::to_string(ENV).unwrap();
    let envelope = format!(
        "\u{feff} {{\"method\":\"facet-call\",\"env\":{env},\"methodParameters\":{{\"facetName\":\"A\",\
         \"methodName\":\"B\",\"arguments\":[],\"sessionId\":\"canary\"}}}}"
    );
    let config = Config::default();
    let of_text = explain(&config, &[], ENV).unwrap();
    let of_envelope = explain(&config, &[], &envelope).unwrap();
    assert_eq!(of_envelope.call.as_deref(), Some("A/B"));
    assert_eq!(of_envelope.digest.to_string(), of_text.digest.to_string());
    assert!(matches!(of_envelope.backend, Backend::Sample));
    assert!(!of_envelope.text(Style::PLAIN).contains("canary"));
}

#[test]
fn what_nobody_takes_and_what_is_wrong_is_told() {
    let config = config();
    let explanation = explain(
        &config,
        &[],
        "ENV_TYPE=production\nWORKER_MAX_QUEUE_LENGTH=canary",
    );
    let explanation = explanation.unwrap();
    assert!(matches!(explanation.backend, Backend::Nobody));
    let text = explanation.text(Style::PLAIN);
    assert!(text.contains("4004") && text.contains("1104"), "{text}");
    assert!(!text.contains("canary"), "{text}");
    for input in ["A=canary\0", "{\"canary\":", "{\"env\":5}"] {
        let error = explain(&config, &[], input).err().unwrap();
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
}

#[test]
fn the_digest_key_comes_from_the_configured_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    assert!(!Key::of(&config).unwrap().is_shared);
    config.env.digest_key_file = Some(directory.path().join("digest.key"));
    assert!(Key::of(&config).is_err());
    std::fs::write(directory.path().join("digest.key"), [7; 32]).unwrap();
    let key = Key::of(&config).unwrap();
    let env = EnvString::parse("A=1").unwrap();
    let expected = shared_key().key.digest(env.key()).to_string();
    assert_eq!(key.key.digest(env.key()).to_string(), expected);
}
