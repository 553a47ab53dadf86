//! XML documents: lists and maps flattened, as SQS writes them.

use std::fmt::Write;

use bytes::Bytes;
use lambfold_api::Operation;
use lambfold_api::schema::{Kind, QueryName, Schema, Shape};
use serde::Serialize;
use serde::ser::{Error as _, Impossible, SerializeMap, SerializeSeq, SerializeStruct, Serializer};
use serde_json::Error;
use uuid::Uuid;

use crate::refuse::{refuse, refuse_compounds};

const PROLOGUE: &str = "<?xml version=\"1.0\"?>";
const NAMESPACE: &str = "http://queue.amazonaws.com/doc/2012-11-05/";

/// The document of a success.
pub(super) fn document<T: Shape>(
    operation: &Operation,
    output: &T,
    request_id: Uuid,
) -> Result<Bytes, Error> {
    let name = operation.name;
    let mut out = format!("{PROLOGUE}<{name}Response xmlns=\"{NAMESPACE}\">");
    if !T::SCHEMA.members.is_empty() {
        let start = out.len();
        put(&mut out, &["<", name, "Result>"]);
        let open = out.len();
        output.serialize(Members { out: &mut out, schema: T::SCHEMA })?;
        if out.len() == open {
            out.truncate(start);
            put(&mut out, &["<", name, "Result/>"]);
        } else {
            put(&mut out, &["</", name, "Result>"]);
        }
    }
    out.push_str("<ResponseMetadata>");
    element(&mut out, "RequestId", &request_id.to_string());
    put(&mut out, &["</ResponseMetadata></", name, "Response>"]);
    Ok(out.into())
}

/// The document of an error.
pub(super) fn error(side: &str, code: &str, message: &str, request_id: Uuid) -> Bytes {
    let mut out = format!("{PROLOGUE}<ErrorResponse xmlns=\"{NAMESPACE}\"><Error>");
    element(&mut out, "Type", side);
    element(&mut out, "Code", code);
    element(&mut out, "Message", message);
    out.push_str("<Detail/></Error>");
    element(&mut out, "RequestId", &request_id.to_string());
    out.push_str("</ErrorResponse>");
    out.into()
}

fn element(out: &mut String, name: &str, value: &str) {
    put(out, &["<", name, ">"]);
    escape(out, value);
    put(out, &["</", name, ">"]);
}

fn put(out: &mut String, parts: &[&str]) {
    for part in parts {
        out.push_str(part);
    }
}

/// Escapes text. A bare carriage return would be folded by the reader, so it is written as a reference; so are
/// control characters, which XML cannot hold but a body from another protocol may.
fn escape(out: &mut String, text: &str) {
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let reference = match byte {
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'&' => "&amp;",
            b'"' => "&quot;",
            b'\'' => "&apos;",
            b'\r' => "&#xD;",
            b'\t' | b'\n' | 0x20.. => continue,
            _ => "",
        };
        out.push_str(&text[plain..at]);
        plain = at + 1;
        if reference.is_empty() {
            write!(out, "&#x{byte:X};").expect("strings take writes");
        } else {
            out.push_str(reference);
        }
    }
    out.push_str(&text[plain..]);
}

/// The members of a structure, without an element around them.
struct Members<'o> {
    out: &'o mut String,
    schema: &'static Schema,
}

/// A value under the element `name`.
struct Value<'o> {
    out: &'o mut String,
    name: &'static str,
    names: &'static QueryName,
    kind: &'static Kind,
}

impl<'o> Serializer for Members<'o> {
    type Ok = ();
    type Error = Error;
    type SerializeStruct = Self;
    type SerializeSeq = Impossible<(), Error>;
    type SerializeMap = Impossible<(), Error>;
    type SerializeTuple = Impossible<(), Error>;
    type SerializeTupleStruct = Impossible<(), Error>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeStructVariant = Impossible<(), Error>;

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Members<'o>, Error> {
        Ok(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Error> {
        Err(Error::custom("not a structure"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Error> {
        Err(Error::custom("not a structure"))
    }

    refuse! {
        serialize_bool(bool) serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64) serialize_f32(f32)
        serialize_f64(f64) serialize_char(char) serialize_str(&str) serialize_bytes(&[u8]) serialize_none()
        serialize_unit() serialize_unit_struct(&'static str) serialize_unit_variant(&'static str, u32, &'static str)
    }
    refuse_compounds!();
}

impl SerializeStruct for Members<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        let member = self.schema.members.iter().find(|member| member.name == key);
        let member = member.ok_or_else(|| Error::custom("no such member"))?;
        value.serialize(Value {
            out: self.out,
            name: member.query.name,
            names: &member.query,
            kind: &member.kind,
        })
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

impl<'o> Serializer for Value<'o> {
    type Ok = ();
    type Error = Error;
    type SerializeStruct = InElement<'o>;
    type SerializeSeq = Flattened<'o>;
    type SerializeMap = Entries<'o>;
    type SerializeTuple = Impossible<(), Error>;
    type SerializeTupleStruct = Impossible<(), Error>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeStructVariant = Impossible<(), Error>;

    fn serialize_str(self, value: &str) -> Result<(), Error> {
        element(self.out, self.name, value);
        Ok(())
    }

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        element(self.out, self.name, if value { "true" } else { "false" });
        Ok(())
    }

    fn serialize_i32(self, value: i32) -> Result<(), Error> {
        element(self.out, self.name, &value.to_string());
        Ok(())
    }

    fn serialize_i64(self, value: i64) -> Result<(), Error> {
        element(self.out, self.name, &value.to_string());
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        element(self.out, self.name, &value.to_string());
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Error> {
        Ok(())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<InElement<'o>, Error> {
        let Kind::Structure(schema) = self.kind else { return Err(Error::custom("not a structure")) };
        put(self.out, &["<", self.name, ">"]);
        Ok(InElement { name: self.name, members: Members { out: self.out, schema: schema() } })
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Flattened<'o>, Error> {
        let Kind::List(each) = self.kind else { return Err(Error::custom("not a list")) };
        Ok(Flattened(Value { kind: each, ..self }))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Entries<'o>, Error> {
        let Kind::Map(each) = self.kind else { return Err(Error::custom("not a map")) };
        Ok(Entries(Value { kind: each, ..self }))
    }

    refuse! {
        serialize_i8(i8) serialize_i16(i16) serialize_u8(u8) serialize_u16(u16) serialize_u32(u32)
        serialize_u64(u64) serialize_f32(f32) serialize_char(char) serialize_bytes(&[u8]) serialize_unit()
        serialize_unit_struct(&'static str) serialize_unit_variant(&'static str, u32, &'static str)
    }
    refuse_compounds!();
}

/// A structure in its element.
struct InElement<'o> {
    name: &'static str,
    members: Members<'o>,
}

impl SerializeStruct for InElement<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        self.members.serialize_field(key, value)
    }

    fn end(self) -> Result<(), Error> {
        put(self.members.out, &["</", self.name, ">"]);
        Ok(())
    }
}

/// A list: its element again and again.
struct Flattened<'o>(Value<'o>);

impl SerializeSeq for Flattened<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let Value { out, name, names, kind } = &mut self.0;
        value.serialize(Value { out, name, names, kind })
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}

/// A map: an element with key and value for each entry.
struct Entries<'o>(Value<'o>);

impl SerializeMap for Entries<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        let Value { out, name, names, .. } = &mut self.0;
        put(out, &["<", name, ">"]);
        key.serialize(Value { out, name: names.key, names, kind: &Kind::String })
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let Value { out, name, names, kind } = &mut self.0;
        value.serialize(Value { out, name: names.value, names, kind })?;
        put(out, &["</", name, ">"]);
        Ok(())
    }

    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}
