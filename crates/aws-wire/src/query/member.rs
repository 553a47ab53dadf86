//! Serde over the tree of parameters, led by the shape's schema.

use std::vec;

use lambfold_api::schema::{Kind, Member, QueryName, Schema};
use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::Error;

use super::params::Node;

/// A structure: its members under their Query names.
pub(super) struct Structure<'n, 'a> {
    pub(super) node: &'n Node<'a>,
    pub(super) schema: &'static Schema,
}

impl<'de> Deserializer<'de> for Structure<'_, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let members = self.schema.members.iter();
        let present: Vec<_> =
            members.filter_map(|member| Some((member, self.node.child(member.query.name)?))).collect();
        visitor.visit_map(Members { rest: present.into_iter(), value: None })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct Members<'n, 'a> {
    rest: vec::IntoIter<(&'static Member, &'n Node<'a>)>,
    value: Option<Value<'n, 'a>>,
}

impl<'de> MapAccess<'de> for Members<'_, '_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some((member, node)) = self.rest.next() else { return Ok(None) };
        self.value = Some(Value { node, kind: &member.kind, names: &member.query });
        let name: StrDeserializer<'_, Error> = member.name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(self.value.take().ok_or_else(|| Error::custom("a value before its key"))?)
    }
}

/// A member's value.
#[derive(Clone, Copy)]
struct Value<'n, 'a> {
    node: &'n Node<'a>,
    kind: &'static Kind,
    names: &'static QueryName,
}

impl<'de> Deserializer<'de> for Value<'_, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.node.value().unwrap_or_default();
        let wrong = |wanted: &'static str| Error::invalid_type(Unexpected::Str(text), &wanted);
        match self.kind {
            Kind::String | Kind::Blob => visitor.visit_str(text),
            Kind::Boolean if text.eq_ignore_ascii_case("true") => visitor.visit_bool(true),
            Kind::Boolean if text.eq_ignore_ascii_case("false") => visitor.visit_bool(false),
            Kind::Boolean => Err(wrong("a boolean")),
            Kind::Integer => visitor.visit_i64(text.parse().map_err(|_| wrong("i32"))?),
            Kind::Double | Kind::Timestamp => visitor.visit_f64(text.parse().map_err(|_| wrong("f64"))?),
            Kind::Structure(schema) => {
                Structure { node: self.node, schema: schema() }.deserialize_any(visitor)
            }
            Kind::List(each) => {
                let rest = self.node.entries().into_iter();
                visitor.visit_seq(List { rest, each, names: self.names })
            }
            Kind::Map(each) => {
                let rest = self.node.entries().into_iter();
                visitor.visit_map(Map { rest, each, names: self.names, entry: None })
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

struct List<'n, 'a> {
    rest: vec::IntoIter<&'n Node<'a>>,
    each: &'static Kind,
    names: &'static QueryName,
}

impl<'de> SeqAccess<'de> for List<'_, '_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some(node) = self.rest.next() else { return Ok(None) };
        seed.deserialize(Value { node, kind: self.each, names: self.names }).map(Some)
    }
}

struct Map<'n, 'a> {
    rest: vec::IntoIter<&'n Node<'a>>,
    each: &'static Kind,
    names: &'static QueryName,
    entry: Option<&'n Node<'a>>,
}

/// Stands for an entry's value that was not given.
static ABSENT: Node<'static> = Node::absent();

impl<'de> MapAccess<'de> for Map<'_, '_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some(entry) = self.rest.next() else { return Ok(None) };
        self.entry = Some(entry);
        // An entry without a key keeps its place, under no name: the service says what it thinks of that.
        let key = entry.child(self.names.key).and_then(Node::value).unwrap_or_default();
        let key: StrDeserializer<'_, Error> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let entry = self.entry.take().ok_or_else(|| Error::custom("a value before its key"))?;
        match entry.child(self.names.value) {
            Some(node) => seed.deserialize(Value { node, kind: self.each, names: self.names }),
            None => seed.deserialize(Value { node: &ABSENT, kind: self.each, names: self.names }),
        }
    }
}
