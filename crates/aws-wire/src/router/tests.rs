use http::Request;
use proptest::prelude::*;

use super::*;

const SIGNED_SQS: &str = "AWS4-HMAC-SHA256 Credential=123456789012/20260101/eu-west-1/sqs/aws4_request, \
                          SignedHeaders=host, Signature=00";

fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut builder = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

/// Service, protocol and operation, or status and code.
fn told(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> String {
    let router = Router::new();
    let head = head(method, target, headers);
    match router.route(&head) {
        Ok(Route::AwsJson(operation)) => format!("json {}", operation.action),
        Ok(Route::Rest(operation, labels)) => format!("rest {} {:?}", operation.action, labels.0),
        Ok(Route::Query(format)) => {
            let mut parameters = vec![Bytes::copy_from_slice(body.as_bytes())];
            parameters.extend(head.uri.query().map(|query| Bytes::copy_from_slice(query.as_bytes())));
            match router.query(&head, &QueryRequest { parameters, queue_url: None }) {
                Ok(operation) => format!("query {format:?} {}", operation.action),
                Err(fault) => format!("query {} {}", fault.http_status(), fault.query_code()),
            }
        }
        Err(refusal) => {
            let answer = refusal.into_response(Uuid::nil());
            format!("{} {}", answer.status().as_u16(), String::from_utf8_lossy(answer.body()))
        }
    }
}

#[test]
fn sqs_is_told_by_target_content_type_and_action() {
    let target = |name| [("X-Amz-Target", name), ("Content-Type", "application/x-amz-json-1.0")];
    assert_eq!(told("POST", "/", &target("AmazonSQS.SendMessage"), ""), "json sqs:SendMessage");
    // At the queue's URL too: JavaScript's SDK sends there.
    assert_eq!(told("POST", "/000000000000/q", &target("AmazonSQS.SendMessage"), ""), "json sqs:SendMessage");
    for unknown in ["AmazonSQS.MakeCoffee", "AmazonSQS.", "SendMessage", "", "DynamoDB_20120810.ListTables"] {
        let told = told("POST", "/", &target(unknown), "");
        assert!(
            told.starts_with("400 {\"__type\":\"com.amazon.coral.service#UnknownOperationException\""),
            "{told}"
        );
    }
    let form = [("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")];
    assert_eq!(told("POST", "/", &form, "Action=SendMessage"), "query Xml sqs:SendMessage");
    assert_eq!(told("POST", "/000000000000/q", &form, "Action=SendMessage"), "query Xml sqs:SendMessage");
    assert_eq!(told("GET", "/?Action=ListQueues", &[], ""), "query Xml sqs:ListQueues");
    let json = [("Accept", "text/html, application/json;q=0.5")];
    assert_eq!(told("GET", "/?Action=ListQueues", &json, ""), "query Json sqs:ListQueues");
    assert_eq!(
        told("GET", "/queue/eu-west-1/000000000000/q?Action=DeleteQueue", &[], ""),
        "query Xml sqs:DeleteQueue"
    );
}

#[test]
fn actions_that_are_none_are_refused() {
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    assert_eq!(told("POST", "/", &form, "Action=MakeCoffee"), "query 400 InvalidAction");
    assert_eq!(told("POST", "/", &form, "Version=2012-11-05"), "query 400 MissingAction");
    assert_eq!(told("POST", "/000000000000/q", &form, "Action=ListQueues"), "query 400 InvalidAction");
    assert_eq!(told("GET", "/000000000000/q?Action=CreateQueue", &[], ""), "query 400 InvalidAction");
    assert_eq!(told("GET", "/000000000000/q?Action=GetQueueUrl", &[], ""), "query Xml sqs:GetQueueUrl");
    for accept in ["*/*", "application/json"] {
        let told = told("GET", "/000000000000/q", &[("Accept", accept)], "");
        assert_eq!(told, "404 <UnknownOperationException/>\n");
    }
    assert_eq!(
        told("GET", "/any/where", &[("Authorization", SIGNED_SQS)], ""),
        "404 <UnknownOperationException/>\n"
    );
    assert_eq!(
        told("POST", "/", &[("Authorization", SIGNED_SQS)], "Action=ListQueues"),
        "query Xml sqs:ListQueues"
    );
}

#[test]
fn lambda_is_told_by_method_and_path() {
    for (method, target, expected) in [
        ("POST", "/2015-03-31/functions", "rest lambda:CreateFunction []"),
        ("GET", "/2015-03-31/functions/", "rest lambda:ListFunctions []"),
        ("GET", "/2015-03-31/functions/f", r#"rest lambda:GetFunction [("FunctionName", "f")]"#),
        (
            "POST",
            "/2015-03-31/functions/a%3Ab%2Fc/invocations",
            r#"rest lambda:InvokeFunction [("FunctionName", "a:b/c")]"#,
        ),
        ("GET", "/2018-10-31/layers", "rest lambda:ListLayers []"),
        ("GET", "/2018-10-31/layers?find=LayerVersion&Arn=x", "rest lambda:GetLayerVersion []"),
        (
            "GET",
            "/2019-09-30/functions/f/provisioned-concurrency?List=ALL",
            r#"rest lambda:ListProvisionedConcurrencyConfigs [("FunctionName", "f")]"#,
        ),
        (
            "GET",
            "/2019-09-25/functions/f/event-invoke-config/list",
            r#"rest lambda:ListFunctionEventInvokeConfigs [("FunctionName", "f")]"#,
        ),
        (
            "DELETE",
            "/2017-03-31/tags/arn:aws:lambda:us-east-1:1:function:f",
            r#"rest lambda:UntagResource [("Resource", "arn:aws:lambda:us-east-1:1:function:f")]"#,
        ),
    ] {
        let told = told(method, target, &[], "");
        assert_eq!(told, expected, "{method} {target}");
    }
}

#[test]
fn every_rest_operation_is_found_at_its_own_template() {
    let router = Router::new();
    for operation in LAMBDA_OPERATIONS.iter().chain(LAMBDA_INVOKE_OPERATIONS) {
        let http = operation.http.as_ref().unwrap();
        let target = http.path.replace('{', "x%3A").replace('}', "%2F");
        let Ok(Route::Rest(found, _)) = router.route(&head(http.method, &target, &[])) else {
            panic!("{target} is no route")
        };
        assert_eq!(found.name, operation.name, "{} {target}", http.method);
    }
}

#[test]
fn strangers_and_signers_are_told_differently() {
    for (method, target) in [
        ("GET", "/nonsense"),
        ("POST", "/"),
        ("GET", "/2015-03-31/functions/a/b/c/d"),
        ("PATCH", "/2015-03-31/functions"),
        ("GET", "/2015-03-31/functions//configuration"),
        ("GET", "/2015-03-31/functions/%ff"),
    ] {
        let stranger = told(method, target, &[], "");
        assert_eq!(
            stranger,
            r#"403 {"Message":"Missing Authentication Token","message":"Missing Authentication Token"}"#
        );
        let signed = SIGNED_SQS.replace("/sqs/", "/lambda/");
        let signer = told(method, target, &[("Authorization", &signed)], "");
        assert!(signer.starts_with("404 ") && signer.contains("No operation is at"), "{signer}");
    }
}

proptest! {
    #[test]
    fn no_head_breaks_the_router(path in "/[!-~&&[^#?]]{0,60}(\\?[!-~&&[^#]]{0,40})?", target in "[ -~]{0,20}", method in "GET|POST|PUT|DELETE|PATCH|X") {
        if let Ok(request) = Request::builder().method(method.as_str()).uri(&path).header("x-amz-target", &target).body(()) {
            let (mut head, ()) = request.into_parts();
            let _ = Router::new().route(&head);
            head.headers.clear();
            let _ = Router::new().route(&head);
        }
    }
}
