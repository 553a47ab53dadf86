//! What is particular to programs that wait for their function. (Every other test runs on them as well.)

use std::fs;
use std::path::Path;

use lambfold_sandbox::{Assignment, ExitStatus, SandboxError, SandboxTemplate, WaitingProgram};

use crate::stage::{Stage, finish, kinds, on_each_that_waits, processes_with, until};

fn template(stage: &Stage, program: &str) -> SandboxTemplate {
    SandboxTemplate {
        listen: Vec::new(),
        runtime_dir: stage.path("runtime"),
        image_root: None,
        waiting: Some(WaitingProgram {
            command: ["/usr/bin/python3", "-I", "-S", "-c", program].map(str::to_owned).into(),
            environment: [("BEFORE".to_owned(), "1".to_owned())].into(),
            open_files: 1024,
            processes: 1024,
        }),
    }
}

/// Prints its view before and after the assignment.
const WITNESS: &str = "import os
def look():
    print(sorted(fd for fd in range(1024) if os.path.lexists(f'/proc/self/fd/{fd}')), sorted(os.environ),
        sorted(os.listdir('/var/task')), sorted(os.listdir('/opt')), os.statvfs('/tmp').f_blocks * os.statvfs('/tmp').f_frsize >> 20,
        os.uname().nodename, flush=True)
look()
os.write(3, b'r')
block = b''
while piece := os.read(3, 65536): block += piece
os.close(3)
os.environ.clear()
os.environ.update(item.decode().split('=', 1) for item in block.split(b'\\0') if item)
look()
def attempt(act):
    try: act(); return 'done'
    except OSError as error: return error.strerror
print(attempt(lambda: open('/var/task/new', 'w')), attempt(lambda: open('/opt/new', 'w')), attempt(lambda: open('/tmp/new', 'w')))
print([line.split()[5] for line in open('/proc/self/mountinfo') if line.split()[4] in ('/var/task', '/opt', '/tmp')])";

#[tokio::test]
async fn it_sees_nothing_of_a_function_before_it_has_one_and_then_only_its_own() {
    on_each_that_waits(async |stage| {
        fs::write(stage.path("code/index.py"), "").unwrap();
        fs::create_dir(stage.path("layers")).unwrap();
        fs::write(stage.path("layers/layer.py"), "").unwrap();
        let prepared = stage.driver.prepare(template(&stage, WITNESS)).await.unwrap();
        assert!(prepared.is_alive());
        let mut assignment = Assignment::new(stage.path("code"), Vec::new());
        assignment.layers.push(stage.path("layers"));
        assignment.environment.insert("AFTER".into(), "2".into());
        assignment.ephemeral_storage_mb = 640;
        assignment.hostname = "169.254.1.2".into();
        let (text, exit) = finish(prepared.assign(assignment).await.unwrap()).await;
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(exit.status, ExitStatus::Code(0), "{text}");
        let host = rustix::system::uname();
        let before =
            format!("[0, 1, 2, 3, 4] ['BEFORE'] ['lib'] ['lib'] 1 {}", host.nodename().to_string_lossy());
        assert_eq!(lines[0].replace(", 'LC_CTYPE'", ""), before);
        assert_eq!(lines[1], "[0, 1, 2, 4] ['AFTER'] ['index.py'] ['layer.py'] 640 169.254.1.2");
        assert_eq!(lines[2], "Read-only file system Read-only file system done");
        let options: Vec<&str> = lines[3].split("', '").collect();
        assert_eq!(options.iter().filter(|it| it.contains("ro,nosuid,nodev")).count(), 2, "{text}");
        assert_eq!(options.iter().filter(|it| it.contains("rw,nosuid,nodev")).count(), 1, "{text}");
    })
    .await;
}

#[tokio::test]
async fn opt_is_empty_without_layers() {
    on_each_that_waits(async |stage| {
        let (text, _) = stage.shell("ls -A /opt; echo; ls -A /var/task").await;
        assert_eq!(text, "\n", "{:?}", stage.kind);
    })
    .await;
}

#[tokio::test]
async fn one_that_dies_while_it_waits_is_known_to_be_dead() {
    on_each_that_waits(async |stage| {
        let marker = format!("dies-{}", std::process::id());
        let program = format!("# {marker}\nimport os; os.write(3, b'r'); os.read(3, 1)");
        let prepared = stage.driver.prepare(template(&stage, &program)).await.unwrap();
        let waiting = processes_with(&marker);
        assert_eq!(waiting.len(), 1);
        let pid = rustix::process::Pid::from_raw(i32::try_from(waiting[0]).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        while prepared.is_alive() {
            tokio::task::yield_now().await;
        }
        let error = prepared.assign(Assignment::new(stage.path("code"), Vec::new())).await.err().unwrap();
        assert!(error.to_string().contains("has ended"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn one_that_does_not_get_ready_is_an_error_that_shows_what_it_said() {
    on_each_that_waits(async |stage| {
        let broken = template(&stage, "import sys; sys.exit('not today')");
        let error = stage.driver.prepare(broken).await.err().unwrap();
        assert!(error.to_string().contains("before it was ready (not today)"), "{error}");
        let mut absent = template(&stage, "");
        absent.waiting.as_mut().unwrap().command = vec!["/nowhere/at/all".into()];
        let error = stage.driver.prepare(absent).await.err().unwrap();
        assert!(matches!(error, SandboxError::Exec { errno: 2, .. }), "{error}");
    })
    .await;
}

#[tokio::test]
async fn assignments_that_do_not_fit_are_refused() {
    on_each_that_waits(async |stage| {
        type Change = fn(&mut Assignment);
        let changes: [(&str, Change); 4] = [
            ("has its command and limits already", |a| a.command = vec!["/bin/true".into()]),
            ("has its command and limits already", |a| a.processes = 3),
            ("cannot be set as a variable", |a| drop(a.environment.insert("A".into(), "\0".into()))),
            ("cannot be set as a variable", |a| drop(a.environment.insert("A=B".into(), String::new()))),
        ];
        for (expected, change) in changes {
            let prepared = stage.prepare().await.unwrap();
            let mut assignment = Assignment::new(stage.path("code"), Vec::new());
            change(&mut assignment);
            let error = prepared.assign(assignment).await.err().unwrap();
            assert!(error.to_string().contains(expected), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_level_without_an_own_root_has_none() {
    for kind in kinds().into_iter().filter(|kind| kind.level < lambfold_sandbox::IsolationLevel::Userns) {
        let stage = Stage::new(kind, |_| {}).await;
        let error = stage.driver.prepare(template(&stage, "")).await.err().unwrap();
        assert!(error.to_string().contains("root of its own"), "{error}");
        stage.driver.shutdown().await;
    }
}

/// Rounds in which sandboxes are made, assigned, killed before and after, and dropped.
#[tokio::test]
async fn rounds_leave_nothing_behind() {
    on_each_that_waits(async |stage| {
        let groups = || {
            let record = fs::read_to_string(stage.path("state/cgroups")).unwrap();
            let parents = record.lines().map(str::to_owned);
            parents
                .map(|parent| {
                    let children = fs::read_dir(Path::new(&parent)).unwrap().flatten();
                    children.filter(|entry| entry.path().is_dir()).count()
                })
                .sum::<usize>()
        };
        let marker = format!("rounds-{}-{:?}", std::process::id(), stage.kind);
        let program = format!("# {marker}\nimport os\nos.write(3, b'r')\nwhile os.read(3, 65536): pass");
        let before = groups();
        for round in 0..25 {
            let prepare = || stage.driver.prepare(template(&stage, &program));
            let (one, two) = tokio::join!(prepare(), prepare());
            let (one, two) = (one.unwrap(), two.unwrap());
            if round % 5 == 0 {
                for pid in processes_with(&marker).into_iter().take(1 + round % 2) {
                    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            drop(one);
            let assignment = Assignment::new(stage.path("code"), Vec::new());
            if let Ok(running) = two.assign(assignment).await {
                running.wait().await;
            }
        }
        until("all has gone", || processes_with(&marker).is_empty() && groups() == before);
    })
    .await;
}
