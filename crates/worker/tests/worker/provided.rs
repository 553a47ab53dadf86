//! A runtime of the user's own, that does what no good runtime does.

use serde_json::{Value, json};

use crate::support::{Rig, json, provided, success, tail};

#[tokio::test(flavor = "multi_thread")]
async fn misuse_is_refused_as_aws_refuses_it() {
    let rig = Rig::start().await;
    let function = provided(
        &rig,
        r"
early = [call('POST', 'invocation/x/response', '1')[:2], call('GET', '/2018-06-01/ping')[:2]]
while True:
    id, event = take()
    seen = []
    seen.append(call('GET', 'invocation/next')[:2])
    seen.append(call('POST', 'invocation/other/response', '1')[:2])
    seen.append(call('POST', 'init/error', '{}')[:2])
    seen.append(call('GET', 'nothing/here')[:2])
    seen.append(call('GET', 'restore/next')[:2])
    seen.append(raw(b'nonsense\r\n\r\n'))
    s, e, _ = call('POST', 'invocation/' + id + '/response', json.dumps({'early': early, 'seen': seen}))
    again = call('POST', 'invocation/' + id + '/response', '2')[:2]
    print('answered', s, e, again, flush=True)
",
    )
    .await;
    let (id, answer) = rig.cold(&function, "{}").await;
    let seen = success(&answer);
    assert_eq!(
        seen["early"][0],
        json!([400, {"errorMessage": "Invalid request ID", "errorType": "InvalidRequestID"}])
    );
    assert_eq!(seen["early"][1], json!([200, "pong"]));
    let calls = &seen["seen"];
    let transition = |call: &Value| (call[0].clone(), call[1]["errorType"].clone());
    assert_eq!(transition(&calls[0]), (json!(403), json!("InvalidStateTransition")));
    assert_eq!(calls[1][1]["errorType"], "InvalidRequestID");
    assert_eq!(transition(&calls[2]), (json!(403), json!("InvalidStateTransition")));
    assert_eq!(calls[3][0], 404);
    assert_eq!(calls[4][0], 403);
    assert_eq!(calls[5], "");
    assert_eq!(success(&rig.warm(&id, "{}").await.unwrap())["seen"], *calls);
    assert!(
        tail(&answer).contains("answered 202 {'status': 'OK'} (400, {'errorMessage': 'Invalid request ID'"),
        "{}",
        tail(&answer)
    );
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_in_every_form_that_http_has() {
    let rig = Rig::start().await;
    let function = provided(
        &rig,
        r#"
while True:
    id, event = take()
    path = BASE + 'invocation/' + id + '/response'
    head = 'POST %s HTTP/1.1\r\nHost: x\r\n' % path
    if event['how'] == 'chunks':
        answer = raw((head + 'Transfer-Encoding: chunked\r\n\r\n2\r\n"a\r\n2;x=y\r\nb"\r\n0\r\n\r\n').encode())
        assert answer.startswith('HTTP/1.1 202'), answer
    elif event['how'] == 'expect':
        s = raw((head + 'Expect: 100-continue\r\nContent-Length: 4\r\n\r\n').encode(), wait=False)
        assert s.recv(100).startswith(b'HTTP/1.1 100'), 'no continue'
        s.sendall(b'"ab"')
        assert s.recv(100).startswith(b'HTTP/1.1 202')
    elif event['how'] == 'slowly':
        s = raw(head.encode(), wait=False)
        for byte in b'Content-Length: 4\r\n\r\n"ab"':
            s.sendall(bytes([byte]))
            time.sleep(0.002)
        assert s.recv(100).startswith(b'HTTP/1.1 202')
    elif event['how'] == 'error':
        call('POST', 'invocation/' + id + '/error', 'not even json', {'Lambda-Runtime-Function-Error-Type': 'My.Type'})
    elif event['how'] == 'mode':
        s, e, _ = call('POST', 'invocation/' + id + '/response', '1', {'Lambda-Runtime-Function-Response-Mode': 'x'})
        assert (s, e['errorType']) == (400, 'InvalidFunctionResponseMode')
    elif event['how'] == 'broken':
        s = raw((head + 'Content-Length: 400\r\n\r\n"ab').encode(), wait=False)
        s.close()
        # Seen on another connection than the call that follows.
        time.sleep(0.1)
"#,
    )
    .await;
    let (id, answer) = rig.cold(&function, r#"{"how": "chunks"}"#).await;
    assert_eq!(success(&answer), json!("ab"));
    for how in ["expect", "slowly", "chunks"] {
        let answer = rig.warm(&id, &format!("{{\"how\": \"{how}\"}}")).await.unwrap();
        assert_eq!(success(&answer), json!("ab"), "{how}");
    }
    let answer = rig.warm(&id, r#"{"how": "error"}"#).await.unwrap();
    assert_eq!((&answer.payload[..], answer.function_error.as_str()), (&b"not even json"[..], "Unhandled"));
    assert_eq!(answer.error_type, "Runtime.Unknown");
    let answer = rig.warm(&id, r#"{"how": "mode"}"#).await.unwrap();
    assert_eq!(json(&answer)["errorType"], "Runtime.InvalidResponseModeHeader");
    let answer = rig.warm(&id, r#"{"how": "broken"}"#).await.unwrap();
    assert_eq!(json(&answer)["errorType"], "Runtime.TruncatedResponse");
    assert_eq!(success(&rig.warm(&id, r#"{"how": "chunks"}"#).await.unwrap()), json!("ab"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_waits_for_the_connection_that_takes_it() {
    let rig = Rig::start().await;
    let function = provided(
        &rig,
        r"
n = 0
while True:
    id, event = take()
    n += 1
    call('POST', 'invocation/' + id + '/response', json.dumps(n))
    # Connections that ask and go away before there is anything to have, then, in the loop, one that stays.
    for _ in range(3):
        raw(('GET %sinvocation/next HTTP/1.1\r\nHost: x\r\n\r\n' % BASE).encode(), wait=False).close()
",
    )
    .await;
    let (id, answer) = rig.cold(&function, "{}").await;
    assert_eq!(success(&answer), json!(1));
    for n in 2..12 {
        crate::support::pause(30).await;
        assert_eq!(success(&rig.warm(&id, "{}").await.unwrap()), json!(n));
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_answers_and_never_comes_back_is_ended() {
    let rig = Rig::start().await;
    let mut function = provided(
        &rig,
        r"
id, event = take()
call('POST', 'invocation/' + id + '/response', '1')
if event == 'exit':
    sys.exit(5)
time.sleep(60)
",
    )
    .await;
    function.timeout_seconds = 1;
    let (id, answer) = rig.cold(&function, "{}").await;
    assert_eq!(success(&answer), json!(1));
    // It is still on its way to `next`: what comes now waits for it, but not for long, until its time is over.
    assert_eq!(rig.warm(&id, "{}").await.unwrap_err().code(), "EnvironmentBusy");
    crate::support::eventually_async("its end", async || {
        rig.warm(&id, "{}").await.unwrap_err().code() == "EnvironmentGone"
    })
    .await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_without_a_bootstrap_cannot_start() {
    let rig = Rig::start().await;
    let function = rig.function("provided.al2023", "index.py", "").await;
    let (_, answer) = rig.cold(&function, "{}").await;
    let payload = json(&answer);
    assert_eq!(payload["errorType"], "Runtime.InvalidEntrypoint");
    let message = payload["errorMessage"].as_str().unwrap();
    assert!(
        message.ends_with("Error: Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]")
    );
    let function = rig.package("provided.al2023", &[("bootstrap", "#!/bin/sh\n", 0o644)]).await;
    let (_, answer) = rig.cold(&function, "{}").await;
    assert_eq!(json(&answer)["errorType"], "Runtime.InvalidEntrypoint", "{:?}", answer.payload);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrapper_runs_in_place_of_the_bootstrap() {
    let rig = Rig::start().await;
    let mut function = rig
        .package(
            "python3.11",
            &[
                (
                    "index.py",
                    "import os\ndef handler(event, context):\n    return os.environ['WRAPPED']\n",
                    0o644,
                ),
                ("wrapper", "#!/bin/sh\nexport WRAPPED=yes\nexec \"$@\"\n", 0o755),
            ],
        )
        .await;
    let wrapper = if rig.driver.capabilities().own_root { "/var/task/wrapper" } else { return };
    function.environment.insert("AWS_LAMBDA_EXEC_WRAPPER".into(), wrapper.into());
    assert_eq!(success(&rig.cold(&function, "{}").await.1), json!("yes"));
    function.environment.insert("AWS_LAMBDA_EXEC_WRAPPER".into(), "./wrapper".into());
    assert_eq!(success(&rig.cold(&function, "{}").await.1), json!("yes"));
    for (path, status, text) in [
        ("/var/task/none", 127, "does not exist"),
        ("./none", 127, "does not exist"),
        ("none", 127, "does not exist"),
        ("/var/task/index.py", 126, "is not an executable"),
    ] {
        function.environment.insert("AWS_LAMBDA_EXEC_WRAPPER".into(), path.into());
        let (_, answer) = rig.cold(&function, "{}").await;
        let said = json(&answer)["errorMessage"].as_str().unwrap().to_owned();
        assert!(said.ends_with(&format!("Runtime exited with error: exit status {status}")), "{said}");
        let log = tail(&answer);
        let places: Vec<_> = [&format!("{path}: {text}\n"), "Phase: invoke", "START ", &said, "END "]
            .map(|part| log.find(part))
            .into_iter()
            .collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} {log}");
    }
    rig.stop().await;
}
