//! AWS's words for bytes that are not what the protocol asks for.

use lambfold_api::Fault;
use serde_json::error::Category;

/// The words of AWS's JSON reader for an error of ours. What went wrong in a value is told by the kinds of value;
/// its content is not repeated.
pub(crate) fn fault(error: &serde_json::Error) -> Fault {
    let text = error.to_string();
    match error.classify() {
        Category::Data => Fault::serialization(mismatch(&text)),
        Category::Eof => Fault::serialization("Unexpected end of the request body."),
        Category::Syntax | Category::Io => Fault::serialization("The request body is not valid JSON."),
    }
}

/// A member that holds a value of another kind.
pub(crate) fn wrong_kind(found: &str, wanted: &str) -> String {
    format!("{found} can not be converted to {wanted}")
}

fn mismatch(text: &str) -> String {
    let wanted = match text.split_once("expected ") {
        Some((_, rest)) if rest.contains("string") => "a String",
        Some((_, rest)) if rest.starts_with("i32") => "an Integer",
        Some((_, rest)) if rest.starts_with("i64") => "a Long",
        Some((_, rest)) if rest.starts_with("f64") => "a Double",
        Some((_, rest)) if rest.contains("boolean") => "a Boolean",
        _ => "",
    };
    let found = text
        .strip_prefix("invalid type: ")
        .or_else(|| text.strip_prefix("invalid value: "))
        .unwrap_or_default();
    let found = match found.split([' ', ',']).next().unwrap_or_default() {
        "map" => return "Start of structure or map found where not expected.".to_owned(),
        "sequence" => return "Start of list found where not expected".to_owned(),
        "integer" | "number" => "NUMBER_VALUE",
        "floating" => "DECIMAL_VALUE",
        "string" => "STRING_VALUE",
        "boolean" if found.contains("true") => "TRUE_VALUE",
        "boolean" => "FALSE_VALUE",
        "null" | "unit" => "NULL_VALUE",
        _ if text.contains("not base64") => return "Invalid base64 in a blob member.".to_owned(),
        _ if text.starts_with("duplicate field") => return "A member is given more than once.".to_owned(),
        _ => return "The request body does not match the operation's input.".to_owned(),
    };
    match wanted {
        "" => format!("{found} found where not expected."),
        wanted => wrong_kind(found, wanted),
    }
}

#[cfg(test)]
mod tests {
    use lambfold_api::sqs::{CreateQueueRequest, SendMessageRequest};
    use serde::Deserialize;

    use crate::strict::Strict;

    #[test]
    fn what_is_wrong_is_told_in_aws_words() {
        for (body, words) in [
            ("", "Unexpected end of the request body."),
            ("{", "Unexpected end of the request body."),
            ("nonsense", "The request body is not valid JSON."),
            ("[]", "Start of list found where not expected"),
            ("null", "NULL_VALUE found where not expected."),
            (r#"{"QueueUrl":7}"#, "NUMBER_VALUE can not be converted to a String"),
            (r#"{"QueueUrl":true}"#, "TRUE_VALUE can not be converted to a String"),
            (r#"{"QueueUrl":{}}"#, "Start of structure or map found where not expected."),
            (r#"{"QueueUrl":[]}"#, "Start of list found where not expected"),
            (r#"{"DelaySeconds":"1"}"#, "STRING_VALUE can not be converted to an Integer"),
            (r#"{"DelaySeconds":1.5}"#, "DECIMAL_VALUE can not be converted to an Integer"),
            (r#"{"DelaySeconds":99999999999}"#, "NUMBER_VALUE can not be converted to an Integer"),
            (r#"{"DelaySeconds":1e99}"#, "DECIMAL_VALUE can not be converted to an Integer"),
            (r#"{"QueueUrl":"a","QueueUrl":"b"}"#, "A member is given more than once."),
            (r#"{"MessageAttributes":{"a":["String"]}}"#, "Start of list found where not expected"),
            (r#"{"MessageAttributes":{"a":{"BinaryValue":"*"}}}"#, "Invalid base64 in a blob member."),
        ] {
            let mut json = serde_json::Deserializer::from_str(body);
            let error = SendMessageRequest::deserialize(Strict(&mut json)).unwrap_err();
            let fault = super::fault(&error);
            assert_eq!((fault.code(), fault.http_status()), ("SerializationException", 400));
            assert_eq!(fault.message(), words, "{body}: {error}");
        }
    }

    #[test]
    fn unknown_members_and_nulls_are_absent() {
        let body = r#"{"Unknown":[{"x":1}],"QueueName":null,"Attributes":null,"tags":{"a":"b"}}"#;
        let mut json = serde_json::Deserializer::from_str(body);
        let input = CreateQueueRequest::deserialize(Strict(&mut json)).unwrap();
        assert_eq!((input.queue_name, input.attributes.len()), (None, 0));
        assert_eq!(input.tags["a"], "b");
    }
}
