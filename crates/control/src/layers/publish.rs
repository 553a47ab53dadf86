//! PublishLayerVersion.

use std::sync::Arc;

use lambfold_api::lambda::{
    GetLayerVersionResponse, LayerVersionContentInput, PublishLayerVersionRequest,
    PublishLayerVersionResponse,
};
use lambfold_api::{CallContext, Fault};

use super::render;
use super::target::LayerTarget;
use crate::functions::timestamp;
use crate::record::{FORMAT, LayerPackage, LayerVersionRecord};
use crate::service::Shared;
use crate::{faults, packages, sweep};

pub(crate) async fn publish(
    shared: &Arc<Shared>,
    ctx: &CallContext,
    input: PublishLayerVersionRequest,
) -> Result<PublishLayerVersionResponse, Fault> {
    let target = LayerTarget::read(ctx, &input.layer_name.unwrap_or_default())?.owned_by(ctx)?;
    let zip = content(input.content.unwrap_or_default())?;
    let stored = packages::check(zip.clone()).await?;
    let _held = sweep::hold(shared, &[]).await?;
    packages::put(&shared.objects, &stored, zip).await?;
    let record = LayerVersionRecord {
        format: FORMAT,
        description: input.description.unwrap_or_default(),
        created_date: timestamp(shared.clock.now()),
        license_info: input.license_info,
        compatible_runtimes: input.compatible_runtimes.map(|it| it.to_vec()),
        compatible_architectures: input.compatible_architectures.map(|it| it.to_vec()),
        package: LayerPackage {
            code_sha256: stored.sha256,
            code_size: stored.size,
            unzipped_bytes: stored.unzipped_bytes,
        },
        revision_id: shared.uuid(),
        permissions: Vec::new(),
    };
    let (scope, name, kept) = (target.scope.clone(), target.name.clone(), record.clone());
    let version = shared.store(move |store| store.publish_layer_version(&scope, &name, &kept)).await?;
    let GetLayerVersionResponse {
        content,
        layer_arn,
        layer_version_arn,
        description,
        created_date,
        version,
        compatible_runtimes,
        license_info,
        compatible_architectures,
    } = render::whole(ctx, &target, version, record);
    Ok(PublishLayerVersionResponse {
        content,
        layer_arn,
        layer_version_arn,
        description,
        created_date,
        version,
        compatible_runtimes,
        license_info,
        compatible_architectures,
    })
}

fn content(content: LayerVersionContentInput) -> Result<bytes::Bytes, Fault> {
    if content.s3_bucket.is_some() || content.s3_key.is_some() {
        return Err(faults::not_supported("code from S3 (Content.S3Bucket)"));
    }
    content.zip_file.ok_or_else(|| faults::invalid_parameter("Please provide a source for layer content."))
}
