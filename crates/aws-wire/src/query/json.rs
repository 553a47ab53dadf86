//! JSON for clients of the Query protocol that ask for it: members under their JSON names, maps as lists of entries,
//! absent members as `null`, and two lists whose names begin in lower case.

use bytes::Bytes;
use lambfold_api::Operation;
use lambfold_api::schema::{Kind, QueryName, Schema, Shape};
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};
use serde_json::{Error, Map, Value};
use uuid::Uuid;

/// The document of a success.
pub(super) fn document<T: Shape>(
    operation: &Operation,
    output: &T,
    request_id: Uuid,
) -> Result<Bytes, Error> {
    let mut response = Map::new();
    if !T::SCHEMA.members.is_empty() {
        let result = structure(T::SCHEMA, serde_json::to_value(output)?);
        response.insert(format!("{}Result", operation.name), result);
    }
    response.insert(
        "ResponseMetadata".to_owned(),
        Value::Object(Map::from_iter([("RequestId".to_owned(), request_id.to_string().into())])),
    );
    let mut json = serde_json::Serializer::new(Vec::new());
    let mut document = json.serialize_map(Some(1))?;
    document.serialize_entry(&format!("{}Response", operation.name), &response)?;
    SerializeMap::end(document)?;
    Ok(json.into_inner().into())
}

fn structure(schema: &Schema, value: Value) -> Value {
    let Value::Object(mut members) = value else { return value };
    let renamed = schema.members.iter().map(|member| {
        let value = members.remove(member.name).unwrap_or(Value::Null);
        let name = match member.name {
            "Messages" => "messages",
            "QueueUrls" => "queueUrls",
            name => name,
        };
        (name.to_owned(), render(&member.kind, &member.query, value))
    });
    Value::Object(renamed.collect())
}

fn render(kind: &Kind, names: &QueryName, value: Value) -> Value {
    match (kind, value) {
        (Kind::Structure(schema), value @ Value::Object(_)) => structure(schema(), value),
        (Kind::List(each), Value::Array(items)) => {
            items.into_iter().map(|item| render(each, names, item)).collect()
        }
        (Kind::Map(each), Value::Object(entries)) => entries
            .into_iter()
            .map(|(key, value)| {
                Value::Object(Map::from_iter([
                    (names.key.to_owned(), key.into()),
                    (names.value.to_owned(), render(each, names, value)),
                ]))
            })
            .collect(),
        (_, value) => value,
    }
}

/// What `Error` holds.
pub(super) struct ErrorBody<'a> {
    pub(super) side: &'a str,
    pub(super) code: &'a str,
    pub(super) message: &'a str,
}

impl Serialize for ErrorBody<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut error = serializer.serialize_struct("Error", 4)?;
        error.serialize_field("Type", self.side)?;
        error.serialize_field("Code", self.code)?;
        error.serialize_field("Message", self.message)?;
        error.serialize_field("Detail", &())?;
        error.end()
    }
}
