//! The rules of `proto/` that a reader relies on; the build fails on a breach.

use prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, Kind};

use crate::{PUBLIC_PACKAGES, options};

/// Panics, naming them all, if a declaration breaks a rule.
pub(crate) fn check(pool: &DescriptorPool) {
    let mut breaches = Vec::new();
    let public = |message: &prost_reflect::MessageDescriptor| {
        is_public(message.parent_file().package_name()) && !message.is_map_entry()
    };
    for message in pool.all_messages().filter(public) {
        if options::transparent(&message) && (message.fields().len() != 1 || !is_collection(&message)) {
            breaches.push(format!("{}: a transparent shape is one list or one map", message.full_name()));
        }
        for field in message.fields() {
            check_field(&field, &mut breaches);
        }
    }
    for service in pool.services() {
        let public = is_public(service.parent_file().package_name());
        if public && options::aws(&service).is_none() {
            breaches.push(format!("{}: a public service says which AWS service it is", service.full_name()));
        }
        for method in service.methods() {
            if options::operation(&method).retry.is_none() && service.full_name().starts_with("lambfold.") {
                breaches.push(format!("{}: an operation says whether it may be retried", method.full_name()));
            }
        }
    }
    assert!(breaches.is_empty(), "proto/ breaks its rules:\n  {}", breaches.join("\n  "));
}

fn check_field(field: &FieldDescriptor, breaches: &mut Vec<String>) {
    let singular =
        !field.is_list() && !field.is_map() && field.containing_oneof().is_none_or(|it| it.is_synthetic());
    let plain_required = field.cardinality() == Cardinality::Required;
    if singular && (!field.supports_presence() || plain_required) {
        breaches.push(format!("{}: singular fields are optional", field.full_name()));
    }
    if matches!(field.kind(), Kind::Enum(_)) {
        breaches.push(format!("{}: AWS enums are strings with `values`", field.full_name()));
    }
}

fn is_collection(message: &prost_reflect::MessageDescriptor) -> bool {
    message.fields().all(|field| field.is_list() || field.is_map())
}

fn is_public(package: &str) -> bool {
    PUBLIC_PACKAGES.contains(&package)
}
