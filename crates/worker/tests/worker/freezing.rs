//! Idle environments stand still (AWS: execution environment lifecycle, "Lambda freezes the execution environment").

use std::time::Duration;

use lambfold_worker::Options;
use serde_json::Value;

use crate::extensions::{logged, retire, with_agents};
use crate::support::{Rig, eventually, pause, success};

/// Counts in a thread, and in a process of its own; says what it has counted, and its clocks.
const TICKER: &str = r#"
import os, subprocess, sys, threading, time
ticks = 0
def tick():
    global ticks
    while True:
        ticks += 1
        time.sleep(0.01)
threading.Thread(target=tick, daemon=True).start()
path = os.path.join(os.environ.get("TMPDIR", "/tmp"), "ticks")
beside = "import sys, time\nwhile True:\n    open(sys.argv[1], 'a').write('.')\n    time.sleep(0.01)\n"
subprocess.Popen([sys.executable, "-c", beside, path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
while not os.path.exists(path):
    time.sleep(0.01)
def handler(event, context):
    time.sleep(event if event else 0)
    return [ticks, os.stat(path).st_size, time.monotonic() * 1000, time.time() * 1000]
"#;

/// What passed from one answer to the next.
fn passed(before: &Value, after: &Value) -> [f64; 4] {
    [0, 1, 2, 3].map(|at| after[at].as_f64().unwrap() - before[at].as_f64().unwrap())
}

fn after(milliseconds: u64) -> impl FnOnce(&mut Options) {
    move |options| options.freeze_after = Some(Duration::from_millis(milliseconds))
}

#[tokio::test(flavor = "multi_thread")]
async fn background_work_stands_still_and_clocks_go_on() {
    for milliseconds in [0, 50] {
        let rig = Rig::with(after(milliseconds)).await;
        let function = rig.python(TICKER).await;
        let (id, answer) = rig.cold(&function, "0").await;
        let before = success(&answer);
        pause(1000).await;
        let after = success(&rig.warm(&id, "0").await.unwrap());
        let [thread, process, monotonic, wall] = passed(&before, &after);
        assert!(
            thread < 30.0 && process < 30.0,
            "{thread} and {process} ticks in a second of standing still"
        );
        assert!(monotonic >= 900.0 && wall >= 900.0, "{monotonic} {wall}");
        assert!(rig.freezes() > 0);
        // Never within an invocation.
        let long = success(&rig.warm(&id, "2").await.unwrap());
        let [thread, process, ..] = passed(&after, &long);
        assert!(thread > 15.0 && process > 15.0, "{thread} and {process} ticks in two seconds of work");
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_may_be_turned_off() {
    let rig = Rig::with(|options| options.freeze_after = None).await;
    let function = rig.python(TICKER).await;
    let (id, answer) = rig.cold(&function, "0").await;
    pause(600).await;
    let [thread, process, ..] = passed(&success(&answer), &success(&rig.warm(&id, "0").await.unwrap()));
    assert!(thread > 20.0 && process > 20.0, "{thread} and {process} ticks");
    assert_eq!(rig.freezes(), 0);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_invoked_all_the_time_is_never_frozen() {
    // Longer than any pause that a busy machine makes between two invocations.
    let rig = Rig::with(after(5_000)).await;
    let function = rig.python("def handler(event, context):\n    return event\n").await;
    let (id, _) = rig.cold(&function, "0").await;
    for count in 0..200 {
        assert_eq!(success(&rig.warm(&id, &count.to_string()).await.unwrap()), count);
    }
    assert_eq!(rig.freezes(), 0);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn extensions_stand_still_too_and_hear_of_the_shutdown() {
    let rig = Rig::with(after(20)).await;
    let agent = r#"
import threading
ticks = 0
def tick():
    global ticks
    while True:
        ticks += 1
        time.sleep(0.01)
threading.Thread(target=tick, daemon=True).start()
id, _ = register(["INVOKE", "SHUTDOWN"])
while True:
    event = next(id)
    print("agent", event["eventType"], ticks, flush=True)
    if event["eventType"] == "SHUTDOWN":
        break
"#;
    let function =
        with_agents(&rig, "def handler(event, context):\n    return 1\n", &[("agent", agent)]).await;
    let (id, _) = rig.cold(&function, "{}").await;
    let first: u32 = ticks(&logged(&rig, "agent INVOKE ").await);
    pause(1000).await;
    retire(&rig, &id).await;
    let last = ticks(&logged(&rig, "agent SHUTDOWN ").await);
    assert!(last - first < 60, "{} ticks in a second of standing still", last - first);
    rig.stop().await;
}

/// The last figure of a log.
fn ticks(log: &str) -> u32 {
    let line = log.lines().rfind(|line| line.starts_with("agent ")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_environment_ends_with_the_worker() {
    let rig = Rig::with(after(0)).await;
    let function = rig.python(TICKER).await;
    rig.cold(&function, "0").await;
    eventually("the freezing", || rig.freezes() > 0).await;
    rig.stop().await;
}
