//! What a function sees: AWS's paths, ids and environment, and nothing to write to but /tmp.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use lambfold_sandbox::{ExitStatus, OUTPUT_FD, SandboxError};

use crate::stage::{Stage, finish, kinds, on_each};

#[tokio::test]
async fn code_and_system_are_read_only_and_tmp_is_not() {
    on_each(async |stage| {
        fs::write(stage.path("code/handler.py"), "the code").unwrap();
        fs::write(stage.path("runtime/bootstrap"), "the runtime").unwrap();
        let script = r#"
            pwd; cat handler.py; echo; cat "$RUNTIME/bootstrap"; echo
            for place in "$TASK" "$TASK/handler.py" "$RUNTIME" / /usr /usr/bin /etc /var /opt /proc /dev /root; do
                if [ -d "$place" ]; then target="$place/probe"; else target="$place"; fi
                (echo x > "$target") 2>/dev/null && echo "WROTE $target"
            done
            echo kept > "$TMPDIR/file" && cat "$TMPDIR/file"
            mkdir "$TMPDIR/d" && mv "$TMPDIR/file" "$TMPDIR/d/moved" && rm -r "$TMPDIR/d" && echo removed
            echo to null > /dev/null && head -c 3 /dev/zero | wc -c"#;
        let (text, exit) = stage.shell(script).await;
        assert_eq!(exit.status, ExitStatus::Code(0), "{text}");
        let task = if stage.own_root() { "/var/task".to_owned() } else { stage.path("code").display().to_string() };
        assert_eq!(text, format!("{task}\nthe code\nthe runtime\nkept\nremoved\n3\n"), "{:?}", stage.kind);
        assert!(!stage.path("code/probe").exists());
    })
    .await;
}

#[tokio::test]
async fn the_environment_is_exactly_what_was_assigned() {
    on_each(async |stage| {
        let (running, _) = stage
            .start_with(&["/usr/bin/env"], |assignment| {
                assignment.environment.clear();
                assignment.environment.insert("ONE".into(), "1".into());
                assignment.environment.insert("EMPTY".into(), String::new());
                assignment.environment.insert("ODD".into(), "a=b\"\u{e9}".into());
            })
            .await;
        let (text, _) = finish(running).await;
        assert_eq!(text, "EMPTY=\nODD=a=b\"\u{e9}\nONE=1\n");
    })
    .await;
}

#[tokio::test]
async fn ids_host_name_and_pid_are_those_of_aws() {
    on_each(async |stage| {
        let (text, _) = stage.shell("id -u; id -g; id -G; uname -n; echo $$; stat -c %a:%u /tmp").await;
        if stage.own_root() {
            assert_eq!(text, "993\n990\n990\n169.254.76.1\n2\n700:993\n", "{:?}", stage.kind);
        } else {
            assert_ne!(text.lines().next(), Some("0"), "a function must not be root");
        }
    })
    .await;
}

#[tokio::test]
async fn only_the_standard_descriptors_are_open_and_the_output_a_second_time() {
    on_each(async |stage| {
        let text = stage.python("import os; print(sorted(fd for fd in range(1024) if os.path.lexists(f'/proc/self/fd/{fd}')))").await;
        assert_eq!(text, format!("[0, 1, 2, {OUTPUT_FD}]\n"), "{:?}", stage.kind);
        let text = stage.python("import os; os.close(1); os.close(2); os.write(4, b'still heard')").await;
        assert_eq!(text, "still heard");
    })
    .await;
}

#[tokio::test]
async fn what_is_seen_again_is_what_is_there_and_nothing_over_links() {
    on_each(async |stage| {
        if !stage.own_root() {
            return eprintln!("SKIPPED: {:?} has no root of its own", stage.kind);
        }
        fs::create_dir_all(stage.path("runtime/lang/1")).unwrap();
        fs::write(stage.path("runtime/lang/1/file"), "of the runtime").unwrap();
        fs::create_dir_all(stage.path("layer/here")).unwrap();
        for (link, target) in [("proc", "/proc"), ("self", "/proc/self/fd/3"), ("host", "/proc/1/root"), ("near", "here")] {
            std::os::unix::fs::symlink(target, stage.path("layer").join(link)).unwrap();
        }
        for directory in ["/opt/proc", "/opt/self", "/opt/host", "/opt/near", "/opt/proc/1/cwd", "/opt/absent"] {
            let look = ["/bin/sh", "-c", "cat /var/lang/file; ls -A /var/node_modules; touch /var/lang/file 2>/dev/null && echo WROTE; true"];
            let (running, _) = stage
                .start_with(&look, |assignment| {
                    assignment.layers = vec![stage.path("layer")];
                    assignment.seen_again = vec![
                        ("/var/lang".into(), "/var/runtime/lang/1".into()),
                        ("/var/node_modules".into(), directory.into()),
                    ];
                })
                .await;
            assert_eq!(finish(running).await.0, "of the runtime", "{directory} {:?}", stage.kind);
        }
        let mut prepared = stage.prepare().await.unwrap();
        let listener = prepared.take_listeners().remove(0);
        let mut assignment = stage.assignment(&*prepared, &listener, &["/bin/true"]);
        assignment.seen_again = vec![("/etc".into(), "/opt".into())];
        assert!(matches!(stage.assign(prepared, assignment).await, Err(SandboxError::Invalid(_))));
    })
    .await;
}

#[tokio::test]
async fn later_layers_win() {
    on_each(async |stage| {
        for (layer, file, text) in
            [("l1", "a", "a1"), ("l1", "b", "b1"), ("l2", "b", "b2"), ("l:3", "c", "c3")]
        {
            fs::create_dir_all(stage.path(layer)).unwrap();
            fs::write(stage.path(layer).join(file), text).unwrap();
        }
        let script =
            ["/bin/sh", "-c", r#"cd "$OPT" && cat * && (echo x > a) 2>/dev/null && echo WROTE; true"#];
        let (running, _) =
            stage.start_with(&script, |assignment| assignment.layers = vec![stage.path("l1")]).await;
        assert_eq!(finish(running).await.0, "a1b1", "{:?}", stage.kind);

        if stage.own_root() {
            let layers = ["l1", "l2", "l:3"].map(|layer| stage.path(layer));
            let (running, _) =
                stage.start_with(&script, |assignment| assignment.layers = layers.to_vec()).await;
            assert_eq!(finish(running).await.0, "a1b2c3", "{:?}", stage.kind);
        }
        assert_eq!(stage.shell(r#"ls -A "$OPT""#).await.0, "");
    })
    .await;
}

#[tokio::test]
async fn an_extra_directory_is_seen_and_its_neighbours_are_not() {
    for kind in kinds() {
        // Not below /tmp, which the sandbox's own covers.
        let interpreters = tempfile::tempdir_in("/var/tmp").unwrap();
        let home = interpreters.path();
        fs::set_permissions(home, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir_all(home.join("versions/3.11")).unwrap();
        fs::write(home.join("versions/3.11/python"), "found").unwrap();
        fs::write(home.join("secret"), "private").unwrap();
        std::os::unix::fs::symlink("versions", home.join("current")).unwrap();

        let stage = Stage::new(kind, |options| {
            options.extra_readonly = vec![home.join("current/3.11"), home.join("versions/3.11")];
        })
        .await;
        let home = home.display();
        let (text, _) = stage
            .shell(&format!(
                "cat {home}/current/3.11/python {home}/versions/3.11/python; cat {home}/secret 2>/dev/null; \
                 (echo x > {home}/versions/3.11/python) 2>/dev/null && echo WROTE; true"
            ))
            .await;
        assert_eq!(text, "foundfound", "{kind:?}");
        stage.driver.shutdown().await;
    }
}
