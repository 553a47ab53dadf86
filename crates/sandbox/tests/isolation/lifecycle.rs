//! How sandboxes begin and end, above all when something dies that should not.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use lambfold_sandbox::{ExitStatus, IsolationLevel, SandboxError, Spawner};

use crate::stage::{
    Kind, Stage, directories, finish, kinds, leftovers, on_each, options, processes_with, until,
};

/// A number of seconds that `sleep` takes and no other process has.
fn marker() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("1000.{}00{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A shell that leaves a daemon behind, in a session of its own, whose parent has ended.
fn with_daemon(marker: &str) -> String {
    format!(
        "(setsid sleep {marker} >/dev/null 2>&1 &) & wait; until [ \"$(ls $TMPDIR)\" ]; do sleep {marker}; done"
    )
}

#[tokio::test]
async fn kill_ends_all_processes() {
    on_each(async |stage| {
        let marker = marker();
        let running = stage.start(&["/bin/sh", "-c", &with_daemon(&marker)]).await;
        // The shell, its own sleep and the daemon's.
        until("all have started", || processes_with(&marker).len() >= 3);
        let start = Instant::now();
        running.kill();
        assert!(start.elapsed().as_millis() < 500, "kill must not wait");
        assert_eq!(running.wait().await.status, ExitStatus::Signal(9));
        assert_eq!(processes_with(&marker), Vec::<u32>::new(), "{:?}", stage.kind);
        assert_eq!(running.wait().await.status, ExitStatus::Signal(9), "the answer stays");
        running.kill();
    })
    .await;
}

#[tokio::test]
async fn the_end_of_the_command_is_the_end_of_all() {
    on_each(async |stage| {
        let marker = marker();
        let script = format!("(setsid sleep {marker} &) & wait; sleep {marker} & exit 7");
        let (_, exit) = finish(stage.start(&["/bin/sh", "-c", &script]).await).await;
        assert_eq!(exit.status, ExitStatus::Code(7));
        assert_eq!(processes_with(&marker), Vec::<u32>::new(), "{:?}", stage.kind);
    })
    .await;
}

#[tokio::test]
async fn a_dropped_sandbox_is_killed_and_its_slot_free_again() {
    for kind in kinds() {
        let stage = Stage::new(kind, |options| options.slots = 2).await;
        let marker = marker();
        let running = stage.start(&["/bin/sleep", &marker]).await;
        let prepared = stage.prepare().await.unwrap();
        assert!(matches!(stage.prepare().await.err(), Some(SandboxError::NoFreeSlot { slots: 2 })));
        drop(prepared);
        drop(running);
        // The calls come after the kills; the slots are free when the processes are gone.
        let mut both = Vec::new();
        while both.len() < 2 {
            match stage.prepare().await {
                Ok(prepared) => both.push(prepared),
                Err(SandboxError::NoFreeSlot { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(processes_with(&marker), Vec::<u32>::new());
        drop(both);
        stage.driver.shutdown().await;
        assert!(matches!(stage.prepare().await.err(), Some(SandboxError::SpawnerGone)));
    }
}

#[tokio::test]
async fn twenty_at_once() {
    on_each(async |stage| {
        let start = Instant::now();
        let tasks: Vec<_> = (0..20)
            .map(|number| {
                let stage = Arc::clone(&stage);
                tokio::spawn(async move {
                    let (text, exit) = stage
                        .shell(&format!("echo {number} > $TMPDIR/n; cat $TMPDIR/*; exit {number}"))
                        .await;
                    assert_eq!((text, exit.status), (format!("{number}\n"), ExitStatus::Code(number)));
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        eprintln!("twenty in {:?}", start.elapsed());
    })
    .await;
}

#[tokio::test]
async fn one_spawner_per_directory_and_levels_that_are_refused_say_why() {
    let kind = kinds()[0];
    let stage = Stage::new(kind, |_| {}).await;
    let second = Spawner::start(options(kind, stage.directory.path())).await.err().unwrap();
    assert!(second.to_string().contains("another spawner uses"), "{second}");
    stage.driver.shutdown().await;
    stage.driver.closed().await;

    if rustix::process::geteuid().is_root() {
        let ordinary = Kind { level: IsolationLevel::Full, as_nobody: true, waits: false };
        let directory = directories(ordinary);
        let mut options = options(ordinary, directory.path());
        let error = Spawner::start(options.clone()).await.err().unwrap();
        assert!(error.to_string().contains("run Lambfold as root"), "{error}");
        options.at_least = IsolationLevel::Process;
        let driver = Spawner::start(options).await.unwrap();
        assert_eq!(driver.report().reached, IsolationLevel::Userns, "{:?}", driver.report());
        assert_eq!(driver.report().refused[0].level, IsolationLevel::Full);
        driver.shutdown().await;
    }
}

#[tokio::test]
async fn a_program_that_is_no_spawner_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    for program in ["/bin/true", "/nowhere/at/all"] {
        let command = lambfold_sandbox::SpawnerCommand::program(program);
        let options = lambfold_sandbox::SpawnerOptions::new(command, directory.path());
        let error = Spawner::start(options).await.err().unwrap();
        assert!(matches!(error, SandboxError::SpawnerStart { .. }), "{error}");
    }
}

/// Not a test: the process that `nothing_outlives_the_worker` and its sibling kill. Its level, whether its spawner is
/// an ordinary user's, its directory and its marker come in the environment.
#[tokio::test]
#[ignore = "run by other tests, as a process to be killed"]
async fn victim() {
    let variable = |name| std::env::var(name).unwrap();
    let kind = Kind {
        level: variable("VICTIM_LEVEL").parse().unwrap(),
        as_nobody: variable("VICTIM_AS_NOBODY") == "true",
        waits: variable("VICTIM_WAITS") == "true",
    };
    let directory = variable("VICTIM_DIRECTORY");
    let options = options(kind, Path::new(&directory));
    let driver = Spawner::start(options).await.unwrap();
    let stage = Stage { kind, driver, directory: directories(kind) };
    let script = with_daemon(&variable("VICTIM_MARKER"));
    let mut running = Vec::new();
    for _ in 0..3 {
        running.push(stage.start(&["/bin/sh", "-c", &script]).await);
    }
    let _prepared = stage.prepare().await.unwrap();
    println!("\nup");
    running[0].wait().await;
}

/// Starts [`victim`] and returns it, once its sandboxes run, with what it was given.
fn start_victim(kind: Kind) -> (std::process::Child, tempfile::TempDir, String) {
    let directory = directories(kind);
    let marker = marker();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lifecycle::victim", "--ignored", "--nocapture"])
        .env("VICTIM_LEVEL", kind.level.as_str())
        .env("VICTIM_AS_NOBODY", kind.as_nobody.to_string())
        .env("VICTIM_WAITS", kind.waits.to_string())
        .env("VICTIM_DIRECTORY", directory.path())
        .env("VICTIM_MARKER", &marker)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "up"), "the victim did not come up");
    until("the victim's functions run", || processes_with(&marker).len() >= 9);
    (child, directory, marker)
}

#[tokio::test]
async fn nothing_outlives_the_worker() {
    for kind in kinds() {
        let (mut worker, directory, marker) = start_victim(kind);
        worker.kill().unwrap();
        worker.wait().unwrap();
        until("its processes are gone", || processes_with(&marker).is_empty());
        until("its control groups and directories are gone", || leftovers(directory.path()).is_empty());
        // The lock is free: the spawner has ended too.
        Spawner::start(options(kind, directory.path())).await.unwrap().shutdown().await;
    }
}

#[tokio::test]
async fn functions_do_not_outlive_the_spawner_and_the_next_one_sweeps() {
    for kind in kinds() {
        let (mut worker, directory, marker) = start_victim(kind);
        let worker_pid = worker.id().to_string();
        // The spawner is the victim's only child.
        let spawner = std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .find_map(|entry| {
                let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
                let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
                (parent == worker_pid).then(|| entry.file_name().to_string_lossy().into_owned())
            })
            .unwrap();
        let pid = rustix::process::Pid::from_raw(spawner.parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        until("its processes are gone", || processes_with(&marker).is_empty());
        // The worker's `wait` came back, so it ends by itself. (Its status says only that nobody reads its output.)
        worker.wait().unwrap();

        Spawner::start(options(kind, directory.path())).await.unwrap().shutdown().await;
        assert_eq!(leftovers(directory.path()), Vec::<String>::new(), "{kind:?}");
    }
}

/// Not a test: prints what making and starting a sandbox takes.
#[tokio::test]
#[ignore = "a measurement"]
async fn speed() {
    on_each(async |stage| {
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..100 {
            let start = Instant::now();
            let mut prepared = stage.prepare().await.unwrap();
            times[0].push(start.elapsed());
            let listener = prepared.take_listeners().remove(0);
            let assignment = stage.assignment(prepared.as_ref(), &listener, &["/bin/true"]);
            let start = Instant::now();
            let running = stage.assign(prepared, assignment).await.unwrap();
            times[1].push(start.elapsed());
            finish(running).await;
            times[2].push(start.elapsed());
        }
        for (name, times) in ["prepare", "assign", "assign to exit"].iter().zip(&mut times) {
            times.sort();
            eprintln!("{:?} {name}: p50 {:?}, p90 {:?}", stage.kind, times[50], times[90]);
        }
    })
    .await;
}
