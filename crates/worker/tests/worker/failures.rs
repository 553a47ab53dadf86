//! What goes wrong, in AWS's words (facts: Lambda API §7, "Error payloads").

use serde_json::json;

use crate::support::{Rig, eventually_async, json, memory_used, success, tail, unique};

#[tokio::test(flavor = "multi_thread")]
async fn a_handlers_error_is_passed_on_and_the_environment_lives() {
    let rig = Rig::start().await;
    let function = rig
        .python("n = 0\ndef handler(event, context):\n    global n\n    n += 1\n    if event == 'fail':\n        raise ValueError('no good')\n    return n\n")
        .await;
    let (id, answer) = rig.cold(&function, "\"fail\"").await;
    assert_eq!(answer.function_error, "Unhandled");
    let payload = json(&answer);
    assert_eq!((&payload["errorType"], &payload["errorMessage"]), (&json!("ValueError"), &json!("no good")));
    assert!(
        payload["stackTrace"][0].as_str().unwrap().contains("index.py\", line 6, in handler"),
        "{payload}"
    );
    assert!(tail(&answer).contains("[ERROR] ValueError: no good\nTraceback"), "{}", tail(&answer));
    assert!(!answer.environment_gone);
    assert_eq!(success(&rig.warm(&id, "1").await.unwrap()), json!(2));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn init_errors_are_answers_after_a_second_attempt() {
    let rig = Rig::start().await;
    let cases = [
        ("python3.11", "index.py", "import nothing_like_this\n", "Runtime.ImportModuleError"),
        ("python3.11", "index.py", "def other(event, context): pass\n", "Runtime.HandlerNotFound"),
        ("python3.11", "index.py", "def handler(:\n", "Runtime.UserCodeSyntaxError"),
        ("python3.11", "index.py", "raise KeyError('k')\n", "KeyError"),
        ("nodejs20.x", "index.js", "require('nothing-like-this')\n", "Runtime.ImportModuleError"),
        ("nodejs20.x", "index.js", "exports.other = 1\n", "Runtime.HandlerNotFound"),
    ];
    for (runtime, file, source, error_type) in cases {
        let function = rig.function(runtime, file, source).await;
        let (id, answer) = rig.cold(&function, "{}").await;
        assert_eq!((answer.function_error.as_str(), answer.environment_gone), ("Unhandled", true));
        assert_eq!(json(&answer)["errorType"], error_type, "{source}");
        let log = tail(&answer);
        assert!(
            log.contains("INIT_REPORT Init Duration: ") && log.contains("Phase: invoke\tStatus: error"),
            "{log}"
        );
        assert!(log.contains("\tStatus: error\tError Type: "), "{log}");
        assert!(memory_used(&log) > 1, "{log}");
        assert_eq!(rig.warm(&id, "{}").await.unwrap_err().code(), "EnvironmentGone");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_that_takes_too_long_is_done_again_inside_the_invocation() {
    let rig = Rig::with(|options| options.init_limit = std::time::Duration::from_millis(300)).await;
    let mut function =
        rig.python("import time\ntime.sleep(0.6)\ndef handler(event, context):\n    return 'late'\n").await;
    let (_, answer) = rig.cold(&function, "{}").await;
    assert_eq!(success(&answer), json!("late"));
    assert!(tail(&answer).contains("Phase: invoke\tStatus: success"), "{}", tail(&answer));

    function.timeout_seconds = 1;
    let slow = rig.python("import time\ntime.sleep(30)\ndef handler(event, context):\n    return 1\n").await;
    function.code_sha256 = slow.code_sha256;
    function.configuration_id = unique();
    let (_, answer) = rig.cold(&function, "{}").await;
    assert_eq!(json(&answer)["errorType"], "Sandbox.Timedout");
    assert_eq!(answer.duration_us, 1_000_000);
    let log = tail(&answer);
    // As any timeout.
    assert!(log.contains("\tDuration: 1000.00 ms\tBilled Duration: 1000 ms\t"), "{log}");
    assert!(log.trim_end().ends_with(" MB\tStatus: timeout"), "{log}");
    assert!(memory_used(&log) > 1, "{log}");
    rig.stop().await;
}

/// AWS's Init phase begins when the code is there (Lambda developer guide, "Understanding the Lambda execution environment
/// lifecycle").
#[tokio::test(flavor = "multi_thread")]
async fn fetching_code_is_no_part_of_init() {
    let fetch = std::time::Duration::from_secs(6);
    let rig = Rig::with_slow_store(fetch, |options| {
        options.init_limit = fetch;
        options.pool_memory_mib = 0;
    })
    .await;
    let function = rig.python("def handler(event, context):\n    return 'here'\n").await;
    let (_, answer) = rig.cold(&function, "{}").await;
    assert_eq!(success(&answer), json!("here"));
    assert!(!tail(&answer).contains("INIT_REPORT"), "{}", tail(&answer));
    let took = std::time::Duration::from_micros(answer.init_duration_us);
    assert!(!took.is_zero() && took < fetch, "{took:?}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn timeouts_are_answered_at_the_deadline() {
    let rig = Rig::start().await;
    let mut function = rig
        .python("import time\ndef handler(event, context):\n    print('before')\n    time.sleep(60)\n")
        .await;
    function.timeout_seconds = 1;
    let (id, answer) = rig.cold(&function, "{}").await;
    let message = json(&answer)["errorMessage"].as_str().unwrap().to_owned();
    assert!(
        message.starts_with("RequestId: ") && message.ends_with(" Error: Task timed out after 1.00 seconds")
    );
    assert_eq!(
        (json(&answer)["errorType"].as_str(), answer.duration_us),
        (Some("Sandbox.Timedout"), 1_000_000)
    );
    let log = tail(&answer);
    assert!(
        log.contains("\nbefore\n") && log.contains(" Task timed out after 1.00 seconds\n\nEND "),
        "{log}"
    );
    assert!(log.contains("\tDuration: 1000.00 ms\t") && log.trim_end().ends_with("Status: timeout"), "{log}");
    assert!(answer.environment_gone);
    assert_eq!(rig.warm(&id, "{}").await.unwrap_err().code(), "EnvironmentGone");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exits_and_signals_are_told_apart() {
    let rig = Rig::start().await;
    for (body, text) in [
        ("sys.exit(3)", "Runtime exited with error: exit status 3"),
        ("os._exit(0)", "Runtime exited without providing a reason"),
        ("os.kill(os.getpid(), 9)", "Runtime exited with error: signal: killed"),
        ("os.kill(os.getpid(), 11)", "Runtime exited with error: signal: segmentation fault"),
    ] {
        let source =
            format!("import os, sys\ndef handler(event, context):\n    print('last words')\n    {body}\n");
        let function = rig.python(&source).await;
        let (_, answer) = rig.cold(&function, "{}").await;
        let payload = json(&answer);
        assert_eq!(payload["errorType"], "Runtime.ExitError", "{body}");
        let message = payload["errorMessage"].as_str().unwrap();
        assert!(
            message.starts_with("RequestId: ") && message.ends_with(&format!(" Error: {text}")),
            "{message}"
        );
        let log = tail(&answer);
        assert!(
            log.contains("\nlast words\nRequestId: ") && log.contains("\nRuntime.ExitError\nEND "),
            "{log}"
        );
        assert!(log.trim_end().ends_with("Status: error\tError Type: Runtime.ExitError"), "{log}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded() {
    let rig = Rig::start().await;
    let mut function = rig
        .python("def handler(event, context):\n    hog = [bytearray(10 << 20) for _ in range(100)]\n    return len(hog)\n")
        .await;
    function.memory_size_mb = 128;
    let (_, answer) = rig.cold(&function, "{}").await;
    let payload = json(&answer);
    assert_eq!(payload["errorType"], "Runtime.ExitError");
    assert!(payload["errorMessage"].as_str().unwrap().ends_with("signal: killed"), "{payload}");
    assert_eq!(answer.error_type, "Runtime.OutOfMemory");
    assert!(tail(&answer).trim_end().ends_with("Status: error\tError Type: Runtime.OutOfMemory"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_failures_have_nodes_shapes() {
    let rig = Rig::start().await;
    let function = rig
        .function(
            "nodejs20.x",
            "index.js",
            "exports.handler = async (event) => { if (event === 'throw') throw new TypeError('no'); if (event === 'exit') process.exit(4); setTimeout(() => { throw new Error('late'); }, 10); await new Promise(() => {}); };",
        )
        .await;
    let (id, answer) = rig.cold(&function, "\"throw\"").await;
    assert_eq!((json(&answer)["errorType"].as_str(), answer.environment_gone), (Some("TypeError"), false));
    let answer = rig.warm(&id, "\"exit\"").await.unwrap();
    assert!(json(&answer)["errorMessage"].as_str().unwrap().ends_with("exit status 4"));
    let (id, answer) = rig.cold(&function, "\"late\"").await;
    assert_eq!(
        (json(&answer)["errorMessage"].as_str(), answer.function_error.as_str()),
        (Some("late"), "Unhandled")
    );
    assert_eq!(rig.warm(&id, "{}").await.unwrap_err().code(), "EnvironmentGone");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_installed_or_not_there_is_said_clearly() {
    let rig = Rig::with(|options| options.nearest_version = false).await;
    // One of these is not there.
    let mut missing = None;
    for runtime in ["java21", "ruby3.2", "ruby3.4", "python3.14"] {
        let function = rig.function(runtime, "index.py", "").await;
        if let Err(fault) = rig.invoke(&unique(), Some(&function), "{}").await {
            missing = Some((runtime, fault));
        }
    }
    let (runtime, fault) = missing.unwrap();
    assert_eq!(fault.code(), "InvalidRuntimeException");
    assert!(fault.message().starts_with(&format!("{runtime} needs ")), "{fault}");
    assert!(fault.message().contains(", which is not installed on this machine (found: "), "{fault}");
    let function = rig.function("dotnet8", "index.dll", "").await;
    assert!(rig.invoke(&unique(), Some(&function), "{}").await.unwrap_err().message().contains("dotnet8"));
    let mut function = rig.python("").await;
    function.code_sha256 = "c29tZXRoaW5nIHRoYXQgaXMgbm90IHRoZXJlIGF0IGE=".into();
    let fault = rig.invoke(&unique(), Some(&function), "{}").await.unwrap_err();
    assert_eq!((fault.code(), fault.http_status()), ("ServiceException", 500));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spawner_that_was_killed_is_started_anew() {
    let rig = Rig::start().await;
    let function = rig
        .python("import time\ndef handler(event, context):\n    print('slept', event)\n    time.sleep(event)\n    return event\n")
        .await;
    let (idle, _) = rig.cold(&function, "0").await;
    for round in 1..=2 {
        let (id, worker, slow) = (unique(), rig.worker.clone(), function.clone());
        let in_flight =
            tokio::spawn(async move { crate::support::invoke(&worker, &id, Some(&slow), "8").await });
        let at_work = async || rig.logged().matches("slept 8").count() == round;
        eventually_async("the function at work", at_work).await;
        rig.kill_spawner();
        let answer = in_flight.await.unwrap().unwrap();
        assert_eq!(json(&answer)["errorType"], "Runtime.ExitError");
        eventually_async("an invocation that succeeds", async || {
            // What had not begun is placed again by the dispatcher, under another name.
            let answer = rig.invoke(&unique(), Some(&function), "0").await;
            answer.is_ok_and(|answer| success(&answer) == json!(0))
        })
        .await;
    }
    assert_eq!(rig.warm(&idle, "0").await.unwrap_err().code(), "EnvironmentGone");
    rig.stop().await;
}
