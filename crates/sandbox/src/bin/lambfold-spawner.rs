//! The spawner as a program of its own: what `lambfold spawner` does, for tests and for set-ups that give only this
//! file its privileges.

fn main() -> std::process::ExitCode {
    #[cfg(target_os = "linux")]
    return lambfold_sandbox::spawner_main();
    #[cfg(not(target_os = "linux"))]
    {
        eprintln!("lambfold-spawner: only Linux has a spawner");
        std::process::ExitCode::FAILURE
    }
}
