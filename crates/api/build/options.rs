//! The options of `proto/lambfold/api/v1/options.proto`, read into plain structs.

use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, MessageDescriptor, MethodDescriptor, ReflectMessage,
    ServiceDescriptor, Value,
};

#[derive(Clone, Default)]
pub(crate) struct Constraint {
    pub(crate) min_length: Option<i64>,
    pub(crate) max_length: Option<i64>,
    pub(crate) min: Option<i64>,
    pub(crate) max: Option<i64>,
    pub(crate) pattern: Option<String>,
    pub(crate) values: Vec<String>,
}

#[derive(Default)]
pub(crate) struct Member {
    pub(crate) required: bool,
    pub(crate) constraint: Option<Constraint>,
    pub(crate) each: Option<Constraint>,
    pub(crate) key: Option<Constraint>,
    /// The suffix of the `LOCATION_…` name: `PATH`, `QUERY`, …
    pub(crate) location: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) timestamp: bool,
    pub(crate) query_name: Option<String>,
    pub(crate) query_key: Option<String>,
    pub(crate) query_value: Option<String>,
    pub(crate) sensitive: bool,
}

#[derive(Default)]
pub(crate) struct Operation {
    pub(crate) method: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) status: Option<u32>,
    pub(crate) retry: Option<String>,
    pub(crate) resource: Option<String>,
    pub(crate) resource_member: Option<String>,
    pub(crate) action: Option<String>,
    pub(crate) planned: bool,
    pub(crate) max_request_bytes: Option<u64>,
    pub(crate) max_response_bytes: Option<u64>,
}

#[derive(Default)]
pub(crate) struct Aws {
    pub(crate) service: String,
    pub(crate) api_version: String,
    pub(crate) target_prefix: Option<String>,
    pub(crate) validation: Option<String>,
    pub(crate) json_version: Option<String>,
}

pub(crate) struct Error {
    pub(crate) status: u32,
    pub(crate) query_code: Option<String>,
    pub(crate) code: Option<String>,
}

pub(crate) fn member(field: &FieldDescriptor) -> Member {
    let Some(found) = extension(field.parent_pool(), &field.options(), "lambfold.api.v1.member") else {
        return Member::default();
    };
    let query = message(&found, "query");
    let query_text = |name: &str| query.as_ref().and_then(|query| text(query, name));
    Member {
        required: boolean(&found, "required"),
        constraint: message(&found, "constraint").map(|value| constraint(&value)),
        each: message(&found, "each").map(|value| constraint(&value)),
        key: message(&found, "key").map(|value| constraint(&value)),
        location: enumeration(&found, "location", "LOCATION_"),
        name: text(&found, "name"),
        timestamp: enumeration(&found, "timestamp", "TIMESTAMP_FORMAT_").is_some(),
        query_name: query_text("name"),
        query_key: query_text("key"),
        query_value: query_text("value"),
        sensitive: boolean(&found, "sensitive"),
    }
}

pub(crate) fn transparent(shape: &MessageDescriptor) -> bool {
    extension(shape.parent_pool(), &shape.options(), "lambfold.api.v1.shape")
        .is_some_and(|found| boolean(&found, "transparent"))
}

pub(crate) fn error(shape: &MessageDescriptor) -> Option<Error> {
    let found = extension(shape.parent_pool(), &shape.options(), "lambfold.api.v1.shape")?;
    let error = message(&found, "error")?;
    Some(Error {
        status: number(&error, "status").and_then(|status| u32::try_from(status).ok()).unwrap_or(400),
        query_code: text(&error, "query_code"),
        code: text(&error, "code"),
    })
}

pub(crate) fn operation(method: &MethodDescriptor) -> Operation {
    let pool = method.parent_pool();
    let Some(found) = extension(pool, &method.options(), "lambfold.api.v1.operation") else {
        return Operation::default();
    };
    let unsigned = |name: &str| number(&found, name).and_then(|value| u64::try_from(value).ok());
    Operation {
        method: text(&found, "method"),
        path: text(&found, "path"),
        status: unsigned("status").and_then(|status| u32::try_from(status).ok()),
        retry: enumeration(&found, "retry", "RETRY_"),
        resource: enumeration(&found, "resource", "RESOURCE_"),
        resource_member: text(&found, "resource_member"),
        action: text(&found, "action"),
        planned: boolean(&found, "planned"),
        max_request_bytes: unsigned("max_request_bytes"),
        max_response_bytes: unsigned("max_response_bytes"),
    }
}

pub(crate) fn aws(service: &ServiceDescriptor) -> Option<Aws> {
    let found = extension(service.parent_pool(), &service.options(), "lambfold.api.v1.aws")?;
    Some(Aws {
        service: text(&found, "service").unwrap_or_default(),
        api_version: text(&found, "api_version").unwrap_or_default(),
        target_prefix: text(&found, "target_prefix"),
        validation: enumeration(&found, "validation", "VALIDATION_"),
        json_version: text(&found, "json_version"),
    })
}

fn constraint(found: &DynamicMessage) -> Constraint {
    let values = found.get_field_by_name("values");
    Constraint {
        min_length: number(found, "min_length"),
        max_length: number(found, "max_length"),
        min: number(found, "min"),
        max: number(found, "max"),
        pattern: text(found, "pattern"),
        values: values
            .as_deref()
            .and_then(Value::as_list)
            .into_iter()
            .flatten()
            .filter_map(|value| value.as_str().map(str::to_owned))
            .collect(),
    }
}

fn extension(pool: &DescriptorPool, options: &DynamicMessage, name: &str) -> Option<DynamicMessage> {
    let extension = pool.get_extension_by_name(name).expect("options.proto declares it");
    options.has_extension(&extension).then(|| options.get_extension(&extension).as_message().cloned())?
}

fn field<'a>(from: &'a DynamicMessage, name: &str) -> Option<std::borrow::Cow<'a, Value>> {
    let field = from.descriptor().get_field_by_name(name).expect("options.proto declares it");
    from.has_field(&field).then(|| from.get_field(&field))
}

fn message(from: &DynamicMessage, name: &str) -> Option<DynamicMessage> {
    field(from, name)?.as_message().cloned()
}

fn text(from: &DynamicMessage, name: &str) -> Option<String> {
    field(from, name)?.as_str().map(str::to_owned)
}

fn boolean(from: &DynamicMessage, name: &str) -> bool {
    field(from, name).and_then(|value| value.as_bool()).unwrap_or(false)
}

fn number(from: &DynamicMessage, name: &str) -> Option<i64> {
    let value = field(from, name)?;
    value
        .as_i64()
        .or_else(|| value.as_u32().map(i64::from))
        .or_else(|| value.as_u64().and_then(|value| i64::try_from(value).ok()))
}

fn enumeration(from: &DynamicMessage, name: &str, prefix: &str) -> Option<String> {
    let value = field(from, name)?.as_enum_number()?;
    let kind = from.descriptor().get_field_by_name(name)?.kind();
    let named = kind.as_enum()?.get_value(value)?.name().strip_prefix(prefix)?.to_owned();
    (named != "UNSPECIFIED").then_some(named)
}
