//! What every scenario does: make functions, wait for something.

use std::io::{Cursor, Write};
use std::time::{Duration, Instant};

use aws_sdk_lambda::Client;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::{Environment, FunctionCode, Runtime, State};
use lambfold_clock::SystemEntropy;

/// A function to deploy.
#[derive(Clone, Copy, Debug)]
pub struct Function<'a> {
    /// The runtime identifier.
    pub runtime: &'a str,
    /// The name of the one file in the package.
    pub file: &'a str,
    /// What is in it; the handler is `index.handler`.
    pub source: &'a str,
    /// Environment variables.
    pub environment: &'a [(&'a str, &'a str)],
}

impl Function<'_> {
    /// Deploys it under a new name and waits until it is active. Its timeout is 3 s.
    pub async fn deploy(&self, lambda: &Client) -> String {
        self.deploy_archive(lambda, zip_of(self.file, self.source.as_bytes())).await
    }

    /// The same with a package of one's own.
    pub async fn deploy_archive(&self, lambda: &Client, archive: Vec<u8>) -> String {
        let name = unique("function");
        let variables =
            self.environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let created = lambda
            .create_function()
            .function_name(&name)
            .runtime(Runtime::from(self.runtime))
            .role("arn:aws:iam::000000000000:role/test")
            .handler("index.handler")
            .environment(Environment::builder().set_variables(Some(variables)).build())
            .code(FunctionCode::builder().zip_file(Blob::new(archive)).build())
            .send()
            .await
            .expect("the function is created");
        assert_eq!(created.state(), Some(&State::Pending));
        eventually("the function to become active", async || {
            let found =
                lambda.get_function_configuration().function_name(&name).send().await.expect("it exists");
            (found.state() == Some(&State::Active)).then_some(())
        })
        .await;
        name
    }
}

/// A package of one file, which may be run.
pub fn zip_of(file: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
    archive.start_file(file, options).expect("memory takes writes");
    archive.write_all(content).expect("memory takes writes");
    archive.finish().expect("memory takes writes").into_inner()
}

/// A name that no other test uses.
pub fn unique(stem: &str) -> String {
    format!("{stem}-{}", lambfold_types::uuid_v4(&SystemEntropy).simple())
}

/// Asks until there is an answer; panics after 20 seconds.
#[expect(clippy::disallowed_methods, reason = "a scenario lives in real time")]
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "waited 20 seconds for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
