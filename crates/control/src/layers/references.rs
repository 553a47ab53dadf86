//! `Layers` of a function: which layer versions it may have, and together with which code (facts, Lambda API §16).

use std::sync::Arc;

use lambfold_api::lambda::LayerList;
use lambfold_api::{CallContext, Fault};

use super::get::find;
use super::permissions;
use super::target::read_version_arn;
use crate::faults;
use crate::record::{Configuration, FunctionLayer};
use crate::service::Shared;

const MOST_LAYERS: usize = 5;

/// What code and layers may have together, unzipped, in bytes.
const MOST_UNZIPPED_BYTES: u64 = 262_144_000;

/// The layer versions that a request gives, in its order; `None` where it gives none.
pub(crate) async fn resolve(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    given: Option<&LayerList>,
) -> Result<Option<Vec<FunctionLayer>>, Fault> {
    let Some(given) = given else { return Ok(None) };
    if given.len() > MOST_LAYERS {
        return Err(faults::invalid_parameter(format!("Cannot reference more than {MOST_LAYERS} layers.")));
    }
    let mut layers: Vec<FunctionLayer> = Vec::new();
    for arn in given.iter() {
        let (target, version) = read_version_arn(arn)?;
        if target.scope.region != ctx.scope.region {
            return Err(faults::invalid_parameter(format!(
                "Layers are not in the same region as the function. Layers are expected to be in region {}.",
                ctx.scope.region
            )));
        }
        let of_layer = format!("{}:", target.arn());
        if let Some(twin) = layers.iter().find(|layer| layer.arn.starts_with(&of_layer)) {
            return Err(faults::invalid_parameter(format!(
                "Two different versions of the same layer are not allowed to be referenced in the same function. {} and \
                 {arn} are versions of the same layer.",
                twin.arn
            )));
        }
        let found = find(shared, &target, version).await?;
        if target.scope.account != ctx.scope.account {
            permissions::check(ctx, &target, version, found.as_ref())?;
        }
        let record =
            found.ok_or_else(|| faults::invalid_parameter(format!("Layer version {arn} does not exist.")))?;
        layers.push(FunctionLayer { arn: target.version_arn(version), package: record.package });
    }
    Ok(Some(layers))
}

/// Whether code and layers are small enough together.
pub(crate) fn fits(configuration: &Configuration) -> Result<(), Fault> {
    let layers: u64 = configuration.layers.iter().map(|layer| layer.package.unzipped_bytes).sum();
    let together = layers + configuration.unzipped_bytes;
    if layers > MOST_UNZIPPED_BYTES {
        return Err(faults::invalid_parameter(format!(
            "Layers consume more than the available size of {MOST_UNZIPPED_BYTES} bytes"
        )));
    }
    if layers > 0 && together > MOST_UNZIPPED_BYTES {
        return Err(faults::invalid_parameter(format!(
            "Function code combined with layers exceeds the maximum allowed size of {MOST_UNZIPPED_BYTES} bytes. The actual \
             size is {together} bytes."
        )));
    }
    Ok(())
}
