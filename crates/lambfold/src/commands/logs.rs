//! `lambfold logs`: what a function logged, and what it logs.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use http::Method;
use lambfold_benches::target::pause;
use lambfold_client::{Connection, Credentials, Endpoint, Error};
use lambfold_clock::SystemClock;
use lambfold_types::{Clock, Timestamp};
use serde_json::{Value, json};

use crate::cli::LogsOptions;

/// Between looks at whether there is more, in milliseconds.
const REST_MS: u64 = 250;
/// Events of different environments arrive in an order of their own: how far back each look goes.
const OVERLAP: Duration = Duration::from_secs(5);

/// Prints the log, and with `--follow` goes on until it is interrupted.
pub(crate) fn run(options: &LogsOptions) -> anyhow::Result<()> {
    super::block_on(show(options))
}

async fn show(options: &LogsOptions) -> anyhow::Result<()> {
    let clock = Arc::new(SystemClock::new());
    let mut from = clock.now() - parse_duration(&options.since)?;
    let endpoint: Endpoint = options.endpoint.as_str().into();
    let credentials = Credentials { access_key_id: options.account.clone(), ..Credentials::default() };
    let mut aws = Connection::new(&endpoint, &credentials, &options.region, clock);
    let mut source = Source::of(&mut aws, options).await?;
    loop {
        let found = source.print_since(&mut aws, from).await;
        match found {
            Ok(Some(last)) => from = from.max(last - OVERLAP),
            Ok(None) => {}
            // Nothing was logged yet.
            Err(Error::Service { code, .. }) if code == "ResourceNotFoundException" => {
                if !options.follow {
                    bail!("{} has no log yet in {} ({})", options.function, options.region, options.account);
                }
            }
            Err(error) if is_end(&error) => return Ok(()),
            Err(error) => return Err(error).context("read the log"),
        }
        if !options.follow {
            return Ok(());
        }
        source.forget_before(from);
        pause(REST_MS).await;
    }
}

/// Whether whoever read the output has gone.
fn is_end(error: &Error) -> bool {
    matches!(error, Error::Connect(_, source) if source.kind() == ErrorKind::BrokenPipe)
}

/// Where the lines of a function are.
struct Source {
    group: String,
    /// In a group that several functions share: what its stream names contain.
    stream_part: Option<String>,
    filter: Option<String>,
    /// What has been shown, by time and id.
    shown: BTreeSet<(i64, String)>,
}

impl Source {
    async fn of(aws: &mut Connection, options: &LogsOptions) -> anyhow::Result<Self> {
        let name = &options.function;
        let path = format!("/2015-03-31/functions/{name}/configuration");
        let own = format!("/aws/lambda/{name}");
        let group = match aws.lambda(Method::GET, &path, None).await {
            Ok(found) => found["LoggingConfig"]["LogGroup"].as_str().map_or(own.clone(), str::to_owned),
            // A function that is gone may have left its log.
            Err(Error::Service { status: 404, .. }) => own.clone(),
            Err(error) => return Err(error).context("look up the function"),
        };
        let stream_part = (group != own).then(|| format!("/{name}["));
        Ok(Self { group, stream_part, filter: options.filter.clone(), shown: BTreeSet::new() })
    }

    /// Prints what is new; the time of the last event that there is.
    async fn print_since(
        &mut self,
        aws: &mut Connection,
        from: Timestamp,
    ) -> Result<Option<Timestamp>, Error> {
        let mut last = None;
        let mut token = Value::Null;
        loop {
            let mut input = json!({ "logGroupName": self.group, "startTime": from.millis().max(0) });
            if let Some(filter) = &self.filter {
                input["filterPattern"] = filter.as_str().into();
            }
            if !token.is_null() {
                input["nextToken"] = token;
            }
            let mut page = aws.logs("FilterLogEvents", &input).await?;
            for event in page["events"].as_array().into_iter().flatten() {
                let time = event["timestamp"].as_i64().unwrap_or_default();
                last = last.max(Some(Timestamp::from_millis(time)));
                self.print(event, time).map_err(|error| Error::Connect("the output".to_owned(), error))?;
            }
            token = page["nextToken"].take();
            if token.is_null() {
                return Ok(last);
            }
        }
    }

    fn print(&mut self, event: &Value, time: i64) -> std::io::Result<()> {
        let text = |name: &str| event[name].as_str().unwrap_or_default();
        let wanted =
            self.stream_part.as_ref().is_none_or(|part| text("logStreamName").contains(part.as_str()));
        if !wanted || !self.shown.insert((time, text("eventId").to_owned())) {
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        let when = Timestamp::from_millis(time).utc("%Y-%m-%dT%H:%M:%S%.3fZ");
        writeln!(out, "{when} {}", text("message").trim_end())?;
        out.flush()
    }

    fn forget_before(&mut self, time: Timestamp) {
        self.shown = self.shown.split_off(&(time.millis(), String::new()));
    }
}

fn parse_duration(text: &str) -> anyhow::Result<Duration> {
    let split = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 =
        number.parse().with_context(|| format!("{text:?} is no time: use 30s, 10m, 2h or 1d"))?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => bail!("{text:?} is no time: use 30s, 10m, 2h or 1d"),
    };
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        for (text, seconds) in [("30s", 30), ("10m", 600), ("2h", 7200), ("1d", 86_400)] {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_secs(seconds));
        }
        for wrong in ["", "10", "m", "1w", "-1s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
