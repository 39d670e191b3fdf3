//! Reads the modules' `Config` types from the tree, so that an error keeps its path.

use std::collections::btree_map;

use serde::{
    Deserializer,
    de::{
        DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::StrDeserializer,
    },
    forward_to_deserialize_any,
};

use super::{
    error::{At, Problem, Step},
    tree::{Entry, Node, Value},
};

/// A node, as serde reads it.
#[derive(Clone, Copy)]
pub(super) struct Reader<'n>(pub(super) &'n Node);

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.0.value {
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::Integer(number) => match i64::try_from(*number) {
                Ok(number) => visitor.visit_i64(number),
                Err(_) => Err(Problem::invalid_type(self.0.value.unexpected(), &visitor)),
            },
            Value::Float(number) => visitor.visit_f64(*number),
            Value::Boolean(is) => visitor.visit_bool(*is),
            Value::Date => Err(Problem::invalid_type(self.0.value.unexpected(), &visitor)),
            Value::List(items) => visitor.visit_seq(List {
                items: items.iter().enumerate(),
            }),
            Value::Table(entries) => visitor.visit_map(Table {
                entries: entries.iter(),
                current: None,
            }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match &self.0.value {
            Value::Text(text) => visitor.visit_enum(text.as_str().into_deserializer()),
            other => Err(Problem::invalid_type(other.unexpected(), &"a word")),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct List<'n> {
    items: std::iter::Enumerate<std::slice::Iter<'n, Node>>,
}

impl<'de> SeqAccess<'de> for List<'de> {
    type Error = Problem;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Problem> {
        let Some((index, item)) = self.items.next() else {
            return Ok(None);
        };
        seed.deserialize(Reader(item))
            .map(Some)
            .map_err(|problem| problem.below(Step::Index(index)))
    }
}

struct Table<'n> {
    entries: btree_map::Iter<'n, String, Entry>,
    current: Option<(&'n String, &'n Entry)>,
}

impl<'de> MapAccess<'de> for Table<'de> {
    type Error = Problem;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Problem> {
        self.current = self.entries.next();
        let Some((key, _)) = self.current else {
            return Ok(None);
        };
        let reader: StrDeserializer<'_, Problem> = key.as_str().into_deserializer();
        seed.deserialize(reader).map(Some).map_err(|mut problem| {
            problem.at = At::Key;
            problem.below(Step::Key(key.clone()))
        })
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Problem> {
        let Some((key, entry)) = self.current.take() else {
            return Err(Problem::custom("a value was asked for before its key"));
        };
        seed.deserialize(Reader(&entry.node))
            .map_err(|problem| problem.below(Step::Key(key.clone())))
    }
}
