//! ListFunctions.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lambfold_api::lambda::{FunctionConfiguration, ListFunctionsRequest, ListFunctionsResponse};
use lambfold_api::{CallContext, Fault, FunctionTarget};
use lambfold_types::{FunctionName, Qualifier};

use super::get::function;
use super::{render, versions};
use crate::faults;
use crate::service::Shared;

/// An effective page never has more (facts, Lambda API §1).
pub(super) const MOST_LISTED: usize = 50;

/// `MaxItems`, as far as a page goes.
pub(crate) fn page_size(max_items: Option<i32>) -> usize {
    max_items.and_then(|max| usize::try_from(max).ok()).unwrap_or(MOST_LISTED).clamp(1, MOST_LISTED)
}

/// Where a page ended: behind a function, or behind one version of it.
struct Position {
    name: FunctionName,
    version: Option<u64>,
}

impl Position {
    fn read(marker: &str) -> Result<Self, Fault> {
        let malformed = || faults::invalid_parameter("The Marker is malformed.");
        let text = URL_SAFE_NO_PAD.decode(marker).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let text = text.ok_or_else(malformed)?;
        let (name, version) = match text.split_once(':') {
            None => (&*text, None),
            Some((name, number)) => (name, Some(number.parse().map_err(|_| malformed())?)),
        };
        Ok(Self { name: name.parse().map_err(|()| malformed())?, version })
    }

    fn write(&self) -> String {
        let text = match self.version {
            None => self.name.to_string(),
            Some(number) => format!("{}:{number}", self.name),
        };
        URL_SAFE_NO_PAD.encode(text)
    }
}

pub(crate) async fn list(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: ListFunctionsRequest,
) -> Result<ListFunctionsResponse, Fault> {
    let max = page_size(input.max_items);
    let marker = input.marker.as_deref().filter(|marker| !marker.is_empty());
    let after = marker.map(Position::read).transpose()?;
    let mut found = if input.function_version.is_some() {
        versions(shared, ctx, after, max + 1).await?
    } else {
        functions(shared, ctx, after, max + 1).await?
    };
    let more = found.len() > max;
    found.truncate(max);
    let next_marker = found.last().filter(|_| more).map(|(at, _)| at.write());
    let functions: Vec<FunctionConfiguration> = found.into_iter().map(|(_, shown)| shown).collect();
    Ok(ListFunctionsResponse { next_marker, functions: Some(functions.into()) })
}

/// Functions as they are now, under their unqualified ARNs.
async fn functions(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    after: Option<Position>,
    max: usize,
) -> Result<Vec<(Position, FunctionConfiguration)>, Fault> {
    let (scope, after) = (ctx.scope.clone(), after.map(|at| at.name));
    let found = shared.store(move |store| store.functions(&scope, after.as_ref(), max)).await?;
    let shown = found.into_iter().map(|it| {
        let target = FunctionTarget { scope: it.scope, name: it.name, qualifier: None };
        let shown = render::item(&*shared.sealer, &target, &Qualifier::Latest, &it.record)?;
        Ok((Position { name: target.name, version: None }, shown))
    });
    shown.collect()
}

/// All versions of all functions, each under its qualified ARN.
async fn versions(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    after: Option<Position>,
    max: usize,
) -> Result<Vec<(Position, FunctionConfiguration)>, Fault> {
    let target = |name| FunctionTarget { scope: ctx.scope.clone(), name, qualifier: None };
    let mut found = Vec::new();
    let mut last = None;
    if let Some(Position { name, version }) = after {
        // The one in the middle of which the page before ended.
        let begun = target(name.clone());
        if let Some(record) = function(shared, &begun).await?.filter(|_| version.is_some()) {
            let rest = versions::all_of(shared, &begun, record, version, max).await?;
            found.extend(rest.into_iter().map(|it| (name.clone(), it)));
        }
        last = Some(name);
    }
    while found.len() < max {
        let (scope, behind) = (ctx.scope.clone(), last.clone());
        let page = shared.store(move |store| store.functions(&scope, behind.as_ref(), MOST_LISTED)).await?;
        let Some(end) = page.last() else { break };
        last = Some(end.name.clone());
        for it in page {
            if found.len() >= max {
                break;
            }
            let all = versions::all_of(shared, &target(it.name.clone()), it.record, None, max - found.len())
                .await?;
            found.extend(all.into_iter().map(|version| (it.name.clone(), version)));
        }
    }
    let shown = found.into_iter().map(|(name, (version, record))| {
        let target = FunctionTarget { qualifier: Some(version.clone()), ..target(name.clone()) };
        let shown = render::item(&*shared.sealer, &target, &version, &record)?;
        Ok((Position { name, version: Some(versions::number(&version)) }, shown))
    });
    shown.collect()
}
