//! DeleteFunction. Event source mappings stay, as on AWS.

use std::sync::Arc;

use lambfold_api::lambda::{DeleteFunctionRequest, DeleteFunctionResponse};
use lambfold_api::{CallContext, Fault, FunctionTarget};
use lambfold_types::Qualifier;

use super::get::find;
use crate::faults;
use crate::service::Shared;
use crate::store::Decision;

pub(crate) async fn delete(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: DeleteFunctionRequest,
) -> Result<DeleteFunctionResponse, Fault> {
    let target =
        FunctionTarget::read(ctx, &input.function_name.unwrap_or_default(), input.qualifier.as_deref())?;
    match &target.qualifier {
        None => {}
        Some(Qualifier::Latest) => {
            return Err(faults::invalid_parameter(
                "$LATEST version cannot be deleted without deleting the function.",
            ));
        }
        // A version that an existing function does not have: nothing to delete, and no error (facts §4).
        Some(_) => {
            find(shared, &FunctionTarget { qualifier: None, ..target }).await?;
            return Ok(deleted());
        }
    }
    let (scope, name) = (target.scope.clone(), target.name.clone());
    let found =
        shared.change(move |store| store.edit_function(&scope, &name, &mut |_| Decision::Remove)).await?;
    if found { Ok(deleted()) } else { Err(target.not_found()) }
}

fn deleted() -> DeleteFunctionResponse {
    DeleteFunctionResponse { status_code: Some(204) }
}
