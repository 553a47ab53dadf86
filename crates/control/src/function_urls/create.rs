//! CreateFunctionUrlConfig.

use std::collections::btree_map::Entry;
use std::sync::Arc;

use lambfold_api::lambda::{CreateFunctionUrlConfigRequest, CreateFunctionUrlConfigResponse};
use lambfold_api::{CallContext, Fault};
use lambfold_types::Entropy;

use super::{UrlTarget, has, no_function, render};
use crate::activation::heard;
use crate::faults;
use crate::record::FunctionUrl;
use crate::service::Shared;
use crate::store::Decision;

/// Enough for 160 random bits, five in each.
const ID_LENGTH: usize = 32;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

pub(crate) async fn create(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: CreateFunctionUrlConfigRequest,
) -> Result<CreateFunctionUrlConfigResponse, Fault> {
    let target = UrlTarget::read(ctx, input.function_name, input.qualifier.as_deref())?;
    let arn = target.arn();
    let now = render::timestamp(shared.clock.now());
    let url = FunctionUrl {
        url_id: url_id(&*shared.entropy),
        auth_type: input.auth_type.unwrap_or_default(),
        invoke_mode: input.invoke_mode.clone().unwrap_or_else(|| render::BUFFERED.to_owned()),
        cors: input.cors.and_then(render::read_cors),
        created: now.clone(),
        last_modified: now,
    };
    let exists = faults::conflict(format!(
        "Failed to create function url config for [functionArn = {arn}]. Error message:  FunctionUrlConfig exists for \
         this Lambda function"
    ));
    let created = url.clone();
    let outcome = shared.change(move |store| {
        let mut outcome = Err(no_function());
        let UrlTarget { function, qualifier } = &target;
        store.edit_function(&function.scope, &function.name, &mut |record| {
            if !has(record, qualifier) {
                return Decision::Leave;
            }
            match record.urls.entry(qualifier.clone()) {
                Entry::Occupied(_) => {
                    outcome = Err(exists.clone());
                    Decision::Leave
                }
                Entry::Vacant(place) => {
                    place.insert(url.clone());
                    outcome = Ok(());
                    Decision::Keep
                }
            }
        })?;
        Ok(outcome)
    });
    outcome.await??;
    heard(shared).await;
    Ok(CreateFunctionUrlConfigResponse {
        function_url: Some(render::url(ctx, &created.url_id)),
        function_arn: Some(arn),
        auth_type: Some(created.auth_type),
        cors: created.cors.map(render::cors),
        creation_time: Some(created.created),
        // As on AWS: told only to who asked for one.
        invoke_mode: input.invoke_mode,
    })
}

fn url_id(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; ID_LENGTH];
    entropy.fill(&mut bytes);
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}
