//! The error codes of a public package, as one enum.

use std::fmt::Write;

use prost_reflect::DescriptorPool;

use crate::options;

/// `enum ErrorCode` with the wire code, Query code and HTTP status of each error shape.
pub(crate) fn code_enum(pool: &DescriptorPool, package: &str) -> String {
    let errors: Vec<_> = pool
        .all_messages()
        .filter(|shape| shape.parent_file().package_name() == package)
        .filter_map(|shape| options::error(&shape).map(|error| (shape.name().to_owned(), error)))
        .collect();
    let mut code = String::from(
        "/// The error codes of this service, as AWS names them.\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]\npub enum ErrorCode {\n",
    );
    for (name, error) in &errors {
        writeln!(code, "    /// HTTP {}.\n    {name},", error.status).expect("strings take writes");
    }
    code.push_str("}\n\nimpl crate::fault::AwsErrorCode for ErrorCode {\n");
    let mut arms = [String::new(), String::new(), String::new()];
    for (name, error) in &errors {
        let wire = error.code.as_deref().unwrap_or(name);
        let query = error.query_code.as_deref().unwrap_or(wire);
        writeln!(arms[0], "            Self::{name} => {wire:?},").expect("strings take writes");
        writeln!(arms[1], "            Self::{name} => {query:?},").expect("strings take writes");
        writeln!(arms[2], "            Self::{name} => {},", error.status).expect("strings take writes");
    }
    for ((function, kind), arms) in
        [("code", "&'static str"), ("query_code", "&'static str"), ("http_status", "u16")]
            .into_iter()
            .zip(arms)
    {
        writeln!(
            code,
            "    fn {function}(self) -> {kind} {{\n        match self {{\n{arms}        }}\n    }}"
        )
        .expect("strings take writes");
    }
    code.push_str("}\n");
    code
}
