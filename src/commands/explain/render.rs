//! An explanation as text and as JSON.

use serde_json::{Value, json};

use super::{Backend, Explanation, Variable};
use crate::commands::output::{Style, aligned, shown};

impl Explanation {
    pub(super) fn text(&self, style: Style) -> String {
        let mut text = aligned(&self.facts(style));
        if !self.variables.is_empty() {
            text.push('\n');
            let mut rows = vec![["NAME", "VALUE", "LINE", ""].map(str::to_owned)];
            rows.extend(
                self.variables
                    .iter()
                    .map(|variable| variable.row(style, self.backend.is_process())),
            );
            let table = aligned(&rows);
            let (head, body) = table.split_once('\n').unwrap_or_default();
            text.push_str(&format!("{}\n{body}", style.bold(head)));
        }
        if !self.others.is_empty() {
            text.push('\n');
            for (line, what) in &self.others {
                text.push_str(&format!("line {line} is {what}\n"));
            }
        }
        text
    }

    fn facts(&self, style: Style) -> Vec<[String; 2]> {
        let mut facts = Vec::new();
        let mut fact = |name: &str, value: String| facts.push([name.to_owned(), value]);
        if let Some(call) = &self.call {
            fact("call", shown(call));
        }
        let doubled = self.doubled().len();
        let mut count = format!("{} variables", self.variables.len());
        if doubled > 0 {
            count.push_str(&format!(", {doubled} of them on several lines"));
        }
        fact("env", count);
        let scope = if self.digest_is_shared {
            "as the gateway shows it"
        } else {
            "of this run only: [env] digest_key_file isn't set"
        };
        fact("digest", format!("{} ({scope})", self.digest));
        fact("backend", self.backend.text(style));
        match &self.limits {
            Ok(limits) => {
                fact("concurrency", limits.concurrency.to_string());
                fact("queue", limits.queue.to_string());
            }
            Err(error) => fact("refused", style.warning(&format!("1104: {error}"))),
        }
        if let Some(error) = &self.oversize {
            fact(
                "refused",
                style.warning(&format!("1104 for a process: {error}")),
            );
        }
        if !self.unrepresentable.is_empty() {
            let names: Vec<String> = self
                .unrepresentable
                .iter()
                .map(|name| shown(name))
                .collect();
            fact("unrepresentable", names.join(", "));
        }
        if self.env_is_ignored {
            let note = "[env] source is \"deployment\": the gateway ignores a request's env";
            fact("note", style.warning(note));
        }
        facts
    }

    pub(super) fn json(&self) -> Value {
        let variables: Vec<Value> = self.variables.iter().map(Variable::json).collect();
        let others = self.others.iter();
        let others: Vec<Value> = others
            .map(|(line, what)| json!({ "line": line, "is": what }))
            .collect();
        json!({
            "input": if self.call.is_some() { "envelope" } else { "env" },
            "call": self.call,
            "digest": self.digest.to_string(),
            "digest_scope": if self.digest_is_shared { "key_file" } else { "this_run" },
            "variables": variables,
            "other_lines": others,
            "unrepresentable": self.unrepresentable,
            "concurrency": self.limits.as_ref().ok().map(|limits| limits.concurrency),
            "queue": self.limits.as_ref().ok().map(|limits| limits.queue),
            "settings_error": self.limits.as_ref().err(),
            "size_error": self.oversize,
            "env_is_ignored": self.env_is_ignored,
            "backend": self.backend.json(),
        })
    }
}

impl Variable {
    const fn value(&self) -> &'static str {
        if self.is_empty { "empty" } else { "set" }
    }

    fn row(&self, style: Style, for_process: bool) -> [String; 4] {
        let lines: Vec<String> = self.lines.iter().map(usize::to_string).collect();
        let mut notes = Vec::new();
        if self.is_reserved {
            notes.push(style.warning(match for_process {
                true => "reserved: the process doesn't get it",
                false => "reserved: kept from processes, not from upstream workers",
            }));
        }
        if self.lines.len() > 1 {
            notes.push("the last counts".to_owned());
        }
        [
            shown(&self.name),
            self.value().to_owned(),
            lines.join(","),
            notes.join("; "),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "value": self.value(),
            "lines": self.lines,
            "reserved": self.is_reserved,
            "doubled": self.lines.len() > 1,
        })
    }
}

impl Backend {
    /// Whether the env becomes the variables of a process.
    fn is_process(&self) -> bool {
        match self {
            Self::Sample => true,
            Self::Nobody => false,
            Self::Named { kind, .. } => *kind == "process",
        }
    }

    fn text(&self, style: Style) -> String {
        match self {
            Self::Sample => "a process of the sample worker: no backend is configured".to_owned(),
            Self::Nobody => style.warning("none takes it (4004)"),
            Self::Named {
                name,
                kind,
                dialect,
                framework,
            } => format!("{name} ({kind}, {dialect}, framework {framework})"),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Sample => json!({ "kind": "sample" }),
            Self::Nobody => Value::Null,
            Self::Named {
                name,
                kind,
                dialect,
                framework,
            } => json!({
                "kind": kind, "name": name, "dialect": dialect, "framework": framework,
            }),
        }
    }
}
