//! What `{port}`, `{socket}` and `{rev}` stand for in a command and its variables.

use super::code::Rev;

/// A placeholder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placeholder {
    Port,
    Socket,
    Rev,
}

impl Placeholder {
    const ALL: [Self; 3] = [Self::Port, Self::Socket, Self::Rev];

    /// As it is written.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Port => "{port}",
            Self::Socket => "{socket}",
            Self::Rev => "{rev}",
        }
    }
}

/// What they stand for, for one process.
#[derive(Debug, Default)]
pub(super) struct Placeholders<'a> {
    pub(super) port: Option<u16>,
    pub(super) socket: Option<&'a str>,
    pub(super) rev: Option<&'a Rev>,
}

impl Placeholders<'_> {
    /// A text with its placeholders replaced. One without a value stays, as does any other brace;
    /// what was put in isn't looked at again.
    pub(super) fn fill(&self, text: &str) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(brace) = rest.find('{') {
            let (before, from_brace) = rest.split_at(brace);
            filled.push_str(before);
            let found = Placeholder::ALL.into_iter().find_map(|placeholder| {
                let behind = from_brace.strip_prefix(placeholder.as_str())?;
                Some((self.value(placeholder)?, behind))
            });
            if let Some((value, behind)) = found {
                filled.push_str(&value);
                rest = behind;
            } else {
                filled.push('{');
                rest = from_brace.get(1..).unwrap_or_default();
            }
        }
        filled.push_str(rest);
        filled
    }

    fn value(&self, placeholder: Placeholder) -> Option<String> {
        match placeholder {
            Placeholder::Port => self.port.map(|port| port.to_string()),
            Placeholder::Socket => self.socket.map(str::to_owned),
            Placeholder::Rev => self.rev.map(|rev| rev.as_str().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_placeholders_with_a_value_are_filled_and_all_else_stays() {
        let rev: Rev = "a1".parse().unwrap();
        let all = Placeholders {
            port: Some(80),
            socket: Some("/run/{rev}/s"),
            rev: Some(&rev),
        };
        for (text, filled) in [
            ("", ""),
            ("--port={port},{port}", "--port=80,80"),
            ("{socket}", "/run/{rev}/s"),
            ("{{rev}}", "{a1}"),
            ("{ports} {x} {", "{ports} {x} {"),
            ("ž{rev}ž", "ža1ž"),
        ] {
            assert_eq!(all.fill(text), filled);
        }
        assert_eq!(Placeholders::default().fill("{port}{rev}"), "{port}{rev}");
    }
}
