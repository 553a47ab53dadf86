//! Queue URLs: every form that AWS and its emulators ever handed out, and bare names (facts, SQS §1.3).

use lambfold_api::{CallContext, Fault};
use lambfold_types::{AccountId, QueueName, Region, Scope, cut, cut_last};

use super::faults;

/// The URL of a queue as the caller reaches it.
pub(crate) fn render(ctx: &CallContext, scope: &Scope, name: &QueueName) -> String {
    format!("{}/{}/{name}", ctx.endpoint, scope.account)
}

/// Which queue a `QueueUrl` means: account from the path, region from the path or host if it carries one, else both
/// from the caller's signature. Whatever host it names, the queue is ours. The host that the caller reached us by says
/// nothing of a region: such URLs are those that [`render`] gave to callers of whatever region.
pub(crate) fn parse(ctx: &CallContext, url: &str) -> Result<(Scope, QueueName), Fault> {
    if url.is_empty() {
        return Err(faults::no_such_queue());
    }
    // A scheme has no colon; what is no URL has no host.
    let (host, path) = match cut(url, b':').and_then(|(_, rest)| rest.strip_prefix("//")) {
        Some(rest) => cut(rest, b'/').unwrap_or((rest, "")),
        None => ("", url),
    };
    let path = cut(path, b'?').map_or(path, |(path, _)| path);
    let path = cut(path, b'#').map_or(path, |(path, _)| path);
    let mut rest = path;
    let from_the_end = std::iter::from_fn(|| {
        let (before, segment) = (!rest.is_empty()).then(|| cut_last(rest, b'/').unwrap_or(("", rest)))?;
        rest = before;
        Some(segment)
    });
    let mut segments = from_the_end.filter(|segment| !segment.is_empty());
    let Some(name) = segments.next() else {
        return Err(faults::invalid_address(url));
    };
    let name = name.parse().map_err(|_| faults::no_such_queue())?;
    let account: Option<AccountId> = segments.next().and_then(|account| account.parse().ok());
    // LocalStack's `path` strategy: /queue/<region>/<account>/<name>
    let in_path =
        segments.next().filter(|_| segments.next() == Some("queue")).and_then(|region| region.parse().ok());
    let elsewhere = Some(host).filter(|host| !ctx.endpoint.is_at(host));
    let region =
        in_path.or_else(|| elsewhere.and_then(region_of_host)).unwrap_or_else(|| ctx.scope.region.clone());
    Ok((Scope { account: account.unwrap_or(ctx.scope.account), region }, name))
}

/// `sqs.<region>.…`, `sqs-fips.<region>.…`, `<endpoint>.sqs.<region>.vpce.…`, `<region>.queue.…`; the legacy
/// `queue.amazonaws.com` is us-east-1.
fn region_of_host(host: &str) -> Option<Region> {
    let host = host.split(':').next()?;
    let labels: Vec<&str> = host.split('.').collect();
    if let ["queue", "amazonaws", ..] = labels[..] {
        return Some(Region::default_region());
    }
    labels.windows(2).find_map(|pair| match *pair {
        ["sqs" | "sqs-fips", region] | [region, "queue"] if is_aws_region(region) => region.parse().ok(),
        _ => None,
    })
}

/// `us-east-1`, `us-gov-west-1`: three parts or more, of which the last is a number. Other labels with hyphens are
/// names of hosts.
fn is_aws_region(label: &str) -> bool {
    let mut parts = label.rsplit('-');
    let number =
        parts.next().is_some_and(|last| !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()));
    let words: Vec<&str> = parts.collect();
    let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    number && words.len() >= 2 && words.iter().all(is_word)
}

#[cfg(test)]
mod tests {
    use lambfold_api::Endpoint;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn every_form_finds_its_queue() {
        let ctx = CallContext::internal(
            "123456789012/eu-west-1".split_once('/').map_or_else(Scope::default, |it| Scope {
                account: it.0.parse().unwrap(),
                region: it.1.parse().unwrap(),
            }),
            Uuid::nil(),
        );
        for (url, found) in [
            ("jobs", "123456789012/eu-west-1"),
            ("/000000000000/jobs", "000000000000/eu-west-1"),
            ("http://localhost:4566/000000000000/jobs", "000000000000/eu-west-1"),
            ("http://any.host/000000000000/jobs/", "000000000000/eu-west-1"),
            ("https://sqs.us-west-2.amazonaws.com/000000000000/jobs", "000000000000/us-west-2"),
            (
                "http://sqs.us-west-2.localhost.localstack.cloud:4566/000000000000/jobs",
                "000000000000/us-west-2",
            ),
            ("https://us-west-2.queue.amazonaws.com/000000000000/jobs", "000000000000/us-west-2"),
            ("https://queue.amazonaws.com/000000000000/jobs", "000000000000/us-east-1"),
            ("https://sqs-fips.us-gov-west-1.amazonaws.com/000000000000/jobs", "000000000000/us-gov-west-1"),
            (
                "https://vpce-0a-b.sqs.us-west-2.vpce.amazonaws.com/000000000000/jobs",
                "000000000000/us-west-2",
            ),
            ("http://sqs.my-namespace.svc.cluster.local:4566/000000000000/jobs", "000000000000/eu-west-1"),
            ("http://sqs.dev-1.internal/000000000000/jobs", "000000000000/eu-west-1"),
            ("http://my-host.queue.local/000000000000/jobs", "000000000000/eu-west-1"),
            ("http://localhost/queue/us-west-2/000000000000/jobs", "000000000000/us-west-2"),
            ("http://localhost:9324/queue/jobs", "123456789012/eu-west-1"),
            ("localhost:4566/000000000000/jobs", "000000000000/eu-west-1"),
            ("http://[::1]:4566//000000000000//jobs?a=b/c#d/e", "000000000000/eu-west-1"),
            ("/000000000000/jobs#a?b/c", "000000000000/eu-west-1"),
        ] {
            let (scope, name) = parse(&ctx, url).unwrap();
            assert_eq!((scope.to_string().as_str(), name.as_str()), (found, "jobs"), "{url}");
        }
        // A URL that we gave is of the region of whoever got it.
        let reached = Endpoint::new("http", "sqs.us-west-2.localhost:4566").unwrap();
        let ctx = CallContext { endpoint: reached, ..ctx };
        for host in ["http://sqs.us-west-2.localhost:4566", "https://SQS.us-west-2.localhost:4566"] {
            let (scope, _) = parse(&ctx, &format!("{host}/000000000000/jobs")).unwrap();
            assert_eq!(scope.region.as_str(), "eu-west-1");
        }
        for url in ["", "http://localhost/000000000000/no good", "http://h/1/a.b"] {
            assert_eq!(parse(&ctx, url), Err(faults::no_such_queue()), "{url}");
        }
        for url in ["/", "http://localhost:4566"] {
            let fault = parse(&ctx, url).unwrap_err();
            let told = (fault.query_code(), fault.http_status(), fault.message());
            let words = format!("The address {url} is not valid for this endpoint.");
            assert_eq!(told, ("InvalidAddress", 404, words.as_str()));
        }
    }
}
