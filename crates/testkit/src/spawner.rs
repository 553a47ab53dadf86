//! The spawner's executable, for nodes that run inside a test.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use lambfold_sandbox::SpawnerCommand;

/// `lambfold-spawner` beside the test's executable; built first if this test is run by itself.
pub(crate) fn command() -> SpawnerCommand {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let program = BUILT.get_or_init(|| {
        // target/<profile>/deps/<test> → target/<profile>/lambfold-spawner
        let test = std::env::current_exe().expect("a running test has a path");
        let profile = test.ancestors().nth(2).expect("cargo puts tests two folders deep");
        let program = profile.join("lambfold-spawner");
        if !program.exists() {
            let mut cargo = Command::new(env!("CARGO"));
            cargo.args(["build", "--quiet", "--package", "lambfold-sandbox", "--bin", "lambfold-spawner"]);
            if profile.ends_with("release") {
                cargo.arg("--release");
            }
            let status = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
            assert!(status.success() && program.exists(), "cannot build {}", program.display());
        }
        program
    });
    SpawnerCommand::program(program)
}
