//! Sizes and numbers at their bounds.

use lambfold_api::worker::InvokeResponse;
use serde_json::{Value, json};

use crate::support::{Rig, json, memory_used, success, tail, unique};

const LIMIT: usize = 6 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn six_megabytes_pass_both_ways() {
    let rig = Rig::start().await;
    let function = rig.python("def handler(event, context):\n    return event\n").await;
    let event = format!("\"{}\"", "x".repeat(LIMIT - 2));
    let (id, answer) = rig.cold(&function, &event).await;
    assert_eq!(answer.function_error, "", "{}", tail(&answer));
    assert!(answer.payload == event);
    assert!(rig.warm(&id, &event).await.unwrap().payload == event);
    let function = rig.function("nodejs20.x", "index.js", "exports.handler = async (event) => event;").await;
    assert!(rig.cold(&function, &event).await.1.payload == event);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_over_the_limit_is_the_functions_error() {
    let rig = Rig::start().await;
    let sources = [
        ("python3.11", "index.py", "def handler(event, context):\n    return 'x' * event\n"),
        ("nodejs20.x", "index.js", "exports.handler = async (event) => 'x'.repeat(event);"),
    ];
    for (runtime, file, source) in sources {
        let function = rig.function(runtime, file, source).await;
        let (id, answer) = rig.cold(&function, "7000000").await;
        let expected = json!({
            "errorType": "Function.ResponseSizeTooLarge",
            "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
        });
        assert_eq!((json(&answer), answer.function_error.as_str()), (expected, "Unhandled"));
        assert_eq!(success(&rig.warm(&id, "3").await.unwrap()), json!("xxx"));
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streamed_answers_are_gathered() {
    let rig = Rig::start().await;
    let source = "exports.handler = awslambda.streamifyResponse(async (event, stream) => { stream.write('{\"a\":'); stream.write('1}'); if (event === 'fail') throw new Error('half way'); stream.end(); });";
    let function = rig.function("nodejs20.x", "index.js", source).await;
    let (id, answer) = rig.cold(&function, "{}").await;
    assert_eq!(success(&answer), json!({"a": 1}));
    let failed = rig.warm(&id, "\"fail\"").await.unwrap();
    assert_eq!(
        (json(&failed)["errorMessage"].as_str(), failed.function_error.as_str()),
        (Some("half way"), "Unhandled")
    );
    assert_eq!(success(&rig.warm(&id, "{}").await.unwrap()), json!({"a": 1}));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tail_has_the_last_4096_bytes_up_to_the_answer() {
    let rig = Rig::start().await;
    let function = rig
        .python("def handler(event, context):\n    for n in range(event):\n        print('line', n)\n    return 1\n")
        .await;
    let (id, answer) = rig.cold(&function, "200000").await;
    assert_eq!(answer.log_tail.len(), 4096);
    assert!(tail(&answer).contains("line 199999\nEND RequestId: "), "{}", tail(&answer));
    for _ in 0..50 {
        let answer = rig.warm(&id, "3").await.unwrap();
        let log = tail(&answer);
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines.len(), 6, "{log}");
        assert_eq!(lines[1..4], ["line 0", "line 1", "line 2"], "{log}");
    }
    rig.stop().await;
}

/// Facts: execution environment §9: on AWS `/tmp` is a disk.
#[tokio::test(flavor = "multi_thread")]
async fn files_in_tmp_are_no_memory_used() {
    let rig = Rig::start().await;
    if !rig.driver.capabilities().own_root {
        return; // There it is a directory of the host.
    }
    let source = r"
import os
def handler(event, context):
    with open('/tmp/file', 'wb') as file:
        for _ in range(300):
            file.write(b'x' * 1000000)
    if event == 'crash':
        os._exit(1)
    if event == 'hold':
        global held
        held = b'x' * 60000000
    return os.stat('/tmp/file').st_size
";
    let mut function = rig.python(source).await;
    function.memory_size_mb = 128;
    let small = |answer: &InvokeResponse| {
        let used = memory_used(&tail(answer));
        assert!((1..60).contains(&used), "{used}");
    };
    let (id, answer) = rig.cold(&function, "1").await;
    assert_eq!(success(&answer), json!(300_000_000));
    small(&answer);
    small(&rig.warm(&id, "1").await.unwrap());
    let used = memory_used(&tail(&rig.warm(&id, "\"hold\"").await.unwrap()));
    assert!((60..128).contains(&used), "{used}");
    let answer = rig.cold(&function, "\"crash\"").await.1;
    assert_eq!(json(&answer)["errorType"], "Runtime.ExitError");
    small(&answer);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_used_is_never_more_than_there_is() {
    let rig = Rig::start().await;
    let source = "def handler(event, context):\n    return len([b'x' * 1000000 for _ in range(1000)])\n";
    let mut function = rig.python(source).await;
    function.memory_size_mb = 128;
    let (_, answer) = rig.cold(&function, "{}").await;
    assert_eq!(answer.error_type, "Runtime.OutOfMemory");
    assert_eq!(memory_used(&tail(&answer)), 128);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_keeps_the_output_open_delays_nothing() {
    let rig = Rig::start().await;
    let function = rig
        .python("import subprocess\ndef handler(event, context):\n    subprocess.Popen(['sh', '-c', 'while true; do echo noise; done'])\n    return 1\n")
        .await;
    let (id, answer) = rig.cold(&function, "{}").await;
    assert_eq!(success(&answer), json!(1));
    assert_eq!(success(&rig.warm(&id, "{}").await.unwrap()), json!(1));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_worker_says_so_and_idle_environments_end() {
    let rig = Rig::with(|options| {
        options.max_environments = 1;
        options.idle = std::time::Duration::from_millis(1500);
    })
    .await;
    let function = rig.python("def handler(event, context):\n    return 1\n").await;
    let (id, answer) = rig.cold(&function, "{}").await;
    assert_eq!(success(&answer), Value::from(1));
    let full = rig.invoke(&unique(), Some(&function), "{}").await.unwrap_err();
    assert_eq!(full.code(), "CapacityExceeded");
    crate::support::eventually_async("the idle environment to end", async || {
        rig.invoke(&unique(), Some(&function), "{}").await.is_ok()
    })
    .await;
    assert_eq!(rig.warm(&id, "{}").await.unwrap_err().code(), "EnvironmentGone");
    rig.stop().await;
}
