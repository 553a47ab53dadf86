//! Extensions beside and inside the runtime (facts: execution environment §2).

use lambfold_api::control::FunctionVersion;
use lambfold_api::worker::{InvokeResponse, RetireRequest, Worker};
use serde_json::{Value, json};

use crate::support::{Rig, context, eventually, json, success, tail, unique};

/// Speaks the Extensions API.
const PRELUDE: &str = r"#!/usr/bin/env python3
import http.client, json, os, signal, sys, threading, time
API = os.environ['AWS_LAMBDA_RUNTIME_API']
NAME = os.path.basename(sys.argv[0])
def call(method, path, body=None, headers={}):
    c = http.client.HTTPConnection(API)
    c.request(method, '/2020-01-01/extension/' + path, body, headers)
    r = c.getresponse()
    data = r.read()
    return r.status, (json.loads(data) if data.startswith(b'{') else data.decode()), r.headers
def register(events, name=NAME):
    status, answer, headers = call('POST', 'register', json.dumps({'events': events}),
        {'Lambda-Extension-Name': name, 'Lambda-Extension-Accept-Feature': 'accountId'})
    assert status == 200, (status, answer)
    return headers['Lambda-Extension-Identifier'], answer
def next(id):
    status, event, headers = call('GET', 'event/next', headers={'Lambda-Extension-Identifier': id})
    assert status == 200, (status, event)
    assert len(headers['Lambda-Extension-Event-Identifier']) == 36
    return event
def fail(id, phase, kind='Extension.Own'):
    return call('POST', phase + '/error', '{}', {'Lambda-Extension-Identifier': id, 'Lambda-Extension-Function-Error-Type': kind})
";
/// Registers, and prints and serves every event.
const AGENT: &str = r"
id, answer = register(['INVOKE', 'SHUTDOWN'])
while True:
    event = next(id)
    print(NAME, event['eventType'], event.get('shutdownReason'), event['deadlineMs'] - int(time.time() * 1000), flush=True)
    if event['eventType'] == 'SHUTDOWN':
        print(NAME, 'is done', flush=True)
        break
";
const ONE: &str = "def handler(event, context):\n    return 1\n";

/// A Python function whose layer brings these external extensions.
pub(crate) async fn with_agents(rig: &Rig, source: &str, agents: &[(&str, &str)]) -> FunctionVersion {
    let agents: Vec<_> =
        agents.iter().map(|(name, it)| (format!("extensions/{name}"), format!("{PRELUDE}{it}"))).collect();
    let files: Vec<_> = agents.iter().map(|(name, it)| (name.as_str(), it.as_str(), 0o755)).collect();
    let layer = rig.package("", &files).await;
    let mut function = rig.python(source).await;
    function.layers = vec![layer.code_sha256];
    function
}

pub(crate) async fn retire(rig: &Rig, id: &str) {
    rig.worker.retire(&context(), RetireRequest { environment_ids: vec![id.to_owned()] }).await.unwrap();
}

pub(crate) async fn logged(rig: &Rig, text: &str) -> String {
    eventually(text, || rig.logged().contains(text)).await;
    rig.logged()
}

fn failed_with(answer: &InvokeResponse, error_type: &str, message: &str) {
    let payload = json(answer);
    assert_eq!(payload["errorType"], error_type, "{payload}\n{}", tail(answer));
    let text = payload["errorMessage"].as_str().unwrap();
    assert!(text.starts_with("RequestId: ") && text.ends_with(&format!(" Error: {message}")), "{text}");
    assert_eq!((answer.function_error.as_str(), answer.environment_gone), ("Unhandled", true));
}

#[tokio::test(flavor = "multi_thread")]
async fn internal_extensions_hold_the_environment_but_not_the_answer() {
    let rig = Rig::start().await;
    let source = format!(
        "{PRELUDE}{}",
        r"
def refused(*args):
    status, answer, _ = call(*args)
    return [status, answer['errorType']]
def registers(body, name='x'):
    return refused('POST', 'register', body, {'Lambda-Extension-Name': name})
id, answer = register(['INVOKE'], 'inside')
early = {
    'answer': answer,
    'shutdown': registers(json.dumps({'events': ['SHUTDOWN']})),
    'event': registers(json.dumps({'events': ['X']})),
    'again': registers(json.dumps({'events': []}), 'inside'),
    'body': registers('no json'),
    'keys': registers(json.dumps({'events': [], 'configurationKeys': ['k']})),
    'name': registers('{}', ''),
    'missing': refused('GET', 'event/next'),
    'invalid': refused('GET', 'event/next', None, {'Lambda-Extension-Identifier': 'x'}),
    'unknown': refused('GET', 'event/next', None, {'Lambda-Extension-Identifier': '6ec2b2b2-8f0e-4c5c-9d1f-0123456789ab'}),
    'header': refused('POST', 'exit/error', '{}', {'Lambda-Extension-Identifier': id}),
}
events = []
def serve():
    while True:
        events.append(next(id))
        time.sleep(0.4)
        events.append('done')
threading.Thread(target=serve, daemon=True).start()
def handler(event, context):
    while events[-1:] in ([], ['done']):
        time.sleep(0.001)
    late = registers(json.dumps({'events': []}))
    return {'early': early, 'late': late, 'events': events, 'id': context.aws_request_id}
"
    );
    let function = rig.python(&source).await;
    let (id, answer) = rig.cold(&function, "{}").await;
    let seen = success(&answer);
    let early = &seen["early"];
    let registered = json!({
        "functionName": "f", "functionVersion": "$LATEST", "handler": "index.handler", "accountId": "000000000000"
    });
    assert_eq!(early["answer"], registered);
    for (what, error_type) in [
        ("shutdown", "Extension.InvalidEventType"),
        ("event", "Extension.InvalidEventType"),
        ("again", "Extension.InvalidExtensionState"),
        ("body", "InvalidRequestFormat"),
        ("keys", "InvalidRequestFormat"),
        ("name", "Extension.InvalidExtensionName"),
        ("missing", "Extension.MissingExtensionIdentifier"),
        ("invalid", "Extension.InvalidExtensionIdentifier"),
        ("unknown", "Extension.UnknownExtensionIdentifier"),
        ("header", "Extension.MissingHeader"),
    ] {
        assert_eq!(early[what], json!([403, error_type]), "{what}");
    }
    assert_eq!(seen["late"], json!([403, "Extension.RegistrationClosed"]));
    let event = &seen["events"][0];
    assert_eq!((&event["eventType"], &event["requestId"]), (&json!("INVOKE"), &seen["id"]));
    assert_eq!(event["invokedFunctionArn"], "arn:aws:lambda:us-east-1:000000000000:function:f");
    // Nothing was traced.
    assert!(event["deadlineMs"].is_u64() && event.get("tracing").is_none(), "{event}");
    // The invoker had its answer while the extension was at work; REPORT, later, has all of it.
    assert!(!tail(&answer).contains("REPORT") && answer.duration_us < 400_000, "{}", tail(&answer));
    let report = format!("REPORT RequestId: {}\tDuration: ", seen["id"].as_str().unwrap());
    let log = logged(&rig, &report).await;
    assert!(log.contains("EXTENSION\tName: inside\tState: Ready\tEvents: [INVOKE]\n"), "{log}");
    let duration = log.split(&report).nth(1).unwrap().split(' ').next().unwrap();
    assert!(duration.parse::<f64>().unwrap() >= 400.0, "{log}");
    // The environment was not free before it was through.
    let seen = success(&rig.warm(&id, "{}").await.unwrap());
    let kinds: Vec<bool> = seen["events"].as_array().unwrap().iter().map(Value::is_object).collect();
    assert_eq!(kinds, [true, false, true]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn external_extensions_start_first_and_outlive_the_runtime() {
    let rig = Rig::start().await;
    let agent = format!(
        "{}{AGENT}",
        r"
time.sleep(0.2)
with open(os.environ.get('TMPDIR', '/tmp') + '/started', 'w') as file:
    json.dump([sorted(os.environ), os.getcwd()], file)
"
    );
    let silent = "id, _ = register([])\nprint('silent is there', flush=True)\nnext(id)\n";
    let source = r"
import json, os, signal, sys
started = json.load(open(os.environ.get('TMPDIR', '/tmp') + '/started'))
def terminate(*_):
    print('runtime terminated', flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, terminate)
def handler(event, context):
    return started
";
    let mut function = with_agents(&rig, source, &[("agent", &agent), ("silent", silent)]).await;
    function.environment.insert("COLOUR".into(), "red".into());
    let taken = rig.metric("assigned", "python3.11");
    let (id, answer) = rig.cold(&function, "{}").await;
    assert_eq!(rig.metric("assigned", "python3.11"), taken, "where a runtime waits it has started");
    let started = success(&answer);
    let names: Vec<&str> = started[0].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for there in ["COLOUR", "AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_FUNCTION_NAME", "AWS_ACCESS_KEY_ID", "PATH"]
    {
        assert!(names.contains(&there), "{there}: {names:?}");
    }
    for hidden in ["AWS_EXECUTION_ENV", "AWS_LAMBDA_LOG_GROUP_NAME", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR"]
    {
        assert!(!names.contains(&hidden), "{hidden}");
    }
    assert!(!names.iter().any(|name| name.starts_with("_HANDLER") || name.starts_with("_AWS")), "{names:?}");
    assert_eq!(started[1], "/");
    success(&rig.warm(&id, "{}").await.unwrap());
    retire(&rig, &id).await;
    let log = logged(&rig, "agent is done\n").await;
    for line in ["agent\tState: Ready\tEvents: [INVOKE, SHUTDOWN]\n", "silent\tState: Ready\tEvents: []\n"] {
        assert!(log.contains(&format!("EXTENSION\tName: {line}")), "{log}");
    }
    assert_eq!(log.matches("agent INVOKE None ").count(), 2, "{log}");
    let (before, after) = log.split_once("agent SHUTDOWN spindown ").unwrap();
    assert!(before.contains("runtime terminated\n"), "{log}");
    let left: i64 = after.lines().next().unwrap().parse().unwrap();
    assert!((1000..=2000).contains(&left), "{left}");
    // The one that is not told, and so does not end by itself, holds nothing up.
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_extension_fails_the_invocation_and_the_environment() {
    let rig = Rig::start().await;
    let slow = "import time\ndef handler(event, context):\n    time.sleep(8)\n";
    let agent = |end: &str| format!("id, _ = register(['INVOKE'])\nnext(id)\n{end}\n");
    for (end, error_type, message, shown) in [
        ("sys.exit(3)", "Extension.Crash", "exit status 3", "Extension.Crash"),
        ("os._exit(0)", "Extension.Crash", "exit code 0", "Extension.Crash"),
        ("os.kill(os.getpid(), 9)", "Extension.Crash", "signal: killed", "Extension.Crash"),
        ("assert fail(id, 'exit')[0] == 202", "Extension.ExitError", "exit code 0", "Extension.Own"),
    ] {
        let function = with_agents(&rig, slow, &[("agent", &agent(end))]).await;
        let (id, answer) = rig.cold(&function, "{}").await;
        failed_with(&answer, error_type, message);
        let log = tail(&answer);
        let line =
            format!("EXTENSION\tName: agent\tState: ExitError\tEvents: [INVOKE]\tError Type: {shown}\n");
        assert!(log.contains(&line), "{log}");
        assert!(log.trim_end().ends_with(&format!("Status: error\tError Type: {error_type}")), "{log}");
        assert_eq!(rig.warm(&id, "{}").await.unwrap_err().code(), "EnvironmentGone");
    }
    // One in the runtime's process.
    let inside = format!(
        "{PRELUDE}id, _ = register([], 'inside')\nthreading.Thread(target=next, args=[id], daemon=True).start()\ndef handler(event, context):\n    fail(id, 'exit', 'Extension.Inside')\n    time.sleep(8)\n"
    );
    let (_, answer) = rig.cold(&rig.python(&inside).await, "{}").await;
    failed_with(&answer, "Extension.ExitError", "Extension.Inside");
    // While nothing runs.
    let ends = "id, _ = register(['INVOKE'])\nnext(id)\nthreading.Thread(target=next, args=[id]).start()\ntime.sleep(0.3)\nos._exit(1)\n";
    let function = with_agents(&rig, ONE, &[("agent", ends)]).await;
    let (id, answer) = rig.cold(&function, "{}").await;
    success(&answer);
    logged(&rig, "Error Type: Extension.Crash\n").await;
    crate::support::eventually_async("its end", async || rig.warm(&id, "{}").await.is_err()).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_that_does_not_get_ready_fails_init() {
    let rig = Rig::start().await;
    for (agent, error_type, message) in [
        ("id, _ = register(['INVOKE'])\nfail(id, 'init')\n", "Extension.InitError", "exit code 0"),
        ("sys.exit(7)\n", "Extension.Crash", "exit status 7"),
        ("register(['INVOKE'])\nsys.exit(1)\n", "Extension.Crash", "exit status 1"),
    ] {
        let function = with_agents(&rig, ONE, &[("agent", agent), ("other", AGENT)]).await;
        let (_, answer) = rig.cold(&function, "{}").await;
        failed_with(&answer, error_type, message);
        assert!(
            tail(&answer).contains("Phase: invoke\tStatus: error\tError Type: Extension."),
            "{}",
            tail(&answer)
        );
    }
    let names: Vec<String> = (0..11).map(|number| format!("agent{number}")).collect();
    let agents: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), AGENT)).collect();
    let (_, answer) = rig.cold(&with_agents(&rig, ONE, &agents).await, "{}").await;
    failed_with(&answer, "Extension.TooManyExtensions", "Extension limit (10) reached");
    success(&rig.cold(&with_agents(&rig, ONE, &agents[..10]).await, "{}").await.1);
    // What cannot be executed.
    let mut function = rig.python(ONE).await;
    function.layers = vec![rig.package("", &[("extensions/agent", "#!/bin/sh\n", 0o644)]).await.code_sha256];
    let (_, answer) = rig.cold(&function, "{}").await;
    assert_eq!(json(&answer)["errorType"], "Extension.LaunchError");
    let text = json(&answer)["errorMessage"].as_str().unwrap().to_owned();
    assert!(
        text.contains(" Error: fork/exec /") && text.ends_with("extensions/agent: permission denied"),
        "{text}"
    );
    let line = "EXTENSION\tName: agent\tState: LaunchError\tEvents: []\tError Type: PermissionDenied";
    assert!(tail(&answer).contains(line), "{}", tail(&answer));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeout_is_for_extensions_too_and_they_are_told_of_it() {
    let rig = Rig::start().await;
    // It serves its event for ever.
    let stuck = "id, _ = register(['INVOKE'])\nnext(id)\ntime.sleep(60)\n";
    let mut function = with_agents(&rig, ONE, &[("agent", AGENT), ("stuck", stuck)]).await;
    function.timeout_seconds = 1;
    let (id, answer) = rig.cold(&function, "{}").await;
    assert_eq!(success(&answer), json!(1));
    assert!(answer.duration_us < 1_000_000);
    let log = logged(&rig, "agent SHUTDOWN timeout ").await;
    let (_, report) = log.split_once("\tDuration: 1000.00 ms\t").unwrap_or_else(|| panic!("{log}"));
    assert!(report.lines().next().unwrap().ends_with(" ms\tStatus: timeout\t"), "{log}");
    assert_eq!(rig.warm(&id, "{}").await.unwrap_err().code(), "EnvironmentGone");
    // So late that the invoker's log has it all, with the answer or without.
    let late = "import time\ndef handler(event, context):\n    time.sleep(context.get_remaining_time_in_millis() / 1000 - 0.07)\n";
    let mut function = with_agents(&rig, late, &[("stuck", stuck)]).await;
    function.timeout_seconds = 1;
    let (id, answer) = rig.cold(&function, "{}").await;
    let log = tail(&answer);
    assert!(log.contains("\tDuration: 1000.00 ms\t") && log.contains("\tStatus: timeout"), "{log}");
    assert!(answer.environment_gone);
    assert_eq!(rig.warm(&id, "{}").await.unwrap_err().code(), "EnvironmentGone");
    // The function itself: who invoked it does not wait for the shutdown.
    let slow = "import time\ndef handler(event, context):\n    time.sleep(60)\n";
    let lingering = "id, _ = register(['SHUTDOWN'])\nevent = next(id)\ntime.sleep(1)\nprint('lingers', event, flush=True)\ntime.sleep(60)\n";
    let mut function = with_agents(&rig, slow, &[("agent", lingering)]).await;
    function.timeout_seconds = 1;
    let began = std::time::Instant::now();
    let (_, answer) = rig.cold(&function, "{}").await;
    assert_eq!(json(&answer)["errorType"], "Sandbox.Timedout");
    assert!(!rig.logged().contains("lingers"), "the answer came after the shutdown: {:?}", began.elapsed());
    logged(&rig, "lingers {").await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runtimes_end_is_told_as_a_failure() {
    let rig = Rig::start().await;
    let crash = "import os\ndef handler(event, context):\n    os._exit(5)\n";
    let function = with_agents(&rig, crash, &[("agent", AGENT)]).await;
    let (_, answer) = rig.cold(&function, "{}").await;
    failed_with(&answer, "Runtime.ExitError", "Runtime exited with error: exit status 5");
    logged(&rig, "agent SHUTDOWN failure ").await;
    logged(&rig, "agent is done\n").await;
    // Before its first `next`, twice: once for each attempt at init.
    let mut function = with_agents(&rig, "raise KeyError('k')\n", &[("agent", AGENT)]).await;
    function.configuration_id = unique();
    let (_, answer) = rig.cold(&function, "{}").await;
    assert_eq!(json(&answer)["errorType"], "KeyError");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_turns_extensions_off() {
    let rig = Rig::start().await;
    let agent = format!("{PRELUDE}{AGENT}");
    let layer = rig
        .package("", &[("extensions/agent", &agent, 0o755), ("disable-extensions-jwigqn8j", "", 0o644)])
        .await;
    let source = format!(
        "{PRELUDE}seen = call('POST', 'register', '{{}}', {{'Lambda-Extension-Name': 'x'}})[0]\ndef handler(event, context):\n    return seen\n"
    );
    let mut function = rig.python(&source).await;
    function.layers = vec![layer.code_sha256];
    let (_, answer) = rig.cold(&function, "{}").await;
    assert_eq!(success(&answer), json!(404));
    rig.stop().await;
}
