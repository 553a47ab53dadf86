//! What extensions are told that subscribe to the Telemetry API or the Logs API (facts: execution environment §3).

use lambfold_api::control::FunctionVersion;
use serde_json::{Value, json};

use crate::extensions::{logged, retire, with_agents};
use crate::support::{Rig, eventually, json, pause, success};

/// Serves batches, by HTTP or as lines, and prints each event behind `GOT`, as text of text. `AGENT` follows.
const LISTENER: &str = r#"
import socket, socketserver
from http.server import BaseHTTPRequestHandler, HTTPServer
refusals = 0
def got(event):
    print('GOT', json.dumps(event), flush=True)
class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_POST(self):
        global refusals
        body = self.rfile.read(int(self.headers['Content-Length']))
        status = 200
        if refusals > 0:
            refusals -= 1
            status = 500
        else:
            assert self.headers['Content-Type'] == 'application/json'
            assert self.headers['Host'].startswith('sandbox.localdomain:'), self.headers['Host']
            for event in json.loads(body):
                got(event)
        self.send_response(status)
        self.send_header('Content-Length', '0')
        self.end_headers()
    do_PUT = do_POST
    def log_message(self, *args):
        pass
class Lines(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            got(json.loads(line))
def serve(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]
def by_http():
    return {'protocol': 'HTTP', 'URI': f"http://sandbox.localdomain:{serve(HTTPServer(('127.0.0.1', 0), Handler))}/in"}
def by_tcp():
    return {'protocol': 'TCP', 'port': serve(socketserver.TCPServer(('127.0.0.1', 0), Lines))}
def subscribe(id, body, path='/2022-07-01/telemetry', **more):
    c = http_client(API)
    c.request('PUT', path, json.dumps(body) if isinstance(body, dict) else body, {'Lambda-Extension-Identifier': id} if id else {})
    r = c.getresponse()
    return [r.status, json.loads(r.read())]
from http.client import HTTPConnection as http_client
def loop(id):
    while True:
        event = next(id)
        print('AGENT', event['eventType'], flush=True)
        if event['eventType'] == 'SHUTDOWN':
            break
QUICK = {'timeoutMs': 25}
"#;

/// Subscribes to all but what it prints itself, by HTTP.
const AGENT: &str = r"
id, _ = register(['INVOKE', 'SHUTDOWN'])
body = {'schemaVersion': '2022-12-13', 'types': ['platform', 'function'], 'buffering': QUICK, 'destination': by_http()}
assert subscribe(id, body) == [200, 'OK']
assert subscribe(id, body) == [200, 'OK']
loop(id)
";

async fn with_listener(rig: &Rig, source: &str, agent: &str) -> FunctionVersion {
    with_agents(rig, source, &[("agent", &format!("{LISTENER}{agent}"))]).await
}

/// All events that have arrived.
fn events(rig: &Rig) -> Vec<Value> {
    let logged = rig.logged();
    let lines = logged.lines().filter_map(|line| line.strip_prefix("GOT "));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Their types in short, in order.
fn kinds(events: &[Value]) -> String {
    let kinds = events.iter().map(|event| event["type"].as_str().unwrap().replace("platform.", ""));
    kinds.collect::<Vec<_>>().join(" ")
}

/// Waits until there are so many of a type.
async fn arrived(rig: &Rig, kind: &str, count: usize) -> Vec<Value> {
    let there = || events(rig).iter().filter(|event| event["type"] == kind).count();
    eventually(kind, || there() >= count).await;
    events(rig)
}

#[tokio::test(flavor = "multi_thread")]
async fn init_invocations_and_errors_are_told_in_order() {
    let rig = Rig::start().await;
    let source = "print('at init')\ndef handler(event, context):\n    print('at', event)\n    if event:\n        raise KeyError('k')\n    return 'done'\n";
    let function = with_listener(&rig, source, AGENT).await;
    let (id, answer) = rig.cold(&function, "0").await;
    let request_id = request_id(&answer);
    assert_eq!(success(&answer), "done");
    assert_eq!(rig.warm(&id, "1").await.unwrap().function_error, "Unhandled");
    retire(&rig, &id).await;
    let log = logged(&rig, "AGENT SHUTDOWN").await;
    let events = events(&rig);
    let order = "initStart telemetrySubscription function initRuntimeDone extension initReport \
                 start function runtimeDone report start function";
    assert!(kinds(&events).starts_with(order), "{}", kinds(&events));
    assert!(kinds(&events).ends_with("runtimeDone report"), "{}", kinds(&events));
    // All of it before the extension was told to end.
    assert!(log.rfind("platform.report").unwrap() < log.find("AGENT SHUTDOWN").unwrap(), "{log}");
    assert!(log.contains("TELEMETRY\tName: agent\tState: Subscribed\tTypes: [Platform, Function]"), "{log}");
    assert_eq!(log.matches("TELEMETRY\t").count(), 1, "the second one changed nothing: {log}");
    let record = |at: usize| &events[at]["record"];
    assert_eq!(record(0)["initializationType"], "on-demand");
    assert_eq!((&record(0)["phase"], &record(0)["functionVersion"]), (&json!("init"), &json!("$LATEST")));
    assert_eq!(record(0)["instanceMaxMemory"], 256 << 20);
    assert_eq!(
        record(1),
        &json!({"name": "agent", "state": "Subscribed", "types": ["platform", "function"]})
    );
    assert_eq!(record(2), "at init\n");
    assert_eq!(record(3), &json!({"initializationType": "on-demand", "phase": "init", "status": "success"}));
    assert_eq!(record(4), &json!({"name": "agent", "state": "Ready", "events": ["INVOKE", "SHUTDOWN"]}));
    assert!(record(5)["metrics"]["durationMs"].as_f64().unwrap() > 1.0);
    assert_eq!(record(6), &json!({"requestId": request_id, "version": "$LATEST"}));
    assert_eq!(record(7), "at 0\n");
    let done = record(8);
    assert_eq!((&done["requestId"], &done["status"]), (&json!(request_id), &json!("success")));
    assert_eq!(done["metrics"]["producedBytes"], 6);
    let spans = done["spans"].as_array().unwrap();
    let names: Vec<_> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["responseLatency", "responseDuration", "runtimeOverhead"]);
    let sum: f64 = spans.iter().map(|span| span["durationMs"].as_f64().unwrap()).sum();
    assert!((sum - done["metrics"]["durationMs"].as_f64().unwrap()).abs() < 1.0, "{done}");
    let report = record(9);
    assert_eq!((&report["requestId"], &report["status"]), (&json!(request_id), &json!("success")));
    for name in ["durationMs", "billedDurationMs", "memorySizeMB", "maxMemoryUsedMB", "initDurationMs"] {
        assert!(report["metrics"][name].as_f64().unwrap() > 0.0, "{report}");
    }
    let failed = &events[events.len() - 2]["record"];
    assert_eq!(failed["status"], "failure");
    assert!(failed["errorType"].is_string(), "{failed}");
    let times: Vec<_> = events.iter().map(|event| event["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted() && times.iter().all(|time| time.len() == 24), "{times:?}");
    rig.stop().await;
}

fn request_id(answer: &lambfold_api::worker::InvokeResponse) -> String {
    let tail = String::from_utf8(answer.log_tail.to_vec()).unwrap();
    tail.split("START RequestId: ").nth(1).unwrap()[..36].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_that_the_runtime_is_done_before_it_is_itself() {
    // As agents do: `next` is called when the runtime is known to be done.
    let rig = Rig::start().await;
    let agent = r"
done = threading.Event()
def got(event):
    print('GOT', json.dumps(event), flush=True)
    if event['type'] == 'platform.runtimeDone':
        done.set()
id, _ = register(['INVOKE'])
body = {'schemaVersion': '2025-01-29', 'types': ['platform'], 'buffering': QUICK, 'destination': by_tcp()}
assert subscribe(id, body) == [200, 'OK']
while True:
    next(id)
    assert done.wait(5)
    done.clear()
";
    let function = with_listener(&rig, "def handler(event, context):\n    return event\n", agent).await;
    let (id, answer) = rig.cold(&function, "0").await;
    assert_eq!(success(&answer), 0);
    for count in 1..4 {
        assert_eq!(success(&rig.warm(&id, &count.to_string()).await.unwrap()), count);
    }
    arrived(&rig, "platform.runtimeDone", 4).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_told_before_the_shutdown() {
    let rig = Rig::start().await;
    let slow = "import time\ndef handler(event, context):\n    print('slow')\n    time.sleep(60)\n";
    let crash = "import os\ndef handler(event, context):\n    os._exit(5)\n";
    for (source, status, error_type, ends) in
        [(slow, "timeout", Value::Null, "slow"), (crash, "error", json!("Runtime.ExitError"), "START")]
    {
        let rig = Rig::start().await;
        let mut function = with_listener(&rig, source, AGENT).await;
        function.timeout_seconds = 1;
        rig.cold(&function, "0").await;
        let log = logged(&rig, "AGENT SHUTDOWN").await;
        let events = events(&rig);
        assert!(kinds(&events).ends_with("runtimeDone report"), "{}\n{log}", kinds(&events));
        for event in &events[events.len() - 2..] {
            assert_eq!(
                (&event["record"]["status"], &event["record"]["errorType"]),
                (&json!(status), &error_type)
            );
        }
        assert!(log.rfind("platform.report").unwrap() < log.find("AGENT SHUTDOWN").unwrap(), "{log}");
        assert!(log.contains(ends), "{log}");
        rig.stop().await;
    }
    // Init, twice: the second time within the invocation, of which new extensions hear, too. (What they print once it has
    // failed is in the server's log only.)
    let function = with_listener(&rig, "import time\ntime.sleep(0.3)\nraise KeyError('k')\n", AGENT).await;
    let (_, answer) = rig.cold(&function, "{}").await;
    assert_eq!(json(&answer)["errorType"], "KeyError");
    let events = arrived(&rig, "platform.initStart", 2).await;
    let (first, second) = ("initStart telemetrySubscription", "start initStart telemetrySubscription");
    assert!(kinds(&events).starts_with(first) && kinds(&events).contains(second), "{}", kinds(&events));
    let second = events.iter().rfind(|event| event["type"] == "platform.initStart").unwrap();
    assert_eq!(second["record"]["phase"], "invoke");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_as_aws_answers_them() {
    let rig = Rig::start().await;
    let agent = r"
good = {'schemaVersion': '2022-12-13', 'types': ['function'], 'destination': {'protocol': 'TCP', 'port': 4000}}
LOGS = '/2020-08-15/logs'
id, _ = register(['INVOKE'])
seen = {
    'missing': subscribe(None, good),
    'invalid': subscribe('x', good),
    'unknown': subscribe('6ec2b2b2-8f0e-4c5c-9d1f-0123456789ab', good),
    'empty': subscribe(id, {'schemaVersion': '2022-12-13', 'types': [], 'destination': {'protocol': 'HTTP', 'URI': 'http://sandbox'}}),
    'json': subscribe(id, 'x')[0],
    'logs': subscribe(id, {**good, 'buffering': {'maxItems': 1}}, LOGS),
    'good': subscribe(id, good, '/2022-07-01/telemetry/'),
    'both': subscribe(id, {**good, 'schemaVersion': '2020-08-15'}, LOGS),
    'changed': subscribe(id, {**good, 'types': ['platform']}),
}
print('SEEN', json.dumps(seen), flush=True)
next(id)
print('LATE', json.dumps([subscribe(id, good), subscribe(id, good, LOGS)]), flush=True)
next(id)
";
    let function = with_listener(&rig, "def handler(event, context):\n    return 1\n", agent).await;
    rig.cold(&function, "0").await;
    let log = logged(&rig, "LATE ").await;
    let said = |word: &str| -> Value {
        let line = log.lines().find_map(|line| line.strip_prefix(word)).unwrap();
        serde_json::from_str(line).unwrap()
    };
    let error = |status: u16, kind: &str, message: &str| json!([status, {"errorType": kind, "errorMessage": message}]);
    let seen = said("SEEN ");
    let missing = "Missing Lambda-Extension-Identifier header";
    assert_eq!(seen["missing"], error(403, "Extension.MissingExtensionIdentifier", missing));
    assert_eq!(seen["invalid"][1]["errorType"], "Extension.InvalidExtensionIdentifier");
    assert_eq!(seen["unknown"][1]["errorType"], "Extension.UnknownExtensionIdentifier");
    let text = "URI port is not provided; types should not be empty";
    assert_eq!(seen["empty"], error(400, "ValidationError", text));
    assert_eq!(seen["json"], 400);
    assert_eq!(
        (&seen["logs"][0], &seen["logs"][1]["errorType"]),
        (&json!(400), &json!("Logs.ValidationError"))
    );
    assert_eq!(seen["good"], json!([200, "OK"]));
    assert_eq!(seen["both"][0], 400);
    assert_eq!(seen["changed"], json!([200, "OK"]));
    let closed = |api: &str| {
        let message = format!("{api} API subscription is closed already");
        error(403, &format!("{api}.SubscriptionClosed"), &message)
    };
    assert_eq!(said("LATE "), json!([closed("Telemetry"), closed("Logs")]));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blank_lines_are_events() {
    let rig = Rig::start().await;
    let source = "def handler(event, context):\n    print('a')\n    print('')\n    print('b')\n";
    let function = with_listener(&rig, source, AGENT).await;
    rig.cold(&function, "0").await;
    let events = arrived(&rig, "platform.report", 1).await;
    let lines = events.iter().filter(|event| event["type"] == "function").map(|event| &event["record"]);
    assert_eq!(lines.collect::<Vec<_>>(), ["a\n", "\n", "b\n"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_logs_api_has_its_own_words() {
    let rig = Rig::start().await;
    let agent = r"
id, _ = register(['INVOKE', 'SHUTDOWN'])
body = {'schemaVersion': '2021-03-18', 'types': ['platform', 'function'], 'buffering': QUICK, 'destination': by_tcp()}
assert subscribe(id, body, '/2020-08-15/logs') == [200, 'OK']
loop(id)
import time
time.sleep(0.5)  # Some of it may still be on its way.
";
    let source = "import os\ndef handler(event, context):\n    print('at', event)\n    if event:\n        os._exit(3)\n    return 1\n";
    let function = with_listener(&rig, source, agent).await;
    let (id, _) = rig.cold(&function, "0").await;
    arrived(&rig, "platform.report", 1).await;
    rig.warm(&id, "1").await.unwrap();
    let log = logged(&rig, "AGENT SHUTDOWN").await;
    let events = arrived(&rig, "platform.report", 2).await;
    let order = "logsSubscription extension start function runtimeDone end report \
                 start function fault runtimeDone end report";
    assert_eq!(kinds(&events), order, "{log}");
    assert!(log.contains("LOGS\tName: agent\tState: Subscribed\tTypes: [Platform, Function]"), "{log}");
    let record = |at: usize| &events[at]["record"];
    let first = record(2)["requestId"].clone();
    assert_eq!(record(4), &json!({"requestId": first, "status": "success"}));
    assert_eq!(record(5), &json!({"requestId": first}));
    assert!(record(6)["status"].is_null() && record(6)["metrics"]["initDurationMs"].is_number());
    let fault = record(9).as_str().unwrap();
    assert!(fault.ends_with("Error: Runtime exited with error: exit status 3\nRuntime.ExitError"), "{fault}");
    // The older schema does not tell when the runtime is done.
    let rig_of_old = Rig::start().await;
    let agent = agent.replace("'schemaVersion': '2021-03-18', ", "");
    let function = with_listener(&rig_of_old, source, &agent).await;
    rig_of_old.cold(&function, "0").await;
    let old = kinds(&arrived(&rig_of_old, "platform.report", 1).await);
    assert_eq!(old, "logsSubscription extension start function end report");
    rig_of_old.stop().await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_lines_are_objects_and_extensions_lines_their_own() {
    let rig = Rig::start().await;
    let agent = r"
print('not yet', flush=True)
id, _ = register(['INVOKE', 'SHUTDOWN'])
body = {'schemaVersion': '2022-12-13', 'types': ['function', 'extension'], 'buffering': QUICK, 'destination': by_http()}
def got(event):
    if event['type'] == 'function' or 'said' in event['record']:
        open(os.environ.get('TMPDIR', '/tmp') + '/got', 'a').write(json.dumps(event) + '\n')
assert subscribe(id, body) == [200, 'OK']
while True:
    event = next(id)
    print('said', event['eventType'], flush=True)
    if event['eventType'] == 'SHUTDOWN':
        break
";
    let source = r#"
import json, os, time
def handler(event, context):
    path = os.environ.get("TMPDIR", "/tmp") + "/got"
    print(json.dumps({"level": "DEBUG", "timestamp": "2026-01-02T03:04:05Z", "message": "m"}))
    print("plain")
    until = time.time() + 5
    while time.time() < until:
        got = [json.loads(line) for line in open(path)] if os.path.exists(path) else []
        if len(got) >= 3:
            break
        time.sleep(0.01)
    return sorted(([it["type"], it["record"]] for it in got), key=str)
"#;
    let mut function = with_listener(&rig, source, agent).await;
    function.log_format = "JSON".into();
    let (_, answer) = rig.cold(&function, "0").await;
    // Levels are for the log, where it is not; telemetry has all of them.
    let object = json!({"level": "DEBUG", "timestamp": "2026-01-02T03:04:05Z", "message": "m"});
    let expected = json!([["extension", "said INVOKE\n"], ["function", "plain\n"], ["function", object]]);
    assert_eq!(success(&answer), expected);
    assert!(!rig.logged().contains("DEBUG"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_destination_holds_up_nobody_and_is_told_what_it_missed() {
    let rig = Rig::start().await;
    // All attempts of the first batch fail.
    let agent =
        AGENT.replace("id, _ =", "refusals = 6\nid, _ =").replace("'platform', 'function'", "'function'");
    let source = "def handler(event, context):\n    print('x' * event)\n    return event\n";
    let function = with_listener(&rig, source, &agent).await;
    let (id, answer) = rig.cold(&function, "1").await;
    assert_eq!(success(&answer), 1);
    for _ in 0..40 {
        assert_eq!(success(&rig.warm(&id, "2").await.unwrap()), 2);
        pause(60).await;
    }
    let events = arrived(&rig, "platform.logsDropped", 1).await;
    let dropped = events.iter().find(|event| event["type"] == "platform.logsDropped").unwrap();
    assert!(dropped["record"]["droppedRecords"].as_u64().unwrap() > 0, "{dropped}");
    assert!(dropped["record"]["reason"].is_string());
    rig.stop().await;
    // One that takes connections and nothing else, and a flood: the function runs on, and memory is bounded.
    let rig = Rig::start().await;
    let agent = r"
s = socket.socket()
s.bind(('127.0.0.1', 0))
s.listen()
id, _ = register(['INVOKE'])
body = {'schemaVersion': '2022-12-13', 'types': ['function'], 'buffering': QUICK,
    'destination': {'protocol': 'HTTP', 'URI': f'http://sandbox:{s.getsockname()[1]}'}}
assert subscribe(id, body) == [200, 'OK']
while True:
    next(id)
";
    let function = with_listener(&rig, source, agent).await;
    let (id, _) = rig.cold(&function, "1").await;
    let began = std::time::Instant::now();
    for _ in 0..40 {
        assert_eq!(success(&rig.warm(&id, "250000").await.unwrap()), 250_000);
    }
    assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_while_all_stands_still_comes_after() {
    let rig = Rig::with(|options| options.freeze_after = Some(std::time::Duration::ZERO)).await;
    let agent = AGENT.replace("QUICK", "{'timeoutMs': 200}");
    let function = with_listener(&rig, "def handler(event, context):\n    return 1\n", &agent).await;
    let (id, _) = rig.cold(&function, "0").await;
    eventually("the freezing", || rig.freezes() > 0).await;
    pause(600).await;
    assert!(!kinds(&events(&rig)).contains("report"), "{}", kinds(&events(&rig)));
    rig.warm(&id, "0").await.unwrap();
    retire(&rig, &id).await;
    logged(&rig, "AGENT SHUTDOWN").await;
    assert_eq!(kinds(&events(&rig)).matches("report").count(), 2);
    rig.stop().await;
}
