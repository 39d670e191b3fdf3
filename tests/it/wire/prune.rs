//! What players of a production game must not see (CONTRACT 4).

use crate::harness::{Backend, Call, Gateway, Json, Message, Step, answer};

const UNKNOWN: &str = r#"{"status":"exception","exception":{"ClassName":"E","Message":"secret"},"isKnownException":false,"logs":[{"message":"secret"}]}"#;
const KNOWN: &str = r#"{"status":"exception","exception":{"ClassName":"E","Message":"told"},"isKnownException":true,"logs":[{"message":"secret"}]}"#;
const FINE: &str = r#"{"status":"ok","returned":5,"logs":[{"message":"secret"}]}"#;
const CRASH: &str = r#"{"exception":{"ClassName":"E","Message":"secret"}}"#;
const PRUNED: &str = r#"{"ClassName":"System.Exception","Message":"Internal Server Error"}"#;

fn json(text: &str) -> Json {
    Json::parse(text.as_bytes()).expect("JSON")
}

/// The answers to the four replies above, in their order, under this setting.
fn answers(prune: &str, call: &Call) -> [Message; 4] {
    let reply = |body: &str| vec![answer(200, &[("Content-Type", "application/json")], body)];
    let error = [
        ("Content-Type", "application/json"),
        ("X-Unisave-Error-Response", "1.0"),
    ];
    let crash: Vec<Step> = vec![answer(500, &error, CRASH)];
    let backend = Backend::start(vec![reply(UNKNOWN), reply(KNOWN), reply(FINE), crash]);
    let gateway = Gateway::before(
        &[&backend.url()],
        &format!("[gateway]\nprune = \"{prune}\""),
    );
    [(); 4].map(|()| gateway.call(call))
}

fn legacy(env: &str) -> Call {
    Call::legacy(env)
}

fn assert_kept(answers: &[Message; 4]) {
    let [unknown, known, fine, crash] = answers;
    for answer in [unknown, crash] {
        assert!(answer.text().contains("secret"), "{}", answer.text());
    }
    assert!(known.text().contains("told") && fine.text().contains("secret"));
}

fn assert_pruned(answers: &[Message; 4], legacy: bool) {
    for answer in answers {
        assert!(!answer.text().contains("secret"), "{}", answer.text());
    }
    let [unknown, known, fine, crash] = answers;
    let statuses = answers.each_ref().map(Message::status);
    assert_eq!(statuses, [200, 200, 200, 500]);
    for answer in [unknown, crash] {
        assert_eq!(
            answer.json().at("exception"),
            Some(&json(PRUNED)),
            "{}",
            answer.text()
        );
    }
    assert!(known.text().contains("told"), "{}", known.text());
    assert_eq!(fine.json().at("returned"), Some(&json("5")));
    assert_eq!(crash.header("x-unisave-error-response"), Some("1.0"));
    for answer in [unknown, known, fine] {
        let body = answer.json();
        let logs = if legacy {
            body.at2("special", "logs")
        } else {
            body.at("logs")
        };
        assert_eq!(logs, Some(&json("[]")), "{}", answer.text());
        let length = answer.header("content-length").map(str::to_owned);
        assert!(length.is_none_or(|length| length == answer.body.len().to_string()));
    }
}

#[test]
fn nothing_is_pruned_by_default() {
    assert_kept(&answers("off", &legacy("ENV_TYPE=production\n")));
    assert_kept(&answers("off", &Call::modern()));
}

#[test]
fn everything_is_pruned_where_configured() {
    assert_pruned(&answers("all", &legacy("ENV_TYPE=development\n")), true);
    assert_pruned(&answers("all", &Call::modern()), false);
}

#[test]
fn production_is_told_by_the_env() {
    assert_pruned(
        &answers("env_type_production", &legacy("ENV_TYPE=production\n")),
        true,
    );
    assert_kept(&answers(
        "env_type_production",
        &legacy("ENV_TYPE=development\n"),
    ));
    assert_kept(&answers(
        "env_type_production",
        &legacy("# ENV_TYPE=production\n"),
    ));
}
