//! The variables of a worker, built from nothing (CONTRACT 6).
//!
//! Pure: variables in, variables out. Each source may override those before it: the inherited base,
//! the request's env without reserved names, the backend's own variables (whose names are reserved,
//! so that these two never meet), and the gateway's two by which the worker can prove what it has.

use super::{placeholders::Placeholders, variables::OwnVariables};
use crate::env::{BASE_VARIABLE, Env, EnvError, NONCE_VARIABLE, Reserved, env_proof, shown_name};

/// Names that the launcher sets, which the proof leaves out with the base.
const LAUNCHERS: [&str; 3] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// What a worker's variables are made of.
#[derive(Debug)]
pub(super) struct Sources<'a> {
    /// Of the gateway's own, those to be inherited.
    pub(super) base: &'a [(String, Vec<u8>)],
    pub(super) own: &'a OwnVariables,
    pub(super) placeholders: &'a Placeholders<'a>,
    /// The call's.
    pub(super) env: &'a Env,
    /// With the names of the backend's own variables.
    pub(super) reserved: &'a Reserved,
    pub(super) nonce: &'a str,
}

/// A worker's variables and what follows from them.
#[derive(Debug)]
pub(super) struct Environment {
    pub(super) variables: Env,
    /// Names of the call's env that the worker doesn't get, for people.
    pub(super) dropped: Vec<String>,
    /// What the worker's proof must be.
    pub(super) proof: String,
}

impl Environment {
    /// # Errors
    ///
    /// [`EnvError::StringTooLong`] for a variable that no process can be given, and
    /// [`EnvError::TooLarge`] for an env of the call that is over the limit. The sum of all sources
    /// is for the caller to check, who knows what else the process is given.
    pub(super) fn build(sources: &Sources<'_>) -> Result<Self, EnvError> {
        sources.env.check_size()?;
        let mut dropped = Vec::new();
        let mut variables: Vec<(&[u8], Vec<u8>)> = Vec::new();
        for (name, value) in sources.base {
            variables.push((name.as_bytes(), value.clone()));
        }
        for (name, value) in sources.env.iter() {
            // What has a `=` in its name would arrive as another variable.
            if sources.reserved.contains(&String::from_utf8_lossy(name)) || name.contains(&b'=') {
                dropped.push(shown_name(name));
            } else {
                variables.push((name, value.to_vec()));
            }
        }
        for (name, value) in sources.own.iter() {
            let value = sources.placeholders.fill(value).into_bytes();
            variables.push((name.as_bytes(), value));
        }
        let base = base_names(sources.base, &variables);
        variables.push((BASE_VARIABLE.as_bytes(), base.into_bytes()));
        variables.push((NONCE_VARIABLE.as_bytes(), sources.nonce.as_bytes().to_vec()));
        let variables = Env::from_variables(variables)?;
        variables.check_strings()?;
        let proof = env_proof(sources.nonce, variables.iter());
        Ok(Self {
            variables,
            dropped,
            proof,
        })
    }
}

/// The names that the proof leaves out: those that only the base sets, and the launcher's.
fn base_names(base: &[(String, Vec<u8>)], variables: &[(&[u8], Vec<u8>)]) -> String {
    let overriding = variables.get(base.len()..).unwrap_or_default();
    let names = base.iter().map(|(name, _)| name.as_str());
    let kept = names.filter(|base| overriding.iter().all(|(name, _)| *name != base.as_bytes()));
    kept.chain(LAUNCHERS).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{EnvString, Glob, MAX_ENV_BYTES, MAX_STRING_BYTES};

    fn build(base: &[(&str, &str)], own: &str, env: &str) -> Result<Environment, EnvError> {
        #[derive(serde::Deserialize)]
        struct Config {
            env: OwnVariables,
        }
        let base = base.iter();
        let base: Vec<_> = base
            .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
            .collect();
        let own = toml::from_str::<Config>(&format!("env = {own}"))
            .unwrap()
            .env;
        let names = own.iter().map(|(name, _)| Glob::new(name));
        Environment::build(&Sources {
            base: &base,
            own: &own,
            placeholders: &Placeholders {
                port: Some(4711),
                ..Placeholders::default()
            },
            env: &EnvString::parse(env).unwrap(),
            reserved: &Reserved::new(names),
            nonce: "n0nce",
        })
    }

    fn get<'a>(environment: &'a Environment, name: &str) -> Option<&'a str> {
        let value = environment.variables.get(name)?;
        Some(str::from_utf8(value).unwrap())
    }

    #[test]
    fn each_source_has_its_place() {
        let base = [("PATH", "/bin"), ("LANG", "C"), ("TZ", "UTC")];
        let own = r#"{ PORT = "{port}", TZ = "CET" }"#;
        let env = "A=1\nLANG=cs\nPORT=80\nTZ=x\nPATH=/tmp\nLD_PRELOAD=x\nENVGATE_PROOF=x";
        let environment = build(&base, own, env).unwrap();
        for (name, value) in [
            ("PATH", "/bin"),
            ("LANG", "cs"),
            ("TZ", "CET"),
            ("PORT", "4711"),
            ("A", "1"),
            ("ENVGATE_PROOF", "n0nce"),
            ("ENVGATE_BASE", "PATH,LISTEN_PID,LISTEN_FDS,LISTEN_FDNAMES"),
        ] {
            assert_eq!(get(&environment, name), Some(value), "{name}");
        }
        assert_eq!(environment.variables.len(), 7);
        let dropped = ["ENVGATE_PROOF", "LD_PRELOAD", "PATH", "PORT", "TZ"];
        assert_eq!(environment.dropped, dropped);
    }

    #[test]
    fn the_proof_covers_all_but_the_base() {
        let environment = build(&[("PATH", "/bin"), ("TZ", "")], "{ B = \"2\" }", "A=1").unwrap();
        let pairs = [(&b"A"[..], &b"1"[..]), (b"B", b"2")];
        assert_eq!(environment.proof, env_proof("n0nce", pairs.into_iter()));
    }

    #[test]
    fn a_name_with_an_equals_sign_is_dropped() {
        let env = Env::from_variables([("A=B", "c"), ("D", "e")]).unwrap();
        let environment = Environment::build(&Sources {
            base: &[],
            own: &OwnVariables::default(),
            placeholders: &Placeholders::default(),
            env: &env,
            reserved: &Reserved::new([]),
            nonce: "",
        });
        assert_eq!(environment.unwrap().dropped, ["A=B"]);
    }

    #[test]
    fn what_no_process_can_be_given_is_refused() {
        let long = "x".repeat(MAX_STRING_BYTES);
        let error = build(&[], "{}", &format!("A={long}")).unwrap_err();
        assert!(matches!(error, EnvError::StringTooLong { name, .. } if name == "A"));
        let error = build(&[], &format!("{{ B = \"{long}\" }}"), "").unwrap_err();
        assert!(matches!(error, EnvError::StringTooLong { name, .. } if name == "B"));
        let large: String = (0..20)
            .map(|i| format!("A{i}={}\n", &long[..60_000]))
            .collect();
        let error = build(&[], "{}", &large).unwrap_err();
        assert!(matches!(error, EnvError::TooLarge { bytes } if bytes > MAX_ENV_BYTES));
    }
}
