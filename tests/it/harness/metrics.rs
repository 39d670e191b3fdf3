//! What `/metrics` says.

use std::collections::BTreeMap;

/// The samples of one look at `/metrics`.
#[derive(Debug)]
pub(crate) struct Metrics {
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Metrics {
    /// Reads the Prometheus text form.
    pub(super) fn parse(text: &str) -> Self {
        let lines = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        Self {
            samples: lines
                .map(|line| sample(line).unwrap_or_else(|| panic!("{line}")))
                .collect(),
        }
    }

    /// The label sets under which a name is there.
    pub(crate) fn labels(&self, name: &str) -> Vec<&BTreeMap<String, String>> {
        let named = self.samples.iter().filter(|(known, _, _)| known == name);
        named.map(|(_, labels, _)| labels).collect()
    }

    /// The sum of all samples of a name; `None` where there is none.
    pub(crate) fn sum(&self, name: &str) -> Option<f64> {
        let values = self.samples.iter().filter(|(known, _, _)| known == name);
        values
            .map(|(_, _, value)| *value)
            .reduce(|one, other| one + other)
    }

    /// The sum of a name's samples that have this value in one of their labels.
    pub(crate) fn sum_with(&self, name: &str, label: &str) -> f64 {
        let is_meant = |labels: &BTreeMap<String, String>| labels.values().any(|l| l == label);
        let samples = self.samples.iter();
        let meant = samples.filter(|(known, labels, _)| known == name && is_meant(labels));
        meant.map(|(_, _, value)| *value).sum()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.samples.iter().map(|(name, _, _)| name.as_str())
    }
}

/// `name{label="value",…} 1.5`
fn sample(line: &str) -> Option<(String, BTreeMap<String, String>, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.replace("+Inf", "inf").parse().ok()?;
    let Some((name, labels)) = series.split_once('{') else {
        return Some((series.to_owned(), BTreeMap::new(), value));
    };
    let pairs = labels
        .strip_suffix('}')?
        .split("\",")
        .filter(|pair| !pair.is_empty());
    let labels = pairs.map(|pair| {
        let (name, value) = pair.split_once("=\"")?;
        Some((name.to_owned(), value.trim_end_matches('"').to_owned()))
    });
    Some((name.to_owned(), labels.collect::<Option<_>>()?, value))
}
