//! What a start tells: where to connect, what was reached; people also how to begin.

use std::fmt::Write;

use lambfold_node::Summary;

/// The same for a log of JSON, which other lines would spoil: one event.
pub(crate) fn log(summary: &Summary) {
    let scheme = scheme(summary);
    let isolation = summary.isolation.as_ref();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        http = summary.http.map(|at| format!("{scheme}://{at}")),
        grpc = summary.grpc.map(|at| format!("{scheme}://{at}")),
        data = %summary.data_dir.display(),
        isolation = isolation.map(|it| it.level.as_str()),
        isolation_notes = isolation.map(|it| it.notes.join("; ")),
        network = isolation.map(|it| it.network.as_str()),
        roles = roles(summary),
        took_ms = u64::try_from(summary.started_in.as_millis()).unwrap_or(u64::MAX),
        "Ready."
    );
}

fn scheme(summary: &Summary) -> &'static str {
    if summary.secure { "https" } else { "http" }
}

fn roles(summary: &Summary) -> String {
    summary.roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The banner; its last line ends in `Ready.`
pub(crate) fn render(summary: &Summary) -> String {
    let mut text =
        format!("\nLambfold {}: AWS Lambda and Amazon SQS on this machine\n\n", env!("CARGO_PKG_VERSION"));
    let mut line = |name: &str, value: &str| {
        writeln!(text, "  {name:<13}{value}").expect("strings take writes");
    };
    let scheme = scheme(summary);
    if let Some(http) = summary.http {
        line("AWS endpoint", &format!("{scheme}://{http}"));
    }
    if let Some(grpc) = summary.grpc {
        line("gRPC", &format!("{scheme}://{grpc}"));
    }
    line("Region", "us-east-1, or the one that a request is signed for");
    line("Account", "000000000000, or a 12-digit access key id");
    line("Data", &summary.data_dir.display().to_string());
    if let Some(isolation) = &summary.isolation {
        line("Isolation", &isolation.level);
        for note in &isolation.notes {
            line("", note);
        }
        line("Network", &isolation.network);
    }
    if let Some(http) = summary.http {
        line(
            "AWS CLI",
            "export AWS_ACCESS_KEY_ID=000000000000 AWS_SECRET_ACCESS_KEY=test AWS_DEFAULT_REGION=us-east-1",
        );
        line("", &format!("aws --endpoint-url {scheme}://{http} sqs create-queue --queue-name jobs"));
        line("See it work", &format!("lambfold demo --endpoint {scheme}://{http}"));
    }
    write!(text, "\n{} up in {} ms. Ready.", roles(summary), summary.started_in.as_millis())
        .expect("strings take writes");
    text
}
