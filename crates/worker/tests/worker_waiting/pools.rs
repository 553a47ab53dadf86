//! Environments that wait: taken, refilled, dead before or while they are taken, and not for everyone.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::{Rig, eventually, json, pool_of, success, unique};

const ONE: &str = "def handler(event, context):\n    return 1\n";

/// A rig whose pools are filled, where there can be some.
async fn rig() -> Option<Rig> {
    let rig = Rig::start().await;
    if rig.driver.capabilities().own_root {
        return Some(rig);
    }
    eprintln!("SKIPPED: nothing waits without a root of its own");
    rig.stop().await;
    None
}

/// The spawner's process and all below it: inits of sandboxes, and what runs in those.
fn processes(rig: &Rig) -> Vec<i32> {
    let lock = rig.directory.path().join("sandbox/lock");
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let mut found: Vec<i32> = all
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            open.filter_map(|fd| std::fs::read_link(fd.path()).ok()).any(|link| link == lock)
        })
        .collect();
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        found.extend(children.unwrap_or_default().split_whitespace().filter_map(|it| it.parse::<i32>().ok()));
        next += 1;
    }
    found
}

/// How many control groups there are for sandboxes.
fn control_groups(rig: &Rig) -> usize {
    let record = rig.directory.path().join("sandbox/cgroups");
    let parents = std::fs::read_to_string(record).unwrap_or_default();
    let children =
        parents.lines().flat_map(|parent| std::fs::read_dir(parent).into_iter().flatten().flatten());
    children.filter(|entry| entry.path().is_dir()).count()
}

/// Sandboxes that wait: without a program, and all.
fn how_many_wait(rig: &Rig) -> (usize, usize) {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &rig.metrics).unwrap();
    let pools = text.lines().filter_map(|line| {
        let (runtime, count) = line.strip_prefix("worker_pool_waiting{runtime=\"")?.split_once("\"} ")?;
        Some((runtime.starts_with("bare "), count.parse::<usize>().unwrap()))
    });
    pools.fold((0, 0), |(bare, all), (is_bare, count)| (bare + if is_bare { count } else { 0 }, all + count))
}

fn kill(pid: i32) {
    // It may have ended.
    let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
}

/// The bootstraps that wait.
fn waiting(rig: &Rig) -> Vec<i32> {
    let waits = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.ends_with(b"bootstrap.py\0wait\0") && line.windows(4).any(|it| it == b"3.11")
    };
    processes(rig).into_iter().filter(waits).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_cold_start_takes_one_and_others_come_after() {
    let Some(rig) = rig().await else { return };
    let function = rig
        .python("import os\nn = 0\ndef handler(event, context):\n    global n\n    n += 1\n    open('/tmp/%d' % n, 'w').close()\n    return [n, os.listdir('/tmp')]\n")
        .await;
    for _ in 0..5 {
        eventually("one that waits", || rig.metric("waiting", "python3.11") > 0).await;
        let before = rig.metric("assigned", "python3.11");
        // A new environment each: nothing of the one before is seen.
        let (id, answer) = rig.cold(&function, "{}").await;
        assert_eq!(success(&answer), json!([1, ["1"]]));
        assert_eq!(rig.metric("assigned", "python3.11"), before + 1);
        assert_eq!(success(&rig.warm(&id, "{}").await.unwrap())[0], json!(2));
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_counts_when_the_interpreter_starts_starts_one() {
    let Some(rig) = rig().await else { return };
    let source =
        "import sys\ndef handler(event, context):\n    return [sys.flags.utf8_mode, '/extra' in sys.path]\n";
    let mut function = rig.python(source).await;
    function.environment =
        [("PYTHONUTF8", "1"), ("PYTHONPATH", "/extra")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let before = rig.metric("assigned", "python3.11");
    assert_eq!(success(&rig.cold(&function, "{}").await.1), json!([1, true]));
    assert_eq!(rig.metric("unfit", "python3.11"), 1);
    assert_eq!(rig.metric("assigned", "python3.11"), before);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_at_once_than_wait_are_all_served() {
    let Some(rig) = rig().await else { return };
    let function = rig.python(ONE).await;
    let (assigned, missed) = (rig.metric("assigned", "python3.11"), rig.metric("missed", "python3.11"));
    let all = (0..20).map(|_| rig.cold(&function, "{}"));
    for (_, answer) in futures_util::future::join_all(all).await {
        assert_eq!(success(&answer), json!(1));
    }
    let assigned = rig.metric("assigned", "python3.11") - assigned;
    let missed = rig.metric("missed", "python3.11") - missed;
    assert_eq!(assigned + missed, 20);
    assert!(assigned >= 2 && missed > 0, "{assigned} {missed}");
    // And now more wait than before, since so many were asked for.
    eventually("a larger pool", || rig.metric("waiting", "python3.11") > 10).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_dies_while_waiting_is_missed_by_nobody() {
    let Some(rig) = rig().await else { return };
    let function = rig.python(ONE).await;
    for round in 0..30 {
        let waiting = waiting(&rig);
        let killer = std::thread::spawn(move || {
            for pid in waiting {
                kill(pid);
            }
        });
        if round % 3 == 0 {
            killer.join().unwrap();
            assert_eq!(success(&rig.cold(&function, "{}").await.1), json!(1));
        } else {
            // At the same moment: it waits still, is assigned, or runs already.
            match rig.invoke(&unique(), Some(&function), "{}").await {
                Ok(answer) if answer.function_error.is_empty() => assert_eq!(json(&answer), json!(1)),
                Ok(answer) => {
                    let text = json(&answer)["errorMessage"].to_string();
                    assert!(text.contains("signal: killed"), "{text}");
                }
                Err(fault) => panic!("{fault:?}"),
            }
            killer.join().unwrap();
        }
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_size_goes_when_too_many_others_were_asked_for() {
    let rig = Rig::with(|options| options.pool_memory_mib = 700).await;
    if !rig.driver.capabilities().own_root {
        eprintln!("SKIPPED: nothing waits without a root of its own");
        return rig.stop().await;
    }
    // The rig has asked for 256 MB.
    let mut function = rig.function("nodejs20.x", "index.js", "exports.handler = async () => 1;").await;
    let any_waits = |option: &str| {
        let waits = |pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.ends_with(b"\0wait\0") && String::from_utf8_lossy(&line).contains(option)
        };
        processes(&rig).iter().any(waits)
    };
    for memory_mb in 300..316 {
        assert!(any_waits("--max-old-space-size=231"), "until {memory_mb}");
        function.memory_size_mb = memory_mb;
        assert_eq!(success(&rig.cold(&function, "{}").await.1), json!(1));
        eventually("another that waits", || rig.metric("waiting", &pool_of(&function)) > 0).await;
    }
    eventually("its end", || !any_waits("--max-old-space-size=231")).await;
    // AWS's default is always there.
    assert!(any_waits("--max-old-space-size=116"));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_of_cold_starts_leave_nothing_behind() {
    let Some(rig) = rig().await else { return };
    let function = rig.python("import os\ndef handler(event, context):\n    os._exit(0)\n").await;
    // Two processes a sandbox, or one without a program, beside the spawner, and as many sandboxes as wait.
    let settled = || {
        let (bare, all) = how_many_wait(&rig);
        let sound = all > bare && bare > 0 && processes(&rig).len() == 1 + 2 * all - bare;
        (sound && control_groups(&rig).is_multiple_of(all)).then(|| control_groups(&rig) / all)
    };
    let mut groups_each = None;
    eventually("what the rig asked for is gone", || {
        groups_each = settled();
        groups_each.is_some()
    })
    .await;
    for _ in 0..40 {
        assert_eq!(rig.cold(&function, "{}").await.1.function_error, "Unhandled");
    }
    eventually("what has ended is gone", || settled() == groups_each).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spawner_that_is_killed_takes_everything_along() {
    let Some(rig) = rig().await else { return };
    let function = rig.python(ONE).await;
    let processes = processes(&rig);
    assert!(processes.len() > 5);
    kill(processes[0]);
    // Whoever has asked this spawner for something is told, and the next one is asked.
    if let Err(fault) = rig.invoke(&unique(), Some(&function), "{}").await {
        assert_eq!(fault.code(), "EnvironmentGone");
    }
    eventually("all processes are gone", || {
        processes.iter().all(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
        })
    })
    .await;
    // The next spawner has removed its control groups.
    rig.end().await;
}
