//! `lambfold`: AWS Lambda and Amazon SQS that a team runs itself.
//!
//! One executable for everything: `up` runs every role in this process, `serve` some of them, `demo` shows the main
//! path, `bench` measures it.

mod banner;
mod cli;
mod commands;
mod open_files;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command.unwrap_or_default() {
        // Before any thread exists: the spawner is single-threaded.
        Command::Spawner => return lambfold_sandbox::spawner_main(),
        Command::Up(settings) => {
            commands::serve::run(&settings, lambfold_node::Role::ALL.into_iter().collect())
        }
        Command::Serve { roles, settings } => commands::serve::run(&settings, roles.into_iter().collect()),
        Command::Config { default, settings } => commands::config::run(&settings, default),
        Command::Migrate(settings) => commands::migrate::run(&settings),
        Command::Healthcheck { endpoint } => commands::healthcheck::run(&endpoint),
        Command::Logs(options) => commands::logs::run(&options),
        Command::Demo { endpoint } => commands::demo::run(endpoint.as_deref()),
        Command::Bench(options) => commands::bench::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lambfold: {error:#}");
            ExitCode::FAILURE
        }
    }
}
