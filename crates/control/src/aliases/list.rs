//! ListAliases.

use std::ops::Bound;
use std::sync::Arc;

use lambfold_api::lambda::{ListAliasesRequest, ListAliasesResponse};
use lambfold_api::{CallContext, Fault};

use super::render;
use crate::functions;
use crate::service::Shared;

pub(crate) async fn list(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: ListAliasesRequest,
) -> Result<ListAliasesResponse, Fault> {
    let target = functions::whole(ctx, input.function_name)?;
    let record = functions::function(shared, &target).await?.ok_or_else(|| target.not_found())?;
    let max = functions::page_size(input.max_items);
    let after = match input.marker.as_deref().filter(|marker| !marker.is_empty()) {
        None => Bound::Unbounded,
        Some(name) => Bound::Excluded(name),
    };
    let version = input.function_version.as_deref();
    let behind = record.aliases.range::<str, _>((after, Bound::Unbounded));
    let mut matching = behind.filter(|(_, alias)| {
        version
            .is_none_or(|version| version == alias.version || version.parse().is_ok_and(|it| alias.uses(it)))
    });
    let page: Vec<_> = matching.by_ref().take(max).collect();
    let next_marker = page.last().filter(|_| matching.next().is_some()).map(|(name, _)| (*name).clone());
    let shown: Vec<_> = page.iter().map(|(name, alias)| render(&target, name, alias)).collect();
    Ok(ListAliasesResponse { next_marker, aliases: Some(shown.into()) })
}
