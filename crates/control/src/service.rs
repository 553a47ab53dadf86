//! The service: its parts, and the Lambda and Control APIs on them.

use std::sync::Arc;

use bytes::Bytes;
use lambfold_api::control::{
    AcknowledgeMarkResponse, Control, Mark, ReportEventSourceMappingRequest,
    ReportEventSourceMappingResponse, ReportProvisionedConcurrencyRequest,
    ReportProvisionedConcurrencyResponse, ReportWorkerRequest, ReportWorkerResponse, WatchEvent,
    WatchRequest,
};
use lambfold_api::lambda::{
    AddLayerVersionPermissionRequest, AddLayerVersionPermissionResponse, AliasConfiguration, Concurrency,
    CreateAliasRequest, CreateEventSourceMappingRequest, CreateFunctionRequest,
    CreateFunctionUrlConfigRequest, CreateFunctionUrlConfigResponse, DeleteAliasRequest, DeleteAliasResponse,
    DeleteEventSourceMappingRequest, DeleteFunctionConcurrencyRequest, DeleteFunctionConcurrencyResponse,
    DeleteFunctionRequest, DeleteFunctionResponse, DeleteFunctionUrlConfigRequest,
    DeleteFunctionUrlConfigResponse, DeleteLayerVersionRequest, DeleteLayerVersionResponse,
    DeleteProvisionedConcurrencyConfigRequest, DeleteProvisionedConcurrencyConfigResponse,
    EventSourceMappingConfiguration, FunctionConfiguration, GetAliasRequest, GetEventSourceMappingRequest,
    GetFunctionCodeSigningConfigRequest, GetFunctionCodeSigningConfigResponse, GetFunctionConcurrencyRequest,
    GetFunctionConcurrencyResponse, GetFunctionConfigurationRequest, GetFunctionRequest, GetFunctionResponse,
    GetFunctionUrlConfigRequest, GetFunctionUrlConfigResponse, GetLayerVersionByArnRequest,
    GetLayerVersionPolicyRequest, GetLayerVersionPolicyResponse, GetLayerVersionRequest,
    GetLayerVersionResponse, GetProvisionedConcurrencyConfigRequest, GetProvisionedConcurrencyConfigResponse,
    Lambda, ListAliasesRequest, ListAliasesResponse, ListEventSourceMappingsRequest,
    ListEventSourceMappingsResponse, ListFunctionUrlConfigsRequest, ListFunctionUrlConfigsResponse,
    ListFunctionsRequest, ListFunctionsResponse, ListLayerVersionsRequest, ListLayerVersionsResponse,
    ListLayersRequest, ListLayersResponse, ListProvisionedConcurrencyConfigsRequest,
    ListProvisionedConcurrencyConfigsResponse, ListTagsRequest, ListTagsResponse,
    ListVersionsByFunctionRequest, ListVersionsByFunctionResponse, PublishLayerVersionRequest,
    PublishLayerVersionResponse, PublishVersionRequest, PutFunctionConcurrencyRequest,
    PutProvisionedConcurrencyConfigRequest, PutProvisionedConcurrencyConfigResponse,
    RemoveLayerVersionPermissionRequest, RemoveLayerVersionPermissionResponse, TagResourceRequest,
    TagResourceResponse, UntagResourceRequest, UntagResourceResponse, UpdateAliasRequest,
    UpdateEventSourceMappingRequest, UpdateFunctionCodeRequest, UpdateFunctionConfigurationRequest,
    UpdateFunctionUrlConfigRequest, UpdateFunctionUrlConfigResponse,
};
use lambfold_api::sqs::Sqs;
use lambfold_api::{BoxStream, CallContext, Fault};
use lambfold_image::{Images, Options as ImageOptions};
use lambfold_package::HotReload;
use lambfold_types::{Clock, Entropy, RunFuture, Sealer, uuid_v4};
use object_store::ObjectStore;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::activation::Activations;
use crate::audience::Audience;
use crate::concurrency::Allocations;
use crate::images::Pulls;
use crate::store::{ControlStore, StoreError};
use crate::workers::Workers;
use crate::{
    activation, aliases, concurrency, faults, function_urls, functions, layers, mappings, packages, sweep,
    tags, watch as watching,
};

/// Settings of the control plane.
#[derive(Clone, Debug)]
pub struct Options {
    /// The architecture of this machine's workers: `x86_64` or `arm64`. Functions for the other are refused.
    pub architecture: &'static str,
    /// From where container images may come.
    pub images: ImageOptions,
    /// Which directories may stand in for packages.
    pub hot_reload: HotReload,
    /// Whether functions may ask for a debugger.
    pub debugger: bool,
    /// Invocations at once in one account and region, of which functions may have a part of their own.
    pub account_concurrency: u32,
}

impl Default for Options {
    /// The architecture that this was built for, and AWS's concurrency; no hot reload, no debuggers.
    fn default() -> Self {
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
        Self {
            architecture,
            images: ImageOptions::default(),
            hot_reload: HotReload::default(),
            debugger: false,
            account_concurrency: 1000,
        }
    }
}

/// The control plane.
pub struct ControlService {
    handle: ControlHandle,
}

/// The way in; cheap to clone.
#[derive(Clone)]
pub struct ControlHandle(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) store: Arc<dyn ControlStore>,
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) sqs: Arc<dyn Sqs>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) sealer: Arc<dyn Sealer>,
    /// Counts commits: wakes watchers. The table is the truth, this is the hint.
    pub(crate) changed: watch::Sender<u64>,
    /// Who has heard of which of them.
    pub(crate) audience: Arc<Audience>,
    /// Functions that wait for their activation.
    pub(crate) activations: Activations,
    /// Where container images come from.
    pub(crate) images: Images,
    /// Those that are on their way.
    pub(crate) pulls: Pulls,
    /// Held while an alias is pointed somewhere, while a version is removed, and while concurrency is given to a function,
    /// so that none misses another.
    pub(crate) alias_targets: tokio::sync::Mutex<()>,
    /// Read by who finds that an object is there and then names it, written by who removes objects.
    pub(crate) objects_in_use: tokio::sync::RwLock<()>,
    /// What has become of provisioned concurrency.
    pub(crate) allocations: Allocations,
    /// What can be run.
    pub(crate) workers: Workers,
    /// Ends watches when the service stops.
    pub(crate) stop: CancellationToken,
}

impl ControlService {
    /// Puts the parts together; background work begins with [`ControlService::run`].
    pub fn build(
        options: Options,
        store: Arc<dyn ControlStore>,
        objects: Arc<dyn ObjectStore>,
        sqs: Arc<dyn Sqs>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        sealer: Arc<dyn Sealer>,
    ) -> Self {
        let shared = Shared {
            images: Images::new(options.images.clone()),
            pulls: Pulls::default(),
            options,
            store,
            objects,
            sqs,
            clock,
            entropy,
            sealer,
            changed: watch::Sender::new(0),
            audience: Arc::default(),
            activations: Activations::default(),
            alias_targets: tokio::sync::Mutex::default(),
            objects_in_use: tokio::sync::RwLock::default(),
            allocations: Allocations::default(),
            workers: Workers::default(),
            stop: CancellationToken::new(),
        };
        Self { handle: ControlHandle(Arc::new(shared)) }
    }

    /// The way in.
    pub fn handle(&self) -> ControlHandle {
        self.handle.clone()
    }

    /// Activates functions until `shutdown`, those that a crash left pending first, and removes packages that nothing names.
    pub fn run(self, shutdown: CancellationToken) -> RunFuture {
        Box::pin(self.work(shutdown))
    }

    async fn work(self, shutdown: CancellationToken) {
        let shared = self.handle.0;
        let _watches_end = shared.stop.clone().drop_guard();
        tokio::join!(activation::run(&shared, shutdown.clone()), sweep::run(&shared, shutdown));
    }
}

impl ControlHandle {
    /// The package of that SHA-256 (hexadecimal), if it is stored.
    pub async fn package(&self, sha256: &str) -> Result<Option<Bytes>, Fault> {
        packages::get(&self.0.objects, sha256).await
    }
}

impl Shared {
    /// Runs a call of the store off the async threads, and tells watchers.
    pub(crate) async fn store<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn ControlStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Fault> {
        let store = self.store.clone();
        let outcome =
            tokio::task::spawn_blocking(move || call(&*store)).await.map_err(|_| Fault::internal())?;
        outcome.map_err(|error| faults::of_store(&error))
    }

    /// As [`Shared::store`], for calls that change something.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn ControlStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Fault> {
        let outcome = self.store(call).await;
        self.changed.send_modify(|count| *count += 1);
        outcome
    }

    pub(crate) fn uuid(&self) -> String {
        uuid_v4(&*self.entropy).to_string()
    }
}

/// Declares the operations: each calls the function of its file.
macro_rules! operations {
    ($($operation:ident($input:ty) -> $output:ty = $function:path;)+) => {
        #[async_trait::async_trait]
        impl Lambda for ControlHandle {
            $(async fn $operation(&self, ctx: &CallContext, input: $input) -> Result<$output, Fault> {
                $function(&self.0, ctx, input).await
            })+
        }
    };
}

operations! {
    create_function(CreateFunctionRequest) -> FunctionConfiguration = functions::create;
    get_function(GetFunctionRequest) -> GetFunctionResponse = functions::get;
    get_function_configuration(GetFunctionConfigurationRequest) -> FunctionConfiguration = functions::get_configuration;
    update_function_code(UpdateFunctionCodeRequest) -> FunctionConfiguration = functions::update_code;
    update_function_configuration(UpdateFunctionConfigurationRequest) -> FunctionConfiguration = functions::update_configuration;
    delete_function(DeleteFunctionRequest) -> DeleteFunctionResponse = functions::delete;
    create_function_url_config(CreateFunctionUrlConfigRequest) -> CreateFunctionUrlConfigResponse = function_urls::create;
    get_function_url_config(GetFunctionUrlConfigRequest) -> GetFunctionUrlConfigResponse = function_urls::get;
    update_function_url_config(UpdateFunctionUrlConfigRequest) -> UpdateFunctionUrlConfigResponse = function_urls::update;
    delete_function_url_config(DeleteFunctionUrlConfigRequest) -> DeleteFunctionUrlConfigResponse = function_urls::delete;
    list_function_url_configs(ListFunctionUrlConfigsRequest) -> ListFunctionUrlConfigsResponse = function_urls::list;
    get_function_code_signing_config(GetFunctionCodeSigningConfigRequest) -> GetFunctionCodeSigningConfigResponse = functions::get_code_signing;
    list_functions(ListFunctionsRequest) -> ListFunctionsResponse = functions::list;
    publish_version(PublishVersionRequest) -> FunctionConfiguration = functions::publish;
    list_versions_by_function(ListVersionsByFunctionRequest) -> ListVersionsByFunctionResponse = functions::list_versions;
    create_alias(CreateAliasRequest) -> AliasConfiguration = aliases::create;
    get_alias(GetAliasRequest) -> AliasConfiguration = aliases::get;
    update_alias(UpdateAliasRequest) -> AliasConfiguration = aliases::update;
    delete_alias(DeleteAliasRequest) -> DeleteAliasResponse = aliases::delete;
    list_aliases(ListAliasesRequest) -> ListAliasesResponse = aliases::list;
    put_function_concurrency(PutFunctionConcurrencyRequest) -> Concurrency = concurrency::put_reserved;
    get_function_concurrency(GetFunctionConcurrencyRequest) -> GetFunctionConcurrencyResponse = concurrency::get_reserved;
    delete_function_concurrency(DeleteFunctionConcurrencyRequest) -> DeleteFunctionConcurrencyResponse = concurrency::delete_reserved;
    put_provisioned_concurrency_config(PutProvisionedConcurrencyConfigRequest) -> PutProvisionedConcurrencyConfigResponse = concurrency::put_provisioned;
    get_provisioned_concurrency_config(GetProvisionedConcurrencyConfigRequest) -> GetProvisionedConcurrencyConfigResponse = concurrency::get_provisioned;
    delete_provisioned_concurrency_config(DeleteProvisionedConcurrencyConfigRequest) -> DeleteProvisionedConcurrencyConfigResponse = concurrency::delete_provisioned;
    list_provisioned_concurrency_configs(ListProvisionedConcurrencyConfigsRequest) -> ListProvisionedConcurrencyConfigsResponse = concurrency::list_provisioned;
    publish_layer_version(PublishLayerVersionRequest) -> PublishLayerVersionResponse = layers::publish;
    get_layer_version(GetLayerVersionRequest) -> GetLayerVersionResponse = layers::get;
    get_layer_version_by_arn(GetLayerVersionByArnRequest) -> GetLayerVersionResponse = layers::get_by_arn;
    list_layers(ListLayersRequest) -> ListLayersResponse = layers::list;
    list_layer_versions(ListLayerVersionsRequest) -> ListLayerVersionsResponse = layers::list_versions;
    delete_layer_version(DeleteLayerVersionRequest) -> DeleteLayerVersionResponse = layers::delete;
    add_layer_version_permission(AddLayerVersionPermissionRequest) -> AddLayerVersionPermissionResponse = layers::add_permission;
    get_layer_version_policy(GetLayerVersionPolicyRequest) -> GetLayerVersionPolicyResponse = layers::policy;
    remove_layer_version_permission(RemoveLayerVersionPermissionRequest) -> RemoveLayerVersionPermissionResponse = layers::remove_permission;
    list_tags(ListTagsRequest) -> ListTagsResponse = tags::list;
    tag_resource(TagResourceRequest) -> TagResourceResponse = tags::tag;
    untag_resource(UntagResourceRequest) -> UntagResourceResponse = tags::untag;
    create_event_source_mapping(CreateEventSourceMappingRequest) -> EventSourceMappingConfiguration = mappings::create;
    get_event_source_mapping(GetEventSourceMappingRequest) -> EventSourceMappingConfiguration = mappings::get;
    list_event_source_mappings(ListEventSourceMappingsRequest) -> ListEventSourceMappingsResponse = mappings::list;
    update_event_source_mapping(UpdateEventSourceMappingRequest) -> EventSourceMappingConfiguration = mappings::update;
    delete_event_source_mapping(DeleteEventSourceMappingRequest) -> EventSourceMappingConfiguration = mappings::delete;
}

#[async_trait::async_trait]
impl Control for ControlHandle {
    async fn watch(
        &self,
        _: &CallContext,
        input: WatchRequest,
    ) -> Result<BoxStream<Result<WatchEvent, Fault>>, Fault> {
        watching::watch(self.0.clone(), input)
    }

    async fn acknowledge_mark(&self, _: &CallContext, input: Mark) -> Result<AcknowledgeMarkResponse, Fault> {
        self.0.audience.acknowledged(&input.watch, input.changes);
        Ok(AcknowledgeMarkResponse {})
    }

    async fn report_event_source_mapping(
        &self,
        _: &CallContext,
        input: ReportEventSourceMappingRequest,
    ) -> Result<ReportEventSourceMappingResponse, Fault> {
        mappings::report(&self.0, input).await
    }

    async fn report_worker(
        &self,
        _: &CallContext,
        input: ReportWorkerRequest,
    ) -> Result<ReportWorkerResponse, Fault> {
        Ok(self.0.workers.report(input, self.0.clock.now()))
    }

    async fn report_provisioned_concurrency(
        &self,
        _: &CallContext,
        input: ReportProvisionedConcurrencyRequest,
    ) -> Result<ReportProvisionedConcurrencyResponse, Fault> {
        self.0.allocations.report(input, self.0.clock.now());
        Ok(ReportProvisionedConcurrencyResponse {})
    }
}
