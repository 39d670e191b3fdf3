//! The sources as one tree, whose every value knows where it was written.

use std::{collections::BTreeMap, ops::Range};

use serde::de::Unexpected;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Placed,
    error::{At, Problem, Step},
};

/// Where something was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// In the file, at these bytes.
    File(Range<usize>),
    /// On the command line, like this.
    Flag(String),
    /// In this variable.
    Variable(&'static str),
    /// Nowhere: it is there because something below it is, or missing altogether.
    Nowhere,
}

/// A value and where it was written.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) value: Value,
}

/// TOML's values.
#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i128),
    Float(f64),
    Boolean(bool),
    Date,
    List(Vec<Node>),
    Table(BTreeMap<String, Entry>),
}

/// A table's value, and where its key was written.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Origin,
    pub(super) node: Node,
}

impl Node {
    /// Reads a TOML document.
    pub(super) fn from_toml(text: &str) -> Result<Self, toml::de::Error> {
        let table = DeTable::parse(text)?;
        let place = |range| Origin::File(range);
        Ok(Self {
            origin: Origin::Nowhere,
            value: Value::from_table(table.into_inner(), &place),
        })
    }

    /// A flag's text.
    pub(super) fn flag(flag: &str, text: &str) -> Self {
        Self {
            origin: Origin::Flag(format!("{flag} {text}")),
            value: Value::Text(text.to_owned()),
        }
    }

    /// A repeatable flag's texts.
    pub(super) fn flag_list(flag: &str, texts: &[String]) -> Self {
        let items = texts.iter().map(|text| Self::flag(flag, text)).collect();
        Self {
            origin: Origin::Flag(flag.to_owned()),
            value: Value::List(items),
        }
    }

    /// A table without keys.
    pub(super) const fn empty_table(origin: Origin) -> Self {
        Self {
            origin,
            value: Value::Table(BTreeMap::new()),
        }
    }

    /// The value of a table's key or of a list's place.
    pub(super) fn get(&self, step: &str) -> Option<&Self> {
        match &self.value {
            Value::Table(entries) => entries.get(step).map(|entry| &entry.node),
            Value::List(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        }
    }

    /// Puts a value at a path, in place of what is there. Tables on the way are made, and so is the
    /// next item of a list.
    pub(super) fn put(&mut self, path: &[&str], node: Self) -> Result<(), Placed> {
        let origin = node.origin.clone();
        self.put_below(path, node)
            .map_err(|problem| (origin, problem))
    }

    fn put_below(&mut self, path: &[&str], node: Self) -> Result<(), Problem> {
        let Some((&step, rest)) = path.split_first() else {
            *self = node;
            return Ok(());
        };
        let empty = match rest.first() {
            Some(next) if next.parse::<usize>().is_ok() => Value::List(Vec::new()),
            _ => Value::Table(BTreeMap::new()),
        };
        let empty = Self {
            origin: node.origin.clone(),
            value: empty,
        };
        let below = match &mut self.value {
            Value::Table(entries) => {
                let entry = entries.entry(step.to_owned()).or_insert_with(|| Entry {
                    key: node.origin.clone(),
                    node: empty,
                });
                &mut entry.node
            }
            Value::List(items) => {
                let length = items.len();
                let index = step.parse::<usize>().unwrap_or(usize::MAX);
                if index == length {
                    items.push(empty);
                }
                items
                    .get_mut(index)
                    .ok_or_else(|| Problem::no_such_item(step, length))?
            }
            _ => return Err(Problem::below_a_value(step)),
        };
        below
            .put_below(rest, node)
            .map_err(|problem| problem.below(Step::of(step)))
    }

    /// Where what a problem is about was written: the key or value at its path, or what comes
    /// nearest above it.
    pub(super) fn origin_of(&self, problem: &Problem) -> Origin {
        let mut node = self;
        let mut origin = &self.origin;
        let mut steps = problem.path().peekable();
        while let Some(step) = steps.next() {
            let next = match (&node.value, step) {
                (Value::Table(entries), Step::Key(key)) => entries.get(key).map(|entry| {
                    let wants_key = steps.peek().is_none() && problem.at == At::Key;
                    let place = if wants_key {
                        &entry.key
                    } else {
                        &entry.node.origin
                    };
                    (place, &entry.node)
                }),
                (Value::List(items), Step::Index(index)) => {
                    items.get(*index).map(|item| (&item.origin, item))
                }
                _ => None,
            };
            let Some((place, below)) = next else { break };
            if *place != Origin::Nowhere {
                origin = place;
            }
            node = below;
        }
        origin.clone()
    }
}

impl Value {
    /// Reads a TOML value; what is none is taken as text, so that `60s` and `off` need no quotes.
    pub(super) fn from_toml_or_text(text: &str, origin: &Origin) -> Self {
        match DeValue::parse(text.trim()) {
            Ok(value) => Self::from_value(value.into_inner(), &|_| origin.clone()),
            Err(_) => Self::Text(text.trim().to_owned()),
        }
    }

    fn from_value(value: DeValue<'_>, place: &dyn Fn(Range<usize>) -> Origin) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.into_owned()),
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| Self::Float(f64::INFINITY), Self::Integer),
            DeValue::Float(number) => Self::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(is) => Self::Boolean(is),
            DeValue::Datetime(_) => Self::Date,
            DeValue::Array(items) => {
                Self::List(items.into_iter().map(|item| at(item, place)).collect())
            }
            DeValue::Table(table) => Self::from_table(table, place),
        }
    }

    fn from_table(table: DeTable<'_>, place: &dyn Fn(Range<usize>) -> Origin) -> Self {
        let entries = table.into_iter().map(|(key, value)| {
            let entry = Entry {
                key: place(key.span()),
                node: at(value, place),
            };
            (key.into_inner().into_owned(), entry)
        });
        Self::Table(entries.collect())
    }

    /// What serde calls it.
    pub(super) fn unexpected(&self) -> Unexpected<'_> {
        match self {
            Self::Text(text) => Unexpected::Str(text),
            Self::Integer(number) => i64::try_from(*number)
                .map_or(Unexpected::Other("a number that large"), Unexpected::Signed),
            Self::Float(number) => Unexpected::Float(*number),
            Self::Boolean(is) => Unexpected::Bool(*is),
            Self::Date => Unexpected::Other("a date"),
            Self::List(_) => Unexpected::Seq,
            Self::Table(_) => Unexpected::Map,
        }
    }
}

fn at(value: Spanned<DeValue<'_>>, place: &dyn Fn(Range<usize>) -> Origin) -> Node {
    Node {
        origin: place(value.span()),
        value: Value::from_value(value.into_inner(), place),
    }
}
