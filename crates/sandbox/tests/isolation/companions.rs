//! Programs beside the command.

use lambfold_sandbox::{Assignment, Companions, ExitStatus, ProgramSignal, SandboxError, SandboxProgram};
use tokio::io::AsyncReadExt;

use crate::stage::on_each_that_starts;

fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(str::to_owned).into()
}

fn beside(assignment: &mut Assignment, scripts: &[&str]) {
    let mut environment = assignment.environment.clone();
    environment.insert("ONLY".to_owned(), "companion".to_owned());
    let commands = scripts.iter().map(|script| shell(script)).collect();
    assignment.companions = Companions { commands, environment };
}

#[tokio::test]
async fn they_start_first_and_all_end_one_by_one() {
    on_each_that_starts(async |stage| {
        let command = "echo \"$(cat $TMPDIR/first) $ONLY\"; exec sleep 1000";
        let scripts = [
            "exec sleep 1000",
            "exit 3",
            "trap 'exit 4' TERM; echo said; echo $ONLY $PWD >$TMPDIR/first; while :; do sleep 0.01; done",
        ];
        let change = |assignment: &mut Assignment| beside(assignment, &scripts);
        let (mut running, _listener) = stage.start_with(&["/bin/sh", "-c", command], change).await;
        let mut ends = running.take_ends().unwrap();
        assert!(running.take_ends().is_none());
        let mut next = async || {
            let end = ends.recv().await.unwrap();
            (end.program, end.exit.status)
        };
        assert_eq!(next().await, (SandboxProgram::Companion(1), ExitStatus::Code(3)), "{:?}", stage.kind);
        // It has nobody to signal before it runs.
        running.signal(SandboxProgram::Command, ProgramSignal::Kill);
        tokio::task::spawn_blocking(|| std::thread::sleep(std::time::Duration::from_millis(200)))
            .await
            .unwrap();
        running.start_command().await.unwrap();
        assert!(matches!(running.start_command().await, Err(SandboxError::Invalid(_))));
        let mut output = running.take_output().unwrap();
        let mut text = Vec::new();
        while !text.ends_with(b"\n") {
            assert!(output.read_buf(&mut text).await.unwrap() > 0);
        }
        assert_eq!(String::from_utf8(text).unwrap(), "companion / \n", "{:?}", stage.kind);
        let mut theirs = running.take_companions_output().unwrap();
        assert!(running.take_companions_output().is_none());
        let mut text = [0; 5];
        theirs.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"said\n");
        for (program, signal, status) in [
            (SandboxProgram::Companion(2), ProgramSignal::Terminate, ExitStatus::Code(4)),
            (SandboxProgram::Command, ProgramSignal::Terminate, ExitStatus::Signal(15)),
            (SandboxProgram::Companion(0), ProgramSignal::Kill, ExitStatus::Signal(9)),
        ] {
            running.signal(program, signal);
            assert_eq!(next().await, (program, status), "{:?}", stage.kind);
        }
        running.kill();
        running.wait().await;
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_executed_is_named() {
    on_each_that_starts(async |stage| {
        let mut prepared = stage.prepare().await.unwrap();
        let listener = prepared.take_listeners().remove(0);
        let mut assignment = stage.assignment(prepared.as_ref(), &listener, &["/bin/true"]);
        beside(&mut assignment, &["sleep 1000"]);
        assignment.companions.commands.push(vec!["/nothing/there".to_owned()]);
        let failed = prepared.assign(assignment).await.err().unwrap();
        assert!(
            matches!(&failed, SandboxError::Exec { program, .. } if program == "/nothing/there"),
            "{failed}"
        );
        // The command: the companions, which run, are still there to be told.
        let change = |assignment: &mut Assignment| beside(assignment, &["sleep 1000"]);
        let (running, _listener) = stage.start_with(&["/nothing/here"], change).await;
        let failed = running.start_command().await.unwrap_err();
        assert!(
            matches!(&failed, SandboxError::Exec { program, .. } if program == "/nothing/here"),
            "{failed}"
        );
        running.kill();
        running.wait().await;
    })
    .await;
}
