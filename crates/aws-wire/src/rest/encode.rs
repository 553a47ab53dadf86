//! Outputs: each member to the place where it travels, in one pass.

use http::{HeaderMap, HeaderName, HeaderValue};
use lambfold_api::schema::{Location, Schema};
use serde::Serialize;
use serde::ser::{Error as _, Impossible, SerializeStruct, Serializer};
use serde_json::Error;

use crate::refuse::{refuse, refuse_compounds};

/// An output, taken apart.
pub(super) struct Encoded {
    pub(super) body: bytes::Bytes,
    pub(super) headers: HeaderMap,
    pub(super) status: Option<u16>,
}

/// Takes `output` apart. A blob that is the body has been taken out before.
pub(super) fn output<T: Serialize>(schema: &'static Schema, output: &T) -> Result<Encoded, Error> {
    output.serialize(Splitter {
        schema,
        has_body: schema.members.iter().any(|member| member.location == Location::Body),
        body: Vec::new(),
        headers: HeaderMap::new(),
        status: None,
    })
}

struct Splitter {
    schema: &'static Schema,
    has_body: bool,
    body: Vec<u8>,
    headers: HeaderMap,
    status: Option<u16>,
}

impl Serializer for Splitter {
    type Ok = Encoded;
    type Error = Error;
    type SerializeStruct = Self;
    type SerializeSeq = Impossible<Encoded, Error>;
    type SerializeMap = Impossible<Encoded, Error>;
    type SerializeTuple = Impossible<Encoded, Error>;
    type SerializeTupleStruct = Impossible<Encoded, Error>;
    type SerializeTupleVariant = Impossible<Encoded, Error>;
    type SerializeStructVariant = Impossible<Encoded, Error>;

    fn serialize_struct(mut self, _: &'static str, _: usize) -> Result<Self, Error> {
        if self.has_body {
            self.body.reserve(256);
            self.body.push(b'{');
        }
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

impl SerializeStruct for Splitter {
    type Ok = Encoded;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        let member = self.schema.members.iter().find(|member| member.name == key);
        let member = member.ok_or_else(|| Error::custom("no such member"))?;
        match member.location {
            Location::Body => {
                if self.body.len() > 1 {
                    self.body.push(b',');
                }
                serde_json::to_writer(&mut self.body, key)?;
                self.body.push(b':');
                serde_json::to_writer(&mut self.body, value)?;
            }
            Location::Payload => serde_json::to_writer(&mut self.body, value)?,
            Location::Header => {
                if let Some(text) = value.serialize(Text)? {
                    let name = HeaderName::from_bytes(member.wire_name.as_bytes()).map_err(Error::custom)?;
                    let text = HeaderValue::try_from(text).map_err(Error::custom)?;
                    self.headers.insert(name, text);
                }
            }
            Location::StatusCode => {
                self.status = value.serialize(Text)?.and_then(|text| text.parse().ok());
            }
            // Answers have neither.
            Location::Path | Location::Query => {}
        }
        Ok(())
    }

    fn end(mut self) -> Result<Encoded, Error> {
        if self.has_body {
            self.body.push(b'}');
        }
        Ok(Encoded { body: self.body.into(), headers: self.headers, status: self.status })
    }
}

/// A scalar as text; `None` if it is absent.
struct Text;

impl Serializer for Text {
    type Ok = Option<String>;
    type Error = Error;
    type SerializeStruct = Impossible<Option<String>, Error>;
    type SerializeSeq = Impossible<Option<String>, Error>;
    type SerializeMap = Impossible<Option<String>, Error>;
    type SerializeTuple = Impossible<Option<String>, Error>;
    type SerializeTupleStruct = Impossible<Option<String>, Error>;
    type SerializeTupleVariant = Impossible<Option<String>, Error>;
    type SerializeStructVariant = Impossible<Option<String>, Error>;

    fn serialize_str(self, value: &str) -> Result<Option<String>, Error> {
        Ok(Some(value.to_owned()))
    }

    fn serialize_bool(self, value: bool) -> Result<Option<String>, Error> {
        Ok(Some(value.to_string()))
    }

    fn serialize_i32(self, value: i32) -> Result<Option<String>, Error> {
        Ok(Some(value.to_string()))
    }

    fn serialize_i64(self, value: i64) -> Result<Option<String>, Error> {
        Ok(Some(value.to_string()))
    }

    fn serialize_f64(self, value: f64) -> Result<Option<String>, Error> {
        Ok(Some(value.to_string()))
    }

    fn serialize_none(self) -> Result<Option<String>, Error> {
        Ok(None)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Error> {
        Err(Error::custom("not a scalar"))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Error> {
        Err(Error::custom("not a scalar"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Error> {
        Err(Error::custom("not a scalar"))
    }

    refuse! {
        serialize_i8(i8) serialize_i16(i16) serialize_u8(u8) serialize_u16(u16) serialize_u32(u32)
        serialize_u64(u64) serialize_f32(f32) serialize_char(char) serialize_bytes(&[u8]) serialize_unit()
        serialize_unit_struct(&'static str) serialize_unit_variant(&'static str, u32, &'static str)
    }
    refuse_compounds!();
}
