//! Layer versions as the API shows them.

use lambfold_api::CallContext;
use lambfold_api::lambda::{GetLayerVersionResponse, LayerVersionContentOutput, LayerVersionsListItem};

use super::target::LayerTarget;
use crate::packages;
use crate::record::LayerVersionRecord;

/// A layer version with a link to its archive.
pub(super) fn whole(
    ctx: &CallContext,
    target: &LayerTarget,
    version: u64,
    record: LayerVersionRecord,
) -> GetLayerVersionResponse {
    let package = &record.package;
    GetLayerVersionResponse {
        content: Some(LayerVersionContentOutput {
            location: Some(packages::link(ctx, &package.code_sha256)),
            code_sha256: Some(package.code_sha256.clone()),
            code_size: i64::try_from(package.code_size).ok(),
            ..LayerVersionContentOutput::default()
        }),
        layer_arn: Some(target.arn()),
        layer_version_arn: Some(target.version_arn(version)),
        description: Some(record.description),
        created_date: Some(record.created_date),
        version: i64::try_from(version).ok(),
        compatible_runtimes: record.compatible_runtimes.map(Into::into),
        license_info: record.license_info,
        compatible_architectures: record.compatible_architectures.map(Into::into),
    }
}

/// A layer version in a list.
pub(super) fn item(target: &LayerTarget, version: u64, record: LayerVersionRecord) -> LayerVersionsListItem {
    LayerVersionsListItem {
        layer_version_arn: Some(target.version_arn(version)),
        version: i64::try_from(version).ok(),
        description: Some(record.description),
        created_date: Some(record.created_date),
        compatible_runtimes: record.compatible_runtimes.map(Into::into),
        license_info: record.license_info,
        compatible_architectures: record.compatible_architectures.map(Into::into),
    }
}
