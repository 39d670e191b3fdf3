//! The variables that a backend's own table names.

use std::{collections::BTreeMap, fmt, ops::Deref};

use serde::{Deserialize, Deserializer, de};

/// The names that a worker inherits from the gateway where nothing else is said (CONTRACT 6).
const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];

/// Variables of the configuration's own. `Debug` shows their names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct OwnVariables(BTreeMap<String, String>);

impl OwnVariables {
    /// Name and value, in order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for OwnVariables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<'de> Deserialize<'de> for OwnVariables {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let variables = BTreeMap::<String, String>::deserialize(deserializer)?;
        for (name, value) in &variables {
            check_name(name)?;
            if value.contains('\0') {
                return Err(de::Error::custom("a value has a NUL character"));
            }
        }
        Ok(Self(variables))
    }
}

fn check_name<E: de::Error>(name: &str) -> Result<(), E> {
    if name.is_empty() || name.contains(['=', '\0']) {
        let text = "not a variable's name; write one without `=`";
        return Err(E::custom(text));
    }
    if name.starts_with("ENVGATE_") || name.starts_with("LISTEN_") {
        let text = "names that begin with ENVGATE_ or LISTEN_ are the gateway's to set";
        return Err(E::custom(text));
    }
    Ok(())
}

/// Names of variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names(Vec<String>);

impl Default for Names {
    fn default() -> Self {
        Self(INHERITED.map(str::to_owned).into())
    }
}

impl Deref for Names {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        for name in &names {
            check_name(name)?;
            // The list of those names is told to the worker with commas between them.
            if name.contains(',') {
                return Err(de::Error::custom("a name with a comma can't be inherited"));
            }
        }
        Ok(Self(names))
    }
}
