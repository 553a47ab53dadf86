//! What an extension asks for: `PUT /2022-07-01/telemetry`, or `PUT /2020-08-15/logs` in its older words (AWS: Lambda
//! Telemetry API reference; Using the Lambda Logs API).

use std::time::Duration;

use serde::Deserialize;

/// Which of the two an extension speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    Telemetry,
    Logs,
}

impl Api {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Telemetry => "Telemetry",
            Self::Logs => "Logs",
        }
    }

    /// By path; both are asked with `PUT`.
    pub(crate) fn parse(method: &str, path: &str) -> Option<Self> {
        if method != "PUT" {
            return None;
        }
        // AWS's own examples have it with a slash at the end, too.
        match path.strip_suffix('/').unwrap_or(path) {
            "/2022-07-01/telemetry" => Some(Self::Telemetry),
            "/2020-08-15/logs" => Some(Self::Logs),
            _ => None,
        }
    }
}

/// In whose shape events come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Schema {
    /// Telemetry API, 2022-07-01: what is printed is text.
    Text,
    /// Telemetry API since 2022-12-13: what is printed is an object where a function logs JSON.
    Objects,
    /// Logs API, 2020-08-15.
    Logs,
    /// Logs API since 2021-03-18: it tells when the runtime is done.
    LogsWithRuntimeDone,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Platform,
    Function,
    Extension,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Function => "function",
            Self::Extension => "extension",
        }
    }
}

/// Where events go, at the sandbox's loopback interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// JSON arrays.
    Http { host: String, port: u16, path: String, put: bool },
    /// A line of JSON each.
    Tcp { port: u16 },
}

/// When what is gathered is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Buffering {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
    pub(crate) timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) api: Api,
    pub(crate) schema: Schema,
    /// Without repetition, in the order given.
    pub(crate) types: Vec<Kind>,
    pub(crate) buffering: Buffering,
    pub(crate) destination: Destination,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    schema_version: Option<String>,
    types: Option<Vec<String>>,
    buffering: Option<BufferingBody>,
    destination: Option<DestinationBody>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BufferingBody {
    max_items: Option<i64>,
    max_bytes: Option<i64>,
    timeout_ms: Option<i64>,
}

#[derive(Deserialize)]
struct DestinationBody {
    protocol: Option<String>,
    #[serde(rename = "URI")]
    uri: Option<String>,
    port: Option<i64>,
    /// Of the Logs API.
    method: Option<String>,
    encoding: Option<String>,
}

impl Subscription {
    /// From a request's body; or all that is wrong with it, as AWS tells it: in one sentence.
    pub(crate) fn parse(api: Api, body: &[u8]) -> Result<Self, String> {
        let body: Body =
            serde_json::from_slice(body).map_err(|error| format!("invalid request body: {error}"))?;
        let mut wrong = Vec::new();
        let schema = schema(api, body.schema_version.as_deref(), &mut wrong);
        let destination = if let Some(destination) = body.destination {
            destination.check(&mut wrong)
        } else {
            wrong.push("destination should not be empty".to_owned());
            None
        };
        let types = types(&body.types.unwrap_or_default(), &mut wrong);
        let buffering = body.buffering.unwrap_or_default().check(&mut wrong);
        match (schema, destination) {
            (Some(schema), Some(destination)) if wrong.is_empty() => {
                Ok(Self { api, schema, types, buffering, destination })
            }
            _ => Err(wrong.join("; ")),
        }
    }

    pub(crate) fn wants(&self, kind: Kind) -> bool {
        self.types.contains(&kind)
    }
}

fn schema(api: Api, version: Option<&str>, wrong: &mut Vec<String>) -> Option<Schema> {
    let found = match (api, version) {
        (Api::Telemetry, Some("2022-07-01")) => Some(Schema::Text),
        (Api::Telemetry, Some("2022-12-13" | "2025-01-29")) => Some(Schema::Objects),
        (Api::Telemetry, None) => {
            wrong.push("schemaVersion should not be empty".to_owned());
            return None;
        }
        (Api::Logs, None | Some("2020-08-15")) => Some(Schema::Logs),
        (Api::Logs, Some("2021-03-18")) => Some(Schema::LogsWithRuntimeDone),
        _ => None,
    };
    if found.is_none() {
        wrong.push("schemaVersion is not supported".to_owned());
    }
    found
}

fn types(names: &[String], wrong: &mut Vec<String>) -> Vec<Kind> {
    let mut types = Vec::new();
    if names.is_empty() {
        wrong.push("types should not be empty".to_owned());
    }
    for name in names {
        let known =
            [Kind::Platform, Kind::Function, Kind::Extension].into_iter().find(|it| it.as_str() == name);
        match known {
            Some(kind) if types.contains(&kind) => {}
            Some(kind) => types.push(kind),
            None => {
                wrong.push("types should be platform, function or extension".to_owned());
                break;
            }
        }
    }
    types
}

impl BufferingBody {
    fn check(self, wrong: &mut Vec<String>) -> Buffering {
        let mut within = |name, given: Option<i64>, default: u32, least: u32, most: u32| {
            let value = given.unwrap_or(default.into());
            u32::try_from(value).ok().filter(|value| (least..=most).contains(value)).unwrap_or_else(|| {
                wrong.push(format!("{name} should be between {least} and {most}"));
                default
            })
        };
        let items = within("maxItems", self.max_items, 10_000, 1000, 10_000);
        let bytes = within("maxBytes", self.max_bytes, 262_144, 262_144, 1_048_576);
        let timeout = within("timeoutMs", self.timeout_ms, 1000, 25, 30_000);
        Buffering {
            items: items as usize,
            bytes: bytes as usize,
            timeout: Duration::from_millis(timeout.into()),
        }
    }
}

impl DestinationBody {
    fn check(self, wrong: &mut Vec<String>) -> Option<Destination> {
        if self.encoding.is_some_and(|encoding| encoding != "JSON") {
            wrong.push("encoding should be JSON".to_owned());
        }
        let found = match self.protocol.as_deref() {
            Some("HTTP") => {
                let put = match self.method.as_deref() {
                    None | Some("POST") => Ok(false),
                    Some("PUT") => Ok(true),
                    Some(_) => Err("method should be POST or PUT"),
                };
                put.and_then(|put| http(self.uri.as_deref().unwrap_or_default(), put))
            }
            Some("TCP") => match self.port.map(u16::try_from) {
                Some(Ok(port)) if port > 0 => Ok(Destination::Tcp { port }),
                Some(_) => Err("port should be between 1 and 65535"),
                None => Err("port is not provided"),
            },
            _ => Err("protocol should be HTTP or TCP"),
        };
        found.map_err(|problem| wrong.push(problem.to_owned())).ok()
    }
}

fn http(uri: &str, put: bool) -> Result<Destination, &'static str> {
    if uri.is_empty() {
        return Err("URI is not provided");
    }
    let uri: http::Uri = uri.parse().map_err(|_| "URI is not valid")?;
    if uri.scheme_str() != Some("http") {
        return Err("URI scheme should be http");
    }
    let host = uri.host().unwrap_or_default();
    if host != "sandbox.localdomain" && host != "sandbox" {
        return Err("URI host should be sandbox.localdomain");
    }
    let port = uri.port_u16().filter(|port| *port > 0).ok_or("URI port is not provided")?;
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    Ok(Destination::Http { host: host.to_owned(), port, path: path.to_owned(), put })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(api: Api, body: &str) -> Result<Subscription, String> {
        Subscription::parse(api, body.as_bytes())
    }

    #[test]
    fn what_is_left_out_has_awss_defaults() {
        let body = r#"{"schemaVersion":"2022-12-13","types":["platform","function","platform"],
            "destination":{"protocol":"HTTP","URI":"http://sandbox.localdomain:8080/a?b"}}"#;
        let it = parse(Api::Telemetry, body).unwrap();
        assert_eq!(
            (it.schema, it.types.as_slice()),
            (Schema::Objects, &[Kind::Platform, Kind::Function][..])
        );
        let buffering = Buffering { items: 10_000, bytes: 262_144, timeout: Duration::from_secs(1) };
        assert_eq!(it.buffering, buffering);
        let (host, path) = ("sandbox.localdomain".to_owned(), "/a?b".to_owned());
        assert_eq!(it.destination, Destination::Http { host, port: 8080, path, put: false });
        let body = r#"{"types":["extension"],"destination":{"protocol":"TCP","port":1},
            "buffering":{"maxItems":1000,"timeoutMs":25}}"#;
        let it = parse(Api::Logs, body).unwrap();
        assert_eq!(
            (it.schema, it.destination, it.buffering.items),
            (Schema::Logs, Destination::Tcp { port: 1 }, 1000)
        );
        assert!(parse(Api::Telemetry, body).unwrap_err().contains("schemaVersion"));
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once() {
        let body = r#"{"schemaVersion":"2022-07-01","types":[],"destination":{"protocol":"HTTP","URI":"http://sandbox"}}"#;
        assert_eq!(
            parse(Api::Telemetry, body).unwrap_err(),
            "URI port is not provided; types should not be empty"
        );
        let with = |destination: &str, buffering: &str| {
            let body = format!(
                r#"{{"schemaVersion":"2022-07-01","types":["platform"],"destination":{destination},"buffering":{buffering}}}"#
            );
            parse(Api::Telemetry, &body).unwrap_err()
        };
        let good = r#"{"protocol":"TCP","port":5}"#;
        for (destination, buffering, said) in [
            (r#"{"protocol":"HTTP","URI":"http://localhost:1"}"#, "{}", "URI host"),
            (r#"{"protocol":"HTTP","URI":"https://sandbox:1"}"#, "{}", "URI scheme"),
            (r#"{"protocol":"UDP","port":1}"#, "{}", "protocol"),
            (r#"{"protocol":"TCP","port":65536}"#, "{}", "port should"),
            (good, r#"{"maxItems":999}"#, "maxItems should be between 1000 and 10000"),
            (good, r#"{"maxBytes":1048577}"#, "maxBytes"),
            (good, r#"{"timeoutMs":24}"#, "timeoutMs should be between 25 and 30000"),
            (good, "[]x", "invalid request body"),
        ] {
            let text = with(destination, buffering);
            assert!(text.starts_with(said), "{text}");
        }
        for body in ["", "[]", "{}", r#"{"types":["x"]}"#] {
            assert!(parse(Api::Logs, body).is_err());
        }
    }

    #[test]
    fn paths_are_told_apart() {
        assert_eq!(Api::parse("PUT", "/2022-07-01/telemetry/"), Some(Api::Telemetry));
        assert_eq!(Api::parse("PUT", "/2020-08-15/logs"), Some(Api::Logs));
        assert_eq!(Api::parse("POST", "/2020-08-15/logs"), None);
    }
}
