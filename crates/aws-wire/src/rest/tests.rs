use http::Request;
use lambfold_api::lambda::{
    CreateFunctionRequest, GetFunctionConfigurationRequest, InvocationRequest, InvocationResponse,
    LAMBDA_CREATE_FUNCTION, LAMBDA_DELETE_FUNCTION, LAMBDA_GET_FUNCTION_CONFIGURATION, LAMBDA_INVOKE_INVOKE,
    LAMBDA_LIST_FUNCTIONS, LAMBDA_UNTAG_RESOURCE, ListFunctionsRequest, UntagResourceRequest,
};
use proptest::prelude::*;

use super::*;
use crate::{Route, Router};

fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> RestRequest {
    let mut builder = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let (head, ()) = builder.body(()).unwrap().into_parts();
    let Ok(Route::Rest(_, labels)) = Router::new().route(&head) else { panic!("{target} is no route") };
    RestRequest { head, labels, body: Bytes::copy_from_slice(body.as_bytes()) }
}

#[test]
fn members_come_from_everywhere() {
    let target = "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Aresize/invocations\
                  ?Qualifier=live%201";
    let headers = [("X-Amz-Invocation-Type", "Event"), ("x-amz-log-type", "Tail")];
    let input: InvocationRequest =
        RestJson.decode(&LAMBDA_INVOKE_INVOKE, request("POST", target, &headers, "not \u{0} json")).unwrap();
    assert_eq!(input.function_name.as_deref(), Some("arn:aws:lambda:us-east-1:000000000000:function:resize"));
    assert_eq!(input.qualifier.as_deref(), Some("live 1"));
    assert_eq!(input.invocation_type.as_deref(), Some("Event"));
    assert_eq!(input.log_type.as_deref(), Some("Tail"));
    assert_eq!(input.payload.as_deref(), Some("not \u{0} json".as_bytes()));
}

#[test]
fn a_payload_is_passed_on_as_it_lies_in_memory() {
    let mut raw = request("POST", "/2015-03-31/functions/f/invocations", &[], "{}");
    raw.body = Bytes::from(vec![7; 100_000]);
    let lies_at = raw.body.as_ptr();
    let input: InvocationRequest = RestJson.decode(&LAMBDA_INVOKE_INVOKE, raw).unwrap();
    let payload = input.payload.unwrap();
    assert_eq!(payload.as_ptr(), lies_at);
    let output = InvocationResponse { payload: Some(payload), ..InvocationResponse::default() };
    let answer = RestJson.encode(&LAMBDA_INVOKE_INVOKE, output).unwrap();
    assert_eq!(answer.body().as_ptr(), lies_at);
}

#[test]
fn a_json_body_is_read_beside_the_path() {
    let body = r#"{"FunctionName":"f","Code":{"ZipFile":"UEsFBg=="},"Timeout":3,"Environment":{"Variables":{"A":"b"}},"X":1}"#;
    let input: CreateFunctionRequest = RestJson
        .decode(&LAMBDA_CREATE_FUNCTION, request("POST", "/2015-03-31/functions/", &[], body))
        .unwrap();
    assert_eq!(input.function_name.as_deref(), Some("f"));
    assert_eq!(input.code.unwrap().zip_file.as_deref(), Some(&b"PK\x05\x06"[..]));
    assert_eq!((input.timeout, input.layers.is_none()), (Some(3), true));

    // A member of the path counts there only.
    let twice: GetFunctionConfigurationRequest = RestJson
        .decode(
            &LAMBDA_GET_FUNCTION_CONFIGURATION,
            request("GET", "/2015-03-31/functions/path/configuration", &[], r#"{"FunctionName":"body"}"#),
        )
        .unwrap();
    assert_eq!(twice.function_name.as_deref(), Some("path"));
}

#[test]
fn query_members_are_typed() {
    let target = "/2015-03-31/functions/?MaxItems=10&Marker=a%2Bb&Other=1";
    let input: ListFunctionsRequest =
        RestJson.decode(&LAMBDA_LIST_FUNCTIONS, request("GET", target, &[], "")).unwrap();
    assert_eq!((input.max_items, input.marker.as_deref()), (Some(10), Some("a+b")));
    let target = "/2017-03-31/tags/arn%3Aaws%3Alambda%3Aus-east-1%3A1%3Afunction%3Af?tagKeys=a&tagKeys=b%20c";
    let input: UntagResourceRequest =
        RestJson.decode(&LAMBDA_UNTAG_RESOURCE, request("DELETE", target, &[], "")).unwrap();
    assert_eq!(input.tag_keys.unwrap().items, ["a", "b c"]);
    for wrong in ["x", "", "1.5", "99999999999", "99999999999999999999"] {
        let target = format!("/2015-03-31/functions?MaxItems={wrong}");
        let outcome: Result<ListFunctionsRequest, _> =
            RestJson.decode(&LAMBDA_LIST_FUNCTIONS, request("GET", &target, &[], ""));
        assert_eq!(outcome.unwrap_err().code(), "SerializationException", "{wrong}");
    }
}

#[test]
fn wrong_bodies_are_refused() {
    for body in [
        "{",
        "[]",
        "null",
        "7",
        r#"{"Timeout":"x"}"#,
        r#"{"Code":[]}"#,
        r#"{"Layers":{}}"#,
        "{}{}",
        "\u{feff}{}",
    ] {
        let outcome: Result<CreateFunctionRequest, _> =
            RestJson.decode(&LAMBDA_CREATE_FUNCTION, request("POST", "/2015-03-31/functions", &[], body));
        assert_eq!(outcome.unwrap_err().code(), "SerializationException", "{body}");
    }
}

#[test]
fn an_output_is_taken_apart() {
    let output = InvocationResponse {
        status_code: Some(202),
        function_error: Some("Unhandled".into()),
        executed_version: Some("$LATEST".into()),
        ..InvocationResponse::default()
    };
    let answer = RestJson.encode(&LAMBDA_INVOKE_INVOKE, output).unwrap();
    assert_eq!(answer.status(), 202);
    assert_eq!(answer.headers()["x-amz-function-error"], "Unhandled");
    assert_eq!(answer.headers()["x-amz-executed-version"], "$LATEST");
    assert_eq!(answer.headers().get(header::CONTENT_TYPE), None);
    assert!(answer.body().is_empty());

    let deleted = lambfold_api::lambda::DeleteFunctionResponse { status_code: Some(204) };
    let answer = RestJson.encode(&LAMBDA_DELETE_FUNCTION, deleted).unwrap();
    assert_eq!((answer.status().as_u16(), answer.body().len()), (204, 0));

    let listed = lambfold_api::lambda::ListFunctionsResponse::default();
    let answer = RestJson.encode(&LAMBDA_LIST_FUNCTIONS, listed).unwrap();
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
    assert!(answer.body().starts_with(b"{") && answer.body().ends_with(b"}"));
}

proptest! {
    #[test]
    fn no_body_or_query_breaks_the_reader(body in "\\PC{0,64}|[{}\\[\\]\":,a-z0-9CodeTimutLyr]{0,64}", query in "[A-Za-z0-9=&%+]{0,40}") {
        let target = format!("/2015-03-31/functions?{query}");
        let _: Result<CreateFunctionRequest, _> =
            RestJson.decode(&LAMBDA_CREATE_FUNCTION, request("POST", &target, &[], &body));
        let _: Result<ListFunctionsRequest, _> =
            RestJson.decode(&LAMBDA_LIST_FUNCTIONS, request("GET", &target, &[], ""));
    }
}
