//! Inputs: members from path, query and headers joined with those of the JSON body.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::vec;

use lambfold_api::Fault;
use lambfold_api::schema::{Kind, Location, Member, Schema};
use serde::de::value::{CowStrDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, IgnoredAny, IntoDeserializer, MapAccess, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

use super::RestRequest;
use crate::serialization::wrong_kind;
use crate::strict::{Nested, Strict};

/// A member that does not travel in the body, and what it holds.
pub(super) struct Outside {
    member: &'static Member,
    value: OutsideValue,
}

enum OutsideValue {
    Text(String),
    Integer(i64),
    Double(f64),
    Boolean(bool),
    List(Vec<String>),
    /// The whole body is this structure.
    Body,
}

/// Collects the members that stand outside the body.
pub(super) fn outside(schema: &'static Schema, request: &RestRequest) -> Result<Vec<Outside>, Fault> {
    let mut found = Vec::new();
    let query = request.head.uri.query().unwrap_or_default().as_bytes();
    for member in schema.members {
        let texts: Vec<String> = match member.location {
            Location::Body | Location::StatusCode => continue,
            Location::Payload => {
                if matches!(member.kind, Kind::Structure(_)) && !request.body.is_empty() {
                    found.push(Outside { member, value: OutsideValue::Body });
                }
                continue;
            }
            Location::Path => request.labels.get(member.wire_name).map(str::to_owned).into_iter().collect(),
            Location::Query => form_urlencoded::parse(query)
                .filter(|(name, _)| name == member.wire_name)
                .map(|(_, value)| value.into_owned())
                .collect(),
            Location::Header => match request.head.headers.get(member.wire_name) {
                Some(value) => vec![
                    value
                        .to_str()
                        .map_err(|_| {
                            Fault::serialization(format!("The header {} is no text.", member.wire_name))
                        })?
                        .to_owned(),
                ],
                None => continue,
            },
        };
        if let Some(value) = value(&member.kind, texts)? {
            found.push(Outside { member, value });
        }
    }
    Ok(found)
}

fn value(kind: &Kind, texts: Vec<String>) -> Result<Option<OutsideValue>, Fault> {
    if let Kind::List(_) = kind {
        return Ok((!texts.is_empty()).then_some(OutsideValue::List(texts)));
    }
    let Some(text) = texts.into_iter().next() else { return Ok(None) };
    let wrong = |wanted| Fault::serialization(wrong_kind("STRING_VALUE", wanted));
    Ok(Some(match kind {
        Kind::Integer => OutsideValue::Integer(text.parse().map_err(|_| wrong("an Integer"))?),
        Kind::Double => OutsideValue::Double(text.parse().map_err(|_| wrong("a Double"))?),
        Kind::Timestamp => OutsideValue::Double(timestamp(&text).ok_or_else(|| wrong("a Timestamp"))?),
        Kind::Boolean if text.eq_ignore_ascii_case("true") => OutsideValue::Boolean(true),
        Kind::Boolean if text.eq_ignore_ascii_case("false") => OutsideValue::Boolean(false),
        Kind::Boolean => return Err(wrong("a Boolean")),
        _ => OutsideValue::Text(text),
    }))
}

/// Seconds since the epoch, of `2026-01-31T12:00:00.5Z` (what REST uses in query strings) or of a number.
fn timestamp(text: &str) -> Option<f64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds.is_finite().then_some(seconds);
    }
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let number = |part: &str| {
        (part.len() <= 4 && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse::<i32>().ok())?
    };
    let mut date = date.splitn(3, '-').map(number);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut clock = clock.splitn(3, ':').map(number);
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let sound =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    if !sound || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Days since the epoch by counting years from March, so that the leap day is a year's last one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = 365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468;
    let fraction: f64 = format!("0.{fraction}").parse().ok()?;
    Some(f64::from(days) * 86_400.0 + f64::from(hour * 3600 + minute * 60 + second) + fraction)
}

/// Reads the input from what stands outside the body and the body.
pub(super) fn input<T: DeserializeOwned>(
    schema: &'static Schema,
    outside: Vec<Outside>,
    body: &[u8],
) -> Result<T, serde_json::Error> {
    T::deserialize(Whole { schema, outside, body })
}

struct Whole<'de> {
    schema: &'static Schema,
    outside: Vec<Outside>,
    body: &'de [u8],
}

impl<'de> Deserializer<'de> for Whole<'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let whole_body = self.outside.iter().any(|outside| matches!(outside.value, OutsideValue::Body));
        let joined = Joined { schema: self.schema, outside: self.outside, body: self.body, visitor };
        if self.body.is_empty() || whole_body {
            return joined.visit_map(Nothing(PhantomData));
        }
        let mut json = serde_json::Deserializer::from_slice(self.body);
        let input = json.deserialize_map(joined)?;
        json.end()?;
        Ok(input)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Shows the shape's visitor one map made of both halves.
struct Joined<'de, V> {
    schema: &'static Schema,
    outside: Vec<Outside>,
    body: &'de [u8],
    visitor: V,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Joined<'de, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(JoinedMap {
            schema: self.schema,
            outside: self.outside.into_iter(),
            body: self.body,
            value: None,
            map: Nested(map),
        })
    }
}

struct JoinedMap<'de, A> {
    schema: &'static Schema,
    outside: vec::IntoIter<Outside>,
    body: &'de [u8],
    value: Option<OutsideValue>,
    map: Nested<A>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for JoinedMap<'de, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        if let Some(outside) = self.outside.next() {
            self.value = Some(outside.value);
            return seed
                .deserialize(IntoDeserializer::<A::Error>::into_deserializer(outside.member.name))
                .map(Some);
        }
        // A member of the path that also stands in the body counts where it belongs only.
        while let Some(key) = self.map.next_key::<CowKey<'de>>()? {
            let belongs = |member: &Member| member.location == Location::Body || member.name != key.0;
            if self.schema.members.iter().all(belongs) {
                return seed.deserialize(CowStrDeserializer::<A::Error>::new(key.0)).map(Some);
            }
            self.map.next_value::<IgnoredAny>()?;
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        match self.value.take() {
            None => self.map.next_value_seed(seed),
            Some(OutsideValue::Body) => {
                let mut json = serde_json::Deserializer::from_slice(self.body);
                seed.deserialize(Strict(&mut json)).map_err(A::Error::custom)
            }
            Some(value) => seed.deserialize(Single { value, error: PhantomData }),
        }
    }
}

/// A key of the body; borrowed where it has no escapes.
#[derive(Deserialize)]
struct CowKey<'a>(#[serde(borrow)] Cow<'a, str>);

/// A body without members.
struct Nothing<E>(PhantomData<E>);

impl<'de, E: Error> MapAccess<'de> for Nothing<E> {
    type Error = E;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, _: S) -> Result<Option<S::Value>, E> {
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, _: S) -> Result<S::Value, E> {
        Err(E::custom("a value before its key"))
    }
}

/// The value of a member from outside the body.
struct Single<E> {
    value: OutsideValue,
    error: PhantomData<E>,
}

impl<'de, E: Error> Deserializer<'de> for Single<E> {
    type Error = E;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        match self.value {
            OutsideValue::Text(text) => visitor.visit_string(text),
            OutsideValue::Integer(number) => visitor.visit_i64(number),
            OutsideValue::Double(number) => visitor.visit_f64(number),
            OutsideValue::Boolean(truth) => visitor.visit_bool(truth),
            OutsideValue::List(texts) => visitor.visit_seq(SeqDeserializer::new(texts.into_iter())),
            OutsideValue::Body => Err(E::custom("the body is read where it is")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::timestamp;

    #[test]
    fn timestamps_are_iso_or_seconds() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0.0),
            ("2000-02-29T00:00:00Z", 951_782_400.0),
            ("2026-01-31T12:34:56.5Z", 1_769_862_896.5),
            ("1700000000.25", 1_700_000_000.25),
        ] {
            assert_eq!(timestamp(text), Some(seconds), "{text}");
        }
        for wrong in [
            "",
            "yesterday",
            "2026-13-01T00:00:00Z",
            "2026-01-01",
            "2026-01-01T25:00:00Z",
            "NaN",
            "+1-1-1T1:1:1Z",
        ] {
            assert_eq!(timestamp(wrong), None, "{wrong}");
        }
    }
}
