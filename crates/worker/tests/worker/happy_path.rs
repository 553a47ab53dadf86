//! What works: answers, reuse, concurrency, the context, the log.

use lambfold_api::worker::Worker;
use serde_json::json;

use crate::support::{Rig, eventually, success, tail, unique};

#[tokio::test(flavor = "multi_thread")]
async fn a_python_handler_answers_and_its_environment_is_reused() {
    let rig = Rig::start().await;
    let function = rig
        .python(
            "import os\ncount = 0\nprint('loading')\ndef handler(event, context):\n    global count\n    count += 1\n    print('hello', event['x'])\n    return {'x': event['x'], 'count': count, 'pid': os.getpid()}\n",
        )
        .await;
    let (id, first) = rig.cold(&function, r#"{"x": "ü"}"#).await;
    let answer = success(&first);
    assert_eq!((&answer["x"], &answer["count"]), (&json!("ü"), &json!(1)));
    assert!(first.init_duration_us > 0 && first.duration_us > 0);
    let log = tail(&first);
    let lines: Vec<&str> = log.lines().collect();
    assert!(lines[0].starts_with("START RequestId: ") && lines[0].ends_with(" Version: $LATEST"), "{log}");
    assert_eq!(lines[1], "hello ü");
    assert!(lines[2].starts_with("END RequestId: "), "{log}");
    assert!(lines[3].starts_with("REPORT RequestId: ") && lines[3].contains("\tInit Duration: "), "{log}");
    assert!(!lines[3].contains("Max Memory Used: 0 MB") && !lines[3].contains("Status"), "{log}");
    for count in 2..5 {
        let warm = rig.warm(&id, r#"{"x": 1}"#).await.unwrap();
        let again = success(&warm);
        assert_eq!((&again["count"], &again["pid"]), (&json!(count), &answer["pid"]));
        assert_eq!(warm.init_duration_us, 0);
        assert!(!tail(&warm).contains("Init Duration"));
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_handlers_run_as_modules_of_both_kinds() {
    let rig = Rig::start().await;
    let common = "let n = 0; exports.handler = async (event) => { console.log('hi', event.x); return { n: ++n, x: event.x }; };";
    let module = "let n = 0; export const handler = async (event) => ({ n: ++n, x: event.x });";
    for (file, source) in [("index.js", common), ("index.mjs", module)] {
        let function = rig.function("nodejs20.x", file, source).await;
        let (id, first) = rig.cold(&function, r#"{"x": [1, null]}"#).await;
        assert_eq!(success(&first), json!({"n": 1, "x": [1, null]}));
        assert_eq!(success(&rig.warm(&id, r#"{"x": 2}"#).await.unwrap()), json!({"n": 2, "x": 2}));
        if file == "index.js" {
            assert!(tail(&first).contains("\tINFO\thi [ 1, null ]"), "{}", tail(&first));
        }
    }
    rig.stop().await;
}

/// Under which Node.js gives out none of the bindings that the bootstrap takes where it can.
#[tokio::test(flavor = "multi_thread")]
async fn node_handlers_run_under_its_permission_model() {
    let rig = Rig::start().await;
    let source = "exports.handler = async (event) => {
        try { process.binding('tcp_wrap'); return null; } catch (error) { return [error.code, event.text.length]; }
    };";
    let mut function = rig.function("nodejs20.x", "index.js", source).await;
    let options = "--experimental-permission --allow-fs-read=* --allow-fs-write=* --no-warnings";
    function.environment = [("NODE_OPTIONS".to_owned(), options.to_owned())].into();
    let event = json!({ "text": "a".repeat(300_000) }).to_string();
    let (id, first) = rig.cold(&function, &event).await;
    for outcome in [first, rig.warm(&id, &event).await.unwrap()] {
        assert_eq!(success(&outcome), json!(["ERR_ACCESS_DENIED", 300_000]));
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_as_aws_makes_it() {
    let rig = Rig::with(|options| options.endpoint = Some("127.0.0.1:9".into())).await;
    let mut function = rig
        .python(
            "import os\ndef handler(event, context):\n    return {'env': dict(os.environ), 'cwd': os.getcwd(), 'arn': context.invoked_function_arn, 'left': context.get_remaining_time_in_millis(), 'id': context.aws_request_id, 'uid': os.getuid()}\n",
        )
        .await;
    function.environment.insert("GREETING".into(), "hi".into());
    let (_, answer) = rig.cold(&function, "{}").await;
    let seen = success(&answer);
    let variable = |name: &str| seen["env"][name].as_str().unwrap_or_default().to_owned();
    assert_eq!(variable("GREETING"), "hi");
    assert_eq!(variable("AWS_REGION"), "us-east-1");
    assert_eq!(variable("AWS_ACCESS_KEY_ID"), "000000000000");
    assert_eq!(variable("AWS_LAMBDA_FUNCTION_NAME"), "f");
    assert_eq!(variable("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"), "256");
    assert_eq!(variable("_HANDLER"), "index.handler");
    assert_eq!(variable("AWS_EXECUTION_ENV"), "AWS_Lambda_python3.11");
    if rig.driver.capabilities().own_network {
        assert_eq!(variable("AWS_ENDPOINT_URL"), "http://127.0.0.1:4566");
        assert_eq!(variable("AWS_LAMBDA_RUNTIME_API"), "127.0.0.1:9001");
    }
    if rig.driver.capabilities().own_root {
        assert_eq!(seen["cwd"], "/var/task");
        assert_eq!(variable("LAMBDA_TASK_ROOT"), "/var/task");
    }
    assert_eq!(seen["arn"], "arn:aws:lambda:us-east-1:000000000000:function:f");
    let left = seen["left"].as_u64().unwrap();
    assert!((9_000..=10_000).contains(&left), "{left}");
    assert!(tail(&answer).contains(seen["id"].as_str().unwrap()));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn environments_of_one_function_run_at_once() {
    let rig = Rig::start().await;
    let function = rig
        .python(
            "import time, os\ndef handler(event, context):\n    time.sleep(0.5)\n    return os.getpid()\n",
        )
        .await;
    let began = std::time::Instant::now();
    let calls = (0..4).map(|_| rig.cold(&function, "{}"));
    let answers = futures_util::future::join_all(calls).await;
    assert!(answers.iter().all(|(_, answer)| answer.function_error.is_empty()));
    assert!(began.elapsed() < std::time::Duration::from_secs(4), "{:?}", began.elapsed());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_reach_lambfold_through_the_relay() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let gateway = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gateway.local_addr().unwrap().to_string();
    let served = tokio::spawn(async move {
        let (mut stream, _) = gateway.accept().await.unwrap();
        let mut request = [0; 16];
        let length = stream.read(&mut request).await.unwrap();
        assert!(request[..length].starts_with(b"GET /livez"));
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nup")
            .await
            .unwrap();
    });
    let rig = Rig::with(|options| options.endpoint = Some(address)).await;
    let function = rig
        .python(
            "import os, urllib.request\ndef handler(event, context):\n    return urllib.request.urlopen(os.environ['AWS_ENDPOINT_URL'] + '/livez', timeout=5).read().decode()\n",
        )
        .await;
    let (_, answer) = rig.cold(&function, "{}").await;
    assert_eq!(success(&answer), json!("up"));
    served.await.unwrap();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dispatchers_hear_of_environments_and_retire_them() {
    use futures_util::StreamExt;
    use lambfold_api::worker::worker_report::Report;
    use lambfold_api::worker::{EnvironmentState, ReportRequest, RetireRequest};
    let rig = Rig::start().await;
    let ctx = crate::support::context();
    let function = rig.python("def handler(event, context):\n    return 1\n").await;
    let (before, _) = rig.cold(&function, "{}").await;
    let mut reports = rig.worker.report(&ctx, ReportRequest {}).await.unwrap();
    let mut next = async || reports.next().await.unwrap().unwrap().report.unwrap();
    let Report::Capacity(capacity) = next().await else { panic!("capacity comes first") };
    assert!(capacity.environments > 0 && capacity.runtimes.iter().any(|it| it.starts_with("python3.")));
    let Report::Environment(environment) = next().await else { panic!("then what there is") };
    assert_eq!(
        (environment.environment_id, environment.state),
        (before.clone(), EnvironmentState::Idle.into())
    );
    assert_eq!(environment.configuration_id, function.configuration_id);
    assert!(matches!(next().await, Report::Synced(_)));
    let (after, _) = rig.cold(&function, "{}").await;
    let Report::Environment(environment) = next().await else { panic!("then changes") };
    assert_eq!((environment.environment_id, environment.state), (after, EnvironmentState::Starting.into()));
    rig.worker.retire(&ctx, RetireRequest { environment_ids: vec![before.clone(), unique()] }).await.unwrap();
    let Report::Environment(environment) = next().await else { panic!("then its end") };
    assert_eq!(
        (environment.environment_id, environment.state),
        (before.clone(), EnvironmentState::Gone.into())
    );
    assert_eq!(rig.warm(&before, "{}").await.unwrap_err().code(), "EnvironmentGone");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_after_a_stop() {
    let rig = Rig::start().await;
    // A mark that is found among all processes of the machine.
    let mark = unique();
    let mut function = rig
        .python(
            "import os, subprocess\ndef handler(event, context):\n    [subprocess.Popen(['sleep', '1000']) for _ in range(2)]\n    return 1\n",
        )
        .await;
    function.environment.insert("MARK".into(), mark.clone());
    let (_, answer) = rig.cold(&function, "{}").await;
    success(&answer);
    // A new program's environment is to be seen a moment after it was executed.
    eventually("its processes", || processes_with(&mark) >= 2).await;
    rig.stop().await;
    eventually("the processes to end", || processes_with(&mark) == 0).await;
}

/// Each line is an event, also one with nothing in it, whose message is its end.
#[tokio::test(flavor = "multi_thread")]
async fn blank_lines_are_log_events() {
    let rig = Rig::start().await;
    let function = rig
        .python("def handler(event, context):\n    print('a')\n    print('')\n    print('b')\n    print('c\\n\\n', end='')\n")
        .await;
    let (_, answer) = rig.cold(&function, "{}").await;
    assert!(tail(&answer).contains("\na\n\nb\nc\n\nEND "), "{}", tail(&answer));
    let printed = || -> Vec<String> {
        let events = rig.logged_events().into_iter().skip_while(|event| event != "a\n");
        events.take_while(|event| !event.starts_with("REPORT ")).collect()
    };
    eventually("the end", || printed().last().is_some_and(|event| event.starts_with("END "))).await;
    assert_eq!(printed()[..5], ["a\n", "\n", "b\n", "c\n", "\n"], "{:?}", printed());
    rig.stop().await;
}

fn processes_with(mark: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|process| {
            let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
            environment.windows(mark.len()).any(|window| window == mark.as_bytes())
        })
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_what_runs_finish_and_cuts_off_what_does_not() {
    for (stop_within, seconds) in [(8, "0.5"), (0, "30")] {
        let rig =
            Rig::with(|options| options.stop_within = std::time::Duration::from_secs(stop_within)).await;
        let source = format!(
            "import time\ndef handler(event, context):\n    print('started', flush=True)\n    time.sleep({seconds})\n    return 1\n"
        );
        let mut function = rig.python(&source).await;
        function.timeout_seconds = 60;
        let id = unique();
        let worker = rig.worker.clone();
        let running = {
            let (worker, id, function) = (worker.clone(), id.clone(), function.clone());
            tokio::spawn(async move { crate::support::invoke(&worker, &id, Some(&function), "{}").await })
        };
        crate::support::eventually("it runs", || rig.logged().contains("started")).await;
        rig.stop().await;
        let outcome = running.await.unwrap();
        if seconds == "30" {
            assert_eq!(outcome.unwrap_err().code(), "ServiceException");
        } else {
            assert_eq!(success(&outcome.unwrap()), json!(1));
        }
        let late = crate::support::invoke(&worker, &id, Some(&function), "{}").await.unwrap_err();
        assert_eq!(late.code(), "EnvironmentGone");
    }
}
