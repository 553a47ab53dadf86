//! Queue URLs.

use lambfold_api::CallContext;
use lambfold_queue::untrusted::{read_queue_url, write_queue_url};
use lambfold_types::Scope;
use uuid::Uuid;

pub(crate) fn run(data: &[u8]) {
    let Ok(url) = std::str::from_utf8(data) else { return };
    let here = CallContext::internal(Scope::default(), Uuid::nil());
    let Some((scope, name)) = read_queue_url(&here, url) else { return };
    // The URL that we would give it leads there, for whoever asks in that region.
    let asker = Scope { region: scope.region.clone(), ..Scope::default() };
    let there = CallContext::internal(asker, Uuid::nil());
    let ours = write_queue_url(&there, &scope, &name);
    assert_eq!(read_queue_url(&there, &ours), Some((scope, name)), "{url} and {ours}");
}
