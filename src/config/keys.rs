//! What each key of the file takes, in words: the fix of an error that doesn't bring its own.

/// Each key, without the indices of lists, and what it takes.
pub(super) const KEYS: &[(&str, &str)] = &[
    (
        "gateway.listen",
        "a list of addresses like \"127.0.0.1:8080\", \"[::1]:8080\" or \"unix:/run/envgate.sock\"",
    ),
    ("gateway.threads", "a whole number from 1 to 1024"),
    ("gateway.max_request_body", SIZE),
    ("gateway.max_response_body", SIZE),
    ("gateway.request_timeout", DURATION),
    ("gateway.shutdown_grace", DURATION),
    (
        "gateway.trusted_peers",
        "a list of addresses, networks like \"10.0.0.0/8\", and \"unix\"",
    ),
    (
        "gateway.prune",
        "\"off\", \"env_type_production\" or \"all\"",
    ),
    ("gateway.plain_http", "\"reject\" or \"forward\""),
    ("gateway.debug", "true or false"),
    ("gateway.access_log", "\"off\", \"text\" or \"json\""),
    ("gateway.max_header_bytes", SIZE),
    ("gateway.max_headers", COUNT),
    ("gateway.first_byte_timeout", DURATION),
    ("gateway.header_timeout", DURATION),
    ("gateway.body_timeout", DURATION),
    ("gateway.idle_timeout", DURATION),
    ("gateway.send_timeout", DURATION),
    ("gateway.max_connections", COUNT),
    ("gateway.max_body_memory", SIZE),
    ("env.source", "\"request\" or \"deployment\""),
    ("env.fallback", "\"none\" or \"deployment\""),
    ("env.unrepresentable", "\"skip\" or \"refuse\""),
    ("env.reserved", "a list of names like \"MY_*\""),
    ("env.digest_key_file", "the path of a file"),
    ("env.max_hot", COUNT),
    (
        "admission.concurrency",
        "a whole number from 1, or \"null\" for no limit",
    ),
    ("admission.queue", COUNT),
    ("admission.max_concurrency", COUNT),
    ("admission.max_queue", COUNT),
    (
        "admin.listen",
        "an address like \"127.0.0.1:9180\" or \"unix:/run/envgate/admin.sock\"",
    ),
    ("admin.token_file", "the path of a file"),
    (
        "log.level",
        "a level (error, warn, info, debug, trace) or tracing directives",
    ),
    ("log.format", "\"text\" or \"json\""),
    (
        "backend.name",
        "letters, digits, dots, dashes and underscores",
    ),
    ("backend.kind", "\"upstream\" or \"process\""),
    ("backend.framework", "a version like \"0.12.0\""),
    ("backend.dialect", "\"legacy\" or \"modern\""),
    (
        "backend.urls",
        "a list of members like \"http://127.0.0.1:9001\" or \"unix:/run/worker.sock\"",
    ),
    ("backend.balance", "\"env_affinity\" or \"least_requests\""),
    ("backend.one_env", "true or false"),
    ("backend.env_slice", DURATION),
    ("backend.health_interval", DURATION),
    (
        "backend.command",
        "the program and its arguments: [\"worker\", \"--port\", \"{port}\"]",
    ),
    ("backend.cwd", "the path of a directory"),
    ("backend.listen", "\"tcp\", \"unix\" or \"inherit\""),
    (
        "backend.env",
        "variables and their values: { PORT = \"{port}\" }",
    ),
    (
        "backend.inherit",
        "a list of variables' names like \"PATH\"",
    ),
    ("backend.readiness", "\"health\" or \"connect\""),
    ("backend.stop_grace", DURATION),
    (
        "backend.user",
        "a user's name, its number, or \"range:20000-29999\"",
    ),
    ("backend.group", "a group's name or its number"),
    (
        "backend.limits",
        "limits: { memory = \"1GiB\", open_files = 1024 }",
    ),
    ("backend.limits.memory", SIZE),
    ("backend.limits.open_files", COUNT),
    (
        "backend.code",
        "a regular expression with one group: 'backends/([^/]+)/'",
    ),
    (
        "backend.when.env",
        "variables and the globs of their values: { ENV_TYPE = \"prod*\" }",
    ),
    (
        "backend.when.header",
        "request headers and their exact values: { \"x-region\" = \"eu\" }",
    ),
    (
        "backend.when",
        "conditions: { env = { ENV_TYPE = \"prod*\" }, header = { \"x-region\" = \"eu\" } }",
    ),
    (
        "backend",
        "tables: [[backend]] with a name, and urls or a command",
    ),
    ("gateway", "a table: [gateway]"),
    ("env", "a table: [env]"),
    ("admission", "a table: [admission]"),
    ("instances.max", COUNT),
    ("instances.idle_timeout", DURATION),
    ("instances.min", "a whole number from 0"),
    ("instances.max_age", DURATION),
    ("instances.max_calls", COUNT),
    ("instances.max_memory", SIZE),
    ("instances.start_timeout", DURATION),
    ("instances.max_starting", COUNT),
    ("instances.max_waiting", COUNT),
    ("instances", "a table: [instances]"),
    ("admin", "a table: [admin]"),
    ("log", "a table: [log]"),
];

const COUNT: &str = "a whole number from 1";
const DURATION: &str = "a duration like \"60s\", \"500ms\" or \"1m 30s\"";
const SIZE: &str = "a size like \"64KiB\" or \"1MiB\", or a number of bytes";

/// What the key takes, or the nearest one above it that is known.
pub(super) fn takes(key: &str) -> Option<&'static str> {
    KEYS.iter()
        .find(|(known, _)| *known == key)
        .map(|(_, takes)| *takes)
        .or_else(|| key.rsplit_once('.').and_then(|(above, _)| takes(above)))
}

/// The known name nearest to a wrong one, if one is near: at most a third of it differs.
pub(super) fn nearest<'k>(wrong: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|name| (distance(&wrong.to_lowercase(), name), *name))
        .min()
        .filter(|(distance, name)| distance * 3 <= name.len().max(3))
        .map(|(_, name)| name)
}

/// Levenshtein's distance, over one row.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = line;
        let mut before = line + 1;
        if let Some(first) = row.first_mut() {
            *first = before;
        }
        for (cell, to) in row.iter_mut().skip(1).zip(right.chars()) {
            let replaced = diagonal + usize::from(from != to);
            diagonal = *cell;
            before = replaced.min(diagonal + 1).min(before + 1);
            *cell = before;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_a_near_one() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(
            nearest("acess_log", &["listen", "access_log"]),
            Some("access_log")
        );
        assert_eq!(nearest("LISTEN", &["listen"]), Some("listen"));
        assert_eq!(nearest("colour", &["listen", "access_log"]), None);
    }
}
