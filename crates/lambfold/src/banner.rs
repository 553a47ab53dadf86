//! What a start prints: where to connect, what was reached, how to begin.

use std::fmt::Write;

use lambfold_node::Summary;

/// The banner; its last line ends in `Ready.`
pub(crate) fn render(summary: &Summary) -> String {
    let mut text =
        format!("\nLambfold {}: AWS Lambda and Amazon SQS on this machine\n\n", env!("CARGO_PKG_VERSION"));
    let mut line = |name: &str, value: &str| {
        writeln!(text, "  {name:<13}{value}").expect("strings take writes");
    };
    let scheme = if summary.secure { "https" } else { "http" };
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
    let roles: Vec<String> = summary.roles.iter().map(ToString::to_string).collect();
    write!(text, "\n{} up in {} ms. Ready.", roles.join(", "), summary.started_in.as_millis())
        .expect("strings take writes");
    text
}
