//! Sandboxes whose root is a container image's.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use lambfold_sandbox::{
    Assignment, ExitStatus, ROOT_DIRECTORIES, ROOT_FILES, RunningSandbox, SandboxError, SandboxTemplate,
};

use crate::stage::{Stage, finish, on_each_that_starts};

/// A root with a shell and some tools, and nothing else of this machine.
fn image(stage: &Stage, name: &str) -> std::path::PathBuf {
    let root = stage.path(name);
    for directory in ROOT_DIRECTORIES {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for file in ROOT_FILES {
        fs::write(root.join(file), "of the image").unwrap();
    }
    let mut files = BTreeSet::new();
    for program in ["/bin/sh", "/bin/cat", "/bin/ls", "/usr/bin/id", "/bin/pwd"] {
        files.insert(program.to_owned());
        let listed = Command::new("ldd").arg(program).output().unwrap().stdout;
        let listed = String::from_utf8(listed).unwrap();
        files.extend(listed.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned));
    }
    for file in files {
        let target = root.join(file.trim_start_matches('/'));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, target).unwrap();
    }
    fs::create_dir_all(root.join("app/bin")).unwrap();
    fs::write(root.join("app/bin/tool"), "#!/bin/sh\necho \"tool $*\"\npwd\n").unwrap();
    fs::set_permissions(root.join("app/bin/tool"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    root
}

async fn start(
    stage: &Stage,
    root: &Path,
    command: &[&str],
    directory: &str,
) -> Result<Box<dyn RunningSandbox>, SandboxError> {
    let template = SandboxTemplate {
        listen: vec![([127, 0, 0, 1], 9001).into()],
        runtime_dir: stage.path("runtime"),
        image_root: Some(root.to_owned()),
        waiting: None,
    };
    let prepared = stage.driver.prepare(template).await?;
    let command = command.iter().map(ToString::to_string).collect();
    let mut assignment = Assignment::new(root.to_owned(), command);
    assignment.working_directory = directory.into();
    assignment.environment.insert("PATH".into(), "/nowhere:/app/bin:/bin:/usr/bin".into());
    prepared.assign(assignment).await
}

async fn run(stage: &Stage, root: &Path, command: &[&str], directory: &str) -> String {
    let running = start(stage, root, command, directory).await.unwrap();
    let (text, exit) = finish(running).await;
    assert_eq!(exit.status, ExitStatus::Code(0), "{text}");
    text
}

#[tokio::test]
async fn an_image_is_the_whole_root_and_only_tmp_can_be_written() {
    on_each_that_starts(async |stage| {
        let root = image(&stage, "image");
        if !stage.own_root() {
            let error = start(&stage, &root, &["/bin/sh"], "/").await.err().unwrap();
            assert!(matches!(&error, SandboxError::Invalid(text) if text.contains("process")), "{error}");
            return;
        }
        let script = "ls /; for f in /x /app/x /etc/x /dev/x /etc/hosts; do (echo > $f) 2>/dev/null && echo wrote $f; done; \
                      echo > /dev/null && echo x > /tmp/x && cat /tmp/x /etc/hosts; id -u; ls /dev /proc/1/root/ 2>&1; cat /proc/kcore; :";
        let text = run(&stage, &root, &["/bin/sh", "-c", script], "/").await;
        let expected: Vec<_> = ["app", "bin", "dev", "etc"].into();
        assert!(text.lines().zip(expected).all(|(found, expected)| found == expected), "{text}");
        assert!(!text.contains("wrote"), "{text}");
        assert!(text.contains("x\n127.0.0.1 localhost\n"), "{text}");
        assert!(text.contains("\n993\n") && text.contains("urandom"), "{text}");
        assert!(!text.contains("var/runtime") && !text.contains("of the image"), "{text}");
        assert_eq!(fs::read_to_string(root.join("etc/hosts")).unwrap(), "of the image");
    })
    .await;
}

#[tokio::test]
async fn a_program_is_found_as_a_shell_would_in_a_directory_of_the_images() {
    on_each_that_starts(async |stage| {
        if !stage.own_root() {
            return;
        }
        let root = image(&stage, "image");
        assert_eq!(run(&stage, &root, &["tool", "a b"], "/app").await, "tool a b\n/app\n");
        assert_eq!(run(&stage, &root, &["bin/tool"], "/app").await, "tool \n/app\n");
        for missing in ["nothing", "./bin/nothing"] {
            let error = start(&stage, &root, &[missing], "/").await.err().unwrap();
            assert!(
                matches!(&error, SandboxError::Exec { program, errno: 2 } if program == missing),
                "{error}"
            );
        }
        let error = start(&stage, &root, &["tool"], "/not/there").await.err().unwrap();
        assert!(
            matches!(&error, SandboxError::WorkingDirectory { path, errno: 2 } if path == "/not/there"),
            "{error}"
        );
    })
    .await;
}

#[tokio::test]
async fn links_in_an_image_lead_nowhere_outside() {
    on_each_that_starts(async |stage| {
        if !stage.own_root() {
            return;
        }
        let root = image(&stage, "image");
        let secret = stage.path("secret");
        fs::write(&secret, "SECRET").unwrap();
        symlink(&secret, root.join("leak")).unwrap();
        symlink("/proc/1/root", root.join("up")).unwrap();
        let text = run(
            &stage,
            &root,
            &["/bin/sh", "-c", "cat /leak; cat /up/etc/passwd; cat /../../etc/passwd; :"],
            "/",
        )
        .await;
        assert!(!text.contains("SECRET") && !text.contains("root:"), "{text}");
        for name in ["proc", "dev", "tmp"] {
            let other = image(&stage, &format!("with-{name}-as-link"));
            fs::remove_dir(other.join(name)).unwrap();
            symlink("/etc", other.join(name)).unwrap();
            let error = start(&stage, &other, &["/bin/sh"], "/").await.err().unwrap();
            assert!(matches!(&error, SandboxError::Invalid(text) if text.contains(name)), "{error}");
        }
    })
    .await;
}
