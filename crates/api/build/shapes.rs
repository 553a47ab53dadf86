//! What makes an AWS shape of a protobuf message: serde under AWS's names, a schema for the protocols that need
//! one, constraints, and access to the members that travel outside the body.

use std::fmt::Write;

use heck::{ToSnakeCase, ToUpperCamelCase};
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

use crate::PUBLIC_PACKAGES;
use crate::options::{self, Constraint};

const KEYWORDS: [&str; 6] = ["type", "match", "ref", "move", "in", "where"];

/// The shapes of a package that have wire forms: all but the errors and the frames of a stream.
fn wire_shapes(pool: &DescriptorPool, package: &str) -> Vec<MessageDescriptor> {
    pool.all_messages()
        .filter(|shape| shape.parent_file().package_name() == package && !shape.is_map_entry())
        .filter(|shape| options::error(shape).is_none())
        .filter(|shape| shape.oneofs().all(|oneof| oneof.is_synthetic()))
        .collect()
}

/// Derives serde on the shapes, with AWS's member names.
pub(crate) fn add_serde(pool: &DescriptorPool, config: &mut prost_build::Config) {
    for shape in PUBLIC_PACKAGES.iter().flat_map(|package| wire_shapes(pool, package)) {
        let path = format!(".{}", shape.full_name());
        let derive = "#[derive(::serde::Serialize, ::serde::Deserialize)]";
        if options::transparent(&shape) {
            config.message_attribute(&path, format!("{derive}\n#[serde(transparent)]"));
            continue;
        }
        config.message_attribute(&path, format!("{derive}\n#[serde(default)]"));
        for field in shape.fields() {
            config.field_attribute(format!("{path}.{}", field.name()), serde_attribute(&field));
        }
    }
}

fn serde_attribute(field: &FieldDescriptor) -> String {
    let name = field.json_name();
    if field.is_map() {
        format!(
            "#[serde(rename = {name:?}, skip_serializing_if = \"::std::collections::BTreeMap::is_empty\", \
             deserialize_with = \"crate::json::null_as_default\")]"
        )
    } else if field.is_list() && matches!(field.kind(), Kind::Bytes) {
        format!(
            "#[serde(rename = {name:?}, skip_serializing_if = \"Vec::is_empty\", with = \"crate::json::blobs\")]"
        )
    } else if field.is_list() {
        format!(
            "#[serde(rename = {name:?}, skip_serializing_if = \"Vec::is_empty\", \
             deserialize_with = \"crate::json::null_as_default\")]"
        )
    } else if matches!(field.kind(), Kind::Bytes) {
        format!(
            "#[serde(rename = {name:?}, skip_serializing_if = \"Option::is_none\", with = \"crate::json::blob\")]"
        )
    } else {
        format!("#[serde(rename = {name:?}, skip_serializing_if = \"Option::is_none\")]")
    }
}

/// `impl Shape for …` of every wire shape.
pub(crate) fn impls(pool: &DescriptorPool, package: &str) -> String {
    let mut code = String::new();
    for shape in wire_shapes(pool, package) {
        let rust = rust_type(&shape);
        if options::transparent(&shape) {
            code.push_str(&transparent_impls(&shape, &rust));
        }
        writeln!(
            code,
            "impl crate::schema::Shape for {rust} {{\n    const SCHEMA: &'static crate::schema::Schema = \
             &crate::schema::Schema {{ name: {:?}, members: &[{}] }};\n{}{}{}}}\n",
            shape.name(),
            shape.fields().map(|field| schema_member(&field)).collect::<Vec<_>>().join(", "),
            validate(&shape),
            text_member(&shape),
            payload(&shape),
        )
        .expect("strings take writes");
    }
    code
}

/// The field of a frame that is no event: what stands before the first one.
const HEAD: &str = "head";

/// `impl Frame for …` of the frames of streams: messages with one `oneof`.
pub(crate) fn frames(pool: &DescriptorPool, package: &str) -> String {
    let mut code = String::new();
    for shape in pool.all_messages().filter(|shape| shape.parent_file().package_name() == package) {
        let Some(oneof) = shape.oneofs().find(|oneof| !oneof.is_synthetic()) else { continue };
        let kind = format!("{}::{}", shape.name().to_snake_case(), oneof.name().to_upper_camel_case());
        let arms: String = oneof.fields().fold(String::new(), |mut arms, field| {
            if field.name() == HEAD {
                writeln!(arms, "            Some({kind}::Head(_)) => Ok(None),").expect("strings take writes");
                return arms;
            }
            let variant = field.name().to_upper_camel_case();
            writeln!(
                arms,
                "            Some({kind}::{variant}(event)) => crate::wire::Event::of({:?}, event).map(Some),",
                field.json_name()
            )
            .expect("strings take writes");
            arms
        });
        let head = if oneof.fields().any(|field| field.name() == HEAD) {
            format!(
                "        match self.{oneof} {{\n            Some({kind}::Head(head)) => Ok(codec.encode(operation, head)),\n            \
                 {oneof} => Err(Self {{ {oneof} }}),\n        }}\n",
                oneof = oneof.name()
            )
        } else {
            "        let _ = (codec, operation);\n        Err(self)\n".to_owned()
        };
        writeln!(
            code,
            "impl crate::wire::Frame for {} {{\n    fn head<C: crate::wire::WireCodec>(self, codec: &C, operation: &'static crate::Operation) \
             -> Result<Result<C::Response, crate::Fault>, Self> {{\n{head}    }}\n\n    fn event(self) -> Result<Option<crate::wire::Event>, crate::Fault> {{\n        \
             match self.{} {{\n            None => Ok(None),\n{arms}        }}\n    }}\n}}",
            rust_type(&shape),
            oneof.name()
        )
        .expect("strings take writes");
    }
    code
}

/// What every message has, AWS shape or not: `Input`, and a `Debug` that shows only the names of sensitive members
/// (bodies and secrets never reach a log).
pub(crate) fn message_impls(pool: &DescriptorPool) -> String {
    let mut code = String::new();
    for shape in pool.all_messages().filter(|shape| shape.full_name().starts_with("lambfold.")) {
        let package = shape.parent_file().package_name().to_owned();
        let Some(module) = package.strip_prefix("lambfold.").and_then(|rest| rest.strip_suffix(".v1")) else {
            continue;
        };
        if shape.is_map_entry() || module == "api" {
            continue;
        }
        let rust = rust_type(&shape);
        let is_wire_shape = PUBLIC_PACKAGES.contains(&package.as_str())
            && options::error(&shape).is_none()
            && shape.oneofs().all(|oneof| oneof.is_synthetic());
        let input = if is_wire_shape {
            "    fn check(&self, operation: &'static crate::Operation) -> Result<(), crate::Fault> {\n        \
             crate::validate::Violations::check(operation, self)\n    }\n    \
             fn member(&self, name: &str) -> Option<&str> {\n        crate::schema::Shape::text(self, name)\n    }\n"
        } else {
            ""
        };
        writeln!(code, "impl crate::interceptor::Input for crate::{module}::{rust} {{\n{input}}}\n")
            .expect("strings take writes");
        let mut fields = String::new();
        let mut oneofs = Vec::new();
        for field in shape.fields() {
            match field.containing_oneof().filter(|oneof| !oneof.is_synthetic()) {
                Some(oneof) if oneofs.contains(&oneof.name().to_owned()) => {}
                Some(oneof) => {
                    oneofs.push(oneof.name().to_owned());
                    write!(fields, ".field({:?}, &self.{}.is_some())", oneof.name(), oneof.name())
                        .expect("strings take writes");
                }
                None if options::member(&field).sensitive => {
                    write!(fields, ".field({:?}, &\"…\")", field.name()).expect("strings take writes");
                }
                None => {
                    write!(fields, ".field({:?}, &self.{})", field.name(), ident(&field))
                        .expect("strings take writes");
                }
            }
        }
        writeln!(
            code,
            "impl std::fmt::Debug for crate::{module}::{rust} {{\n    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) \
             -> std::fmt::Result {{\n        f.debug_struct({:?}){fields}.finish()\n    }}\n}}\n",
            shape.name()
        )
        .expect("strings take writes");
    }
    let patterns: std::collections::BTreeSet<String> = pool
        .all_messages()
        .flat_map(|shape| shape.fields().collect::<Vec<_>>())
        .flat_map(|field| {
            let member = options::member(&field);
            [member.constraint, member.each, member.key].into_iter().flatten().filter_map(|it| it.pattern)
        })
        .collect();
    writeln!(
        code,
        "#[cfg(test)]\npub(crate) const PATTERNS: &[&str] = &{:?};",
        patterns.into_iter().collect::<Vec<_>>()
    )
    .expect("strings take writes");
    code
}

fn transparent_impls(shape: &MessageDescriptor, rust: &str) -> String {
    let field = shape.fields().next().expect("the lint counted it");
    let inner = if field.is_map() {
        let value = field.kind().as_message().expect("a map").map_entry_value_field();
        format!("::std::collections::BTreeMap<String, {}>", scalar(&value))
    } else {
        format!("Vec<{}>", scalar(&field))
    };
    format!(
        "impl From<{inner}> for {rust} {{\n    fn from(items: {inner}) -> Self {{\n        Self {{ items }}\n    }}\n}}\n\
         impl std::ops::Deref for {rust} {{\n    type Target = {inner};\n    fn deref(&self) -> &Self::Target {{\n        \
         &self.items\n    }}\n}}\n"
    )
}

fn scalar(field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::Message(message) => rust_type(&message),
        Kind::Bytes => "bytes::Bytes".to_owned(),
        Kind::Int32 => "i32".to_owned(),
        Kind::Int64 => "i64".to_owned(),
        Kind::Double => "f64".to_owned(),
        Kind::Bool => "bool".to_owned(),
        _ => "String".to_owned(),
    }
}

fn schema_member(field: &FieldDescriptor) -> String {
    let member = options::member(field);
    let location = match member.location.as_deref() {
        Some("PATH") => "Path",
        Some("QUERY") => "Query",
        Some("HEADER") => "Header",
        Some("STATUS_CODE") => "StatusCode",
        Some("PAYLOAD") => "Payload",
        _ => "Body",
    };
    format!(
        "crate::schema::Member {{ name: {:?}, kind: {}, location: crate::schema::Location::{location}, \
         wire_name: {:?}, query: crate::schema::QueryName {{ name: {:?}, key: {:?}, value: {:?} }} }}",
        field.json_name(),
        kind(field, member.timestamp),
        member.name.as_deref().unwrap_or(field.json_name()),
        member.query_name.as_deref().unwrap_or(field.json_name()),
        member.query_key.as_deref().unwrap_or("Name"),
        member.query_value.as_deref().unwrap_or("Value"),
    )
}

/// The kind of a field as the wire sees it: transparent shapes are the collection inside.
fn kind(field: &FieldDescriptor, timestamp: bool) -> String {
    let prefix = "crate::schema::Kind::";
    if let Some(inner) = transparent_field(field) {
        return kind(&inner, false);
    }
    if field.is_map() {
        let value = field.kind().as_message().expect("a map").map_entry_value_field();
        return format!("{prefix}Map(&{})", single_kind(&value, false));
    }
    if field.is_list() {
        return format!("{prefix}List(&{})", single_kind(field, false));
    }
    single_kind(field, timestamp)
}

fn single_kind(field: &FieldDescriptor, timestamp: bool) -> String {
    let prefix = "crate::schema::Kind::";
    match field.kind() {
        Kind::Message(message) if options::transparent(&message) => {
            kind(&message.fields().next().expect("the lint counted it"), false)
        }
        Kind::Message(message) => {
            format!("{prefix}Structure(|| <{} as crate::schema::Shape>::SCHEMA)", rust_type(&message))
        }
        Kind::Bytes => format!("{prefix}Blob"),
        Kind::Bool => format!("{prefix}Boolean"),
        Kind::Int32 | Kind::Int64 => format!("{prefix}Integer"),
        Kind::Double if timestamp => format!("{prefix}Timestamp"),
        Kind::Double => format!("{prefix}Double"),
        _ => format!("{prefix}String"),
    }
}

fn transparent_field(field: &FieldDescriptor) -> Option<FieldDescriptor> {
    if field.is_list() || field.is_map() {
        return None;
    }
    let Kind::Message(message) = field.kind() else { return None };
    options::transparent(&message).then(|| message.fields().next())?
}

fn validate(shape: &MessageDescriptor) -> String {
    let mut body = String::new();
    for field in shape.fields() {
        let line = validate_field(&field);
        if !line.is_empty() {
            body.push_str("        ");
            body.push_str(&line);
            body.push('\n');
        }
    }
    if body.is_empty() {
        return String::new();
    }
    format!("    fn validate(&self, found: &mut crate::validate::Violations) {{\n{body}    }}\n")
}

fn validate_field(field: &FieldDescriptor) -> String {
    let member = options::member(field);
    let name = format!("{:?}", field.json_name());
    let value = format!("self.{}", ident(field));
    let none = Constraint::default();
    let (items, optional) = match transparent_field(field) {
        Some(inner) => (Some(inner), true),
        None if field.is_list() || field.is_map() => (Some(field.clone()), false),
        None => (None, false),
    };
    let Some(items) = items else {
        let nested = matches!(field.kind(), Kind::Message(_));
        if nested {
            let required = if member.required { "required" } else { "nested" };
            return format!("found.{required}({name}, {value}.as_ref());");
        }
        if !member.required && member.constraint.is_none() {
            return String::new();
        }
        let constraint = constraint(member.constraint.as_ref().unwrap_or(&none), member.required);
        return match field.kind() {
            Kind::Bytes => format!("found.blob({name}, {value}.as_ref(), {constraint});"),
            Kind::Int32 => format!("found.integer({name}, {value}.map(i64::from), {constraint});"),
            Kind::Int64 => format!("found.integer({name}, {value}, {constraint});"),
            Kind::Double => format!("found.double({name}, {value}, {constraint});"),
            Kind::Bool => format!("found.boolean({name}, {value}, {constraint});"),
            _ => format!("found.text({name}, {value}.as_deref(), {constraint});"),
        };
    };
    // A plain collection cannot tell absent from empty: the service's own rules say what an empty one means.
    let present = if optional {
        format!("{value}.as_ref().map(|list| &list.items)")
    } else {
        format!("Some(&{value})")
    };
    let size = constraint(member.constraint.as_ref().unwrap_or(&none), member.required);
    let each = constraint(member.each.as_ref().unwrap_or(&none), false);
    let key = constraint(member.key.as_ref().unwrap_or(&none), false);
    let constrained = member.required && optional
        || member.constraint.is_some()
        || member.each.is_some()
        || member.key.is_some();
    if items.is_map() {
        let entry = items.kind().as_message().expect("a map").map_entry_value_field();
        return match entry.kind() {
            Kind::Message(inner) if options::transparent(&inner) => String::new(),
            Kind::Message(_) => format!("found.structures({name}, {present}.into_iter().flatten());"),
            Kind::String if constrained => format!("found.map({name}, {present}, {size}, {key}, {each});"),
            Kind::Double if constrained => {
                format!("found.doubles({name}, {present}, {size}, {key}, {each});")
            }
            _ => String::new(),
        };
    }
    match items.kind() {
        Kind::Message(_) if constrained => {
            format!(
                "found.size({name}, {present}.map(Vec::len), {size});\n        found.list({name}, {present}.into_iter().flatten());"
            )
        }
        Kind::Message(_) => format!("found.list({name}, {present}.into_iter().flatten());"),
        Kind::String if constrained => {
            format!("found.texts({name}, {present}.map(Vec::as_slice), {size}, {each});")
        }
        _ => String::new(),
    }
}

fn constraint(from: &Constraint, required: bool) -> String {
    let pattern = match &from.pattern {
        Some(pattern) => format!("Some(crate::validate::Pattern::new({pattern:?}))"),
        None => "None".to_owned(),
    };
    format!(
        "{{ static C: crate::validate::Constraint = crate::validate::Constraint {{ required: {required}, min_length: {:?}, \
         max_length: {:?}, min: {:?}, max: {:?}, pattern: {pattern}, values: &{:?} }}; &C }}",
        from.min_length, from.max_length, from.min, from.max, from.values
    )
}

fn text_member(shape: &MessageDescriptor) -> String {
    let arms: String = shape
        .fields()
        .filter(|field| !field.is_list() && !field.is_map() && matches!(field.kind(), Kind::String))
        .filter(|_| !options::transparent(shape))
        .fold(String::new(), |mut arms, field| {
            writeln!(arms, "            {:?} => self.{}.as_deref(),", field.json_name(), ident(&field))
                .expect("strings take writes");
            arms
        });
    if arms.is_empty() {
        return String::new();
    }
    format!(
        "    fn text(&self, member: &str) -> Option<&str> {{\n        match member {{\n{arms}            \
         _ => None,\n        }}\n    }}\n"
    )
}

fn payload(shape: &MessageDescriptor) -> String {
    let blob = shape.fields().find(|field| {
        options::member(field).location.as_deref() == Some("PAYLOAD") && matches!(field.kind(), Kind::Bytes)
    });
    let Some(field) = blob else { return String::new() };
    let name = ident(&field);
    format!(
        "    const HAS_PAYLOAD: bool = true;\n    fn set_payload(&mut self, payload: bytes::Bytes) {{\n        \
         self.{name} = Some(payload);\n    }}\n    fn take_payload(&mut self) -> Option<bytes::Bytes> {{\n        \
         self.{name}.take()\n    }}\n"
    )
}

fn rust_type(shape: &MessageDescriptor) -> String {
    shape.name().to_upper_camel_case()
}

fn ident(field: &FieldDescriptor) -> String {
    let name = field.name();
    if KEYWORDS.contains(&name) { format!("r#{name}") } else { name.to_owned() }
}
