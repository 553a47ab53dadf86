//! From a function version to a sandbox that runs it: code, interpreter, variables, command.

mod image;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use lambfold_api::control::FunctionVersion;
use lambfold_network::{Client, Egress, Network};
use lambfold_sandbox::{Assignment, Companions, SandboxDriver, SandboxError, SandboxView};
use lambfold_types::{Clock, Entropy, uuid_v4};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::debugger::DebugPorts;
use crate::error::LaunchError;
use crate::extensions::Extensions;
use crate::failure::Failure;
use crate::hot_reload::HotReloads;
use crate::interpreter::{Interpreter, Interpreters, Language};
use crate::log_delivery::Outbox;
use crate::options::Options;
use crate::packages::{FetchError, Package, PackageCache};
use crate::pool::Pools;
use crate::running::Running;
use crate::runtime_api::MAX_EXTENSIONS;
use crate::runtime_files::{self, RuntimeFiles, lang};
use crate::start_gate::StartGate;
use crate::telemetry::Room;
use crate::vacant::Vacant;
use crate::variables::{
    SNAP_START, Surroundings, initialization_type, modules_of_version, of_extensions, variables,
};

/// Everything that starting an environment takes.
pub(crate) struct Launcher {
    pub(crate) options: Options,
    pub(crate) driver: Arc<dyn SandboxDriver>,
    pub(crate) interpreters: Interpreters,
    pub(crate) runtime_files: RuntimeFiles,
    pub(crate) packages: PackageCache,
    pub(crate) hot_reloads: Arc<HotReloads>,
    pub(crate) debug_ports: Arc<DebugPorts>,
    /// Where logs go.
    pub(crate) logs: Option<Outbox>,
    /// What functions reach beyond their endpoint.
    pub(crate) egress: Option<Arc<Egress>>,
    pub(crate) pools: Pools,
    pub(crate) start_gate: Arc<StartGate>,
    /// For telemetry that waits to be delivered.
    pub(crate) telemetry_room: Room,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    /// Environments, and their ends.
    pub(crate) tasks: TaskTracker,
    /// Set when what still runs is about to be killed.
    pub(crate) cutting_off: CancellationToken,
}

/// What an environment is started from.
#[derive(Clone)]
pub(crate) struct Contents {
    /// The function's code, or the root directory of its image.
    package: Package,
    /// What is at `/opt`.
    layers: Option<Package>,
    extensions: Extensions,
}

impl Launcher {
    /// Fetches what `function` is started from, unless it is here. It takes its time, which is none of init's.
    pub(crate) async fn contents(&self, function: &FunctionVersion) -> Result<Contents, LaunchError> {
        if let Some(image) = &function.image {
            return self.image_contents(image).await;
        }
        let package = match function.hot_reload.as_str() {
            "" => self.packages.get(&function.code_sha256).await?,
            directory => self.hot_reloads.open(directory).await?,
        };
        let layers = self.packages.layers(&function.layers).await?;
        let extensions = extensions(layers.as_ref().map(Package::path))?;
        Ok(Contents { package, layers, extensions })
    }

    /// Gives `function`, which logs to `log_stream`, to an environment that waits, or starts one; init begins with it.
    pub(crate) async fn launch(
        &self,
        function: &Arc<FunctionVersion>,
        log_stream: &str,
        contents: Contents,
    ) -> Result<Running, LaunchError> {
        if function.image.is_some() {
            return self.launch_image(function, log_stream, contents).await;
        }
        let interpreter = self.interpreters.resolve(&function.runtime, self.options.nearest_version)?;
        let language = interpreter.map(|it| it.language);
        // External extensions start before the runtime, and in one that waits it has started.
        if let Some(interpreter) = interpreter
            && contents.extensions.external.is_empty()
            && let Some(vacant) = self.pools.take(interpreter, function, self.clock.now())
            && let Some(running) =
                self.try_occupy(vacant, function, log_stream, Some(interpreter), contents.clone()).await?
        {
            return Ok(running);
        }
        if let Some(vacant) = self.pools.take_bare(language, self.clock.now())
            && let Some(running) =
                self.try_occupy(vacant, function, log_stream, interpreter, contents.clone()).await?
        {
            return Ok(running);
        }
        let template = self.template(self.runtime_files.directory(language).to_owned(), None, None);
        let vacant = self.open(template).await?;
        self.occupy(vacant, function, log_stream, interpreter, contents).await
    }

    /// `None` if it was of no use: another one may be.
    async fn try_occupy(
        &self,
        vacant: Vacant,
        function: &Arc<FunctionVersion>,
        log_stream: &str,
        interpreter: Option<&Interpreter>,
        contents: Contents,
    ) -> Result<Option<Running>, LaunchError> {
        match self.occupy(vacant, function, log_stream, interpreter, contents).await {
            Ok(running) => Ok(Some(running)),
            // It would be the same in any.
            Err(error @ LaunchError::Function(_)) => Err(error),
            Err(error) if self.is_going_down() => Err(error),
            Err(error) => {
                tracing::warn!(%error, "an environment that waited is of no use: another is taken");
                Ok(None)
            }
        }
    }

    async fn occupy(
        &self,
        vacant: Vacant,
        function: &Arc<FunctionVersion>,
        log_stream: &str,
        interpreter: Option<&Interpreter>,
        Contents { package, layers, extensions }: Contents,
    ) -> Result<Running, LaunchError> {
        let contents = (&package, layers.as_ref());
        let mut assignment = self.assignment(function, log_stream, interpreter, contents, &vacant)?;
        let external = extensions.external;
        if !external.is_empty() {
            let directory = vacant.prepared.view(package.path()).layers_dir.join("extensions");
            let command = |name: &String| vec![directory.join(name).display().to_string()];
            assignment.companions = Companions {
                commands: external.iter().map(command).collect(),
                environment: of_extensions(&assignment.environment),
            };
        }
        let Vacant { mut prepared, api, relay, .. } = vacant;
        let network = match (&self.egress, prepared.take_network()) {
            (Some(egress), Some(network)) => {
                let client = Client { function: qualified_arn(function), environment: log_stream.to_owned() };
                Some(Network::start(network, Arc::clone(egress), client))
            }
            _ => None,
        };
        if extensions.enabled {
            api.serve_extensions(Arc::clone(function), &external);
        }
        if initialization_type(function) == SNAP_START {
            api.serve_restore();
        }
        let companions = assignment.companions.commands.clone();
        let assigned = prepared.assign(assignment).await;
        let sandbox = assigned.map_err(|error| match extension_failure(&error, &companions) {
            Some(failure) => LaunchError::Function(failure),
            None => exec_failure(error, function),
        })?;
        Ok(Running::new(sandbox, api, &external, (relay, network), (package, layers)))
    }

    /// Starts the runtime of a function whose external extensions have registered.
    pub(crate) async fn start_command(
        &self,
        running: &mut Running,
        function: &FunctionVersion,
    ) -> Result<(), LaunchError> {
        running.start_command().await.map_err(|error| exec_failure(error, function))
    }

    /// Of what runs the function: see [`RuntimeFiles::version_arn`].
    pub(crate) fn runtime_version_arn(&self, function: &FunctionVersion) -> Option<String> {
        let resolved = self.interpreters.resolve(&function.runtime, self.options.nearest_version);
        self.runtime_files.version_arn(function, resolved.ok()?)
    }

    /// At which age a provisioned environment tells that it ends soon, and at which it does: the latter between eight and ten
    /// tenths of what others may reach, by its id, so that those that were made at once do not end at once; the former a
    /// tenth earlier, in which another one can be made.
    pub(crate) fn provisioned_ages(&self, id: &str) -> (Duration, Duration) {
        let sum: u32 = id.bytes().map(u32::from).sum();
        let end = 800 + sum % 201;
        (self.options.max_age * (end - 100) / 1000, self.options.max_age * end / 1000)
    }

    /// Whether processes end because the worker or its spawner does, and not by themselves.
    pub(crate) fn is_going_down(&self) -> bool {
        self.cutting_off.is_cancelled() || self.driver.closed().now_or_never().is_some()
    }

    fn assignment(
        &self,
        function: &FunctionVersion,
        log_stream: &str,
        interpreter: Option<&Interpreter>,
        (package, layers): (&Package, Option<&Package>),
        vacant: &Vacant,
    ) -> Result<Assignment, LaunchError> {
        let view = &vacant.prepared.view(package.path());
        let unique = uuid_v4(&*self.entropy);
        let around = Surroundings {
            view,
            interpreter,
            runtime_api: vacant.api_address.to_string(),
            endpoint: vacant.endpoint.map(|endpoint| endpoint.to_string()),
            log_stream,
        };
        let command = match interpreter {
            _ if function.image.is_some() => image::command(function)?,
            Some(_) if vacant.waits => Vec::new(),
            Some(interpreter) => {
                let (runtime_dir, memory) = (&view.runtime_dir, assigned_memory(function));
                let mut command = runtime_files::command(interpreter, runtime_dir, memory, function.debugger);
                if wants_site(function) {
                    command.retain(|argument| argument != runtime_files::NO_SITE);
                }
                wrapped(function, command)?
            }
            None => provided_command(package, layers, view)?,
        };
        let mut assignment = Assignment::new(package.path().to_owned(), command);
        assignment.layers = layers.map(|layers| layers.path().to_owned()).into_iter().collect();
        if function.image.is_none() && self.driver.capabilities().own_root {
            assignment.seen_again = seen_again(function, interpreter, view);
        }
        assignment.working_directory = image::working_directory(function);
        assignment.environment = variables(function, &around);
        assignment.memory_mb = assigned_memory(function);
        assignment.ephemeral_storage_mb = function.ephemeral_storage_mb.max(512);
        // Link-local as on AWS; which one says nothing.
        assignment.hostname = format!("169.254.{}.{}", unique.as_bytes()[0], unique.as_bytes()[1]);
        Ok(assignment)
    }
}

/// What AWS has elsewhere than it is here.
fn seen_again(
    function: &FunctionVersion,
    interpreter: Option<&Interpreter>,
    view: &SandboxView,
) -> Vec<(PathBuf, PathBuf)> {
    let Some(interpreter) = interpreter else { return Vec::new() };
    let mut seen = vec![(lang::LANG.into(), lang::of(interpreter, &view.runtime_dir))];
    if interpreter.language == Language::NodeJs {
        // ES modules know nothing of `NODE_PATH`: AWS's Node.js looks through it for them, too.
        seen.push(("/var/node_modules".into(), modules_of_version(function, view)));
    }
    seen
}

/// Those that are in what `/opt` will be, which may be too many.
fn extensions(opt: Option<&std::path::Path>) -> Result<Extensions, LaunchError> {
    let extensions = Extensions::of(opt).map_err(FetchError::from)?;
    if extensions.external.len() > MAX_EXTENSIONS {
        return Err(LaunchError::Function(Failure::too_many_extensions(MAX_EXTENSIONS)));
    }
    Ok(extensions)
}

fn qualified_arn(function: &FunctionVersion) -> String {
    let FunctionVersion { region, account, function_name, version, .. } = function;
    format!("arn:aws:lambda:{region}:{account}:function:{function_name}:{version}")
}

/// In MiB.
pub(crate) fn assigned_memory(function: &FunctionVersion) -> u32 {
    function.memory_size_mb.max(128)
}

/// `AWS_LAMBDA_EXEC_WRAPPER` runs in place of a managed runtime's bootstrap, with its command as arguments.
fn wrapped(function: &FunctionVersion, mut command: Vec<String>) -> Result<Vec<String>, LaunchError> {
    if let Some(wrapper) = wrapper(function) {
        if !wrapper.contains('/') {
            // The shell that AWS starts it with looks for names in `PATH`.
            return Err(LaunchError::Function(Failure::no_wrapper(wrapper, false)));
        }
        command.insert(0, wrapper.to_owned());
    }
    Ok(command)
}

/// Whether Python looks for `sitecustomize`, by which wrappers instrument functions: where one may have been brought.
fn wants_site(function: &FunctionVersion) -> bool {
    function.environment.contains_key("PYTHONPATH") || wrapper(function).is_some()
}

fn wrapper(function: &FunctionVersion) -> Option<&str> {
    function.environment.get("AWS_LAMBDA_EXEC_WRAPPER").map(String::as_str).filter(|path| !path.is_empty())
}

/// The package's bootstrap, or else the layers'.
fn provided_command(
    package: &Package,
    layers: Option<&Package>,
    view: &SandboxView,
) -> Result<Vec<String>, LaunchError> {
    let places = [(Some(package), &view.task_root), (layers, &view.layers_dir)];
    let place = places
        .into_iter()
        .find(|(there, _)| there.is_some_and(|there| there.path().join("bootstrap").is_file()));
    let Some((_, directory)) = place else {
        let text = "Couldn't find valid bootstrap(s): [/var/task/bootstrap /opt/bootstrap]";
        return Err(LaunchError::Function(Failure::invalid_entrypoint(text)));
    };
    Ok(vec![directory.join("bootstrap").display().to_string()])
}

fn extension_failure(error: &SandboxError, companions: &[Vec<String>]) -> Option<Failure> {
    let SandboxError::Exec { program, errno } = error else { return None };
    let is_extension = companions.iter().any(|command| command.first() == Some(program));
    let name = program.rsplit('/').next().unwrap_or_default();
    is_extension
        .then(|| Failure::extension_launch(name, *errno != NOT_PERMITTED, cannot_execute(program, *errno)))
}

/// As Go says it, which is what AWS's manager is written in.
fn cannot_execute(program: &str, errno: i32) -> String {
    let reason = reason(errno);
    if !program.contains('/') {
        let reason = if errno == NO_SUCH_FILE { "executable file not found in $PATH" } else { &reason };
        return format!("exec: \"{program}\": {reason}");
    }
    format!("fork/exec {program}: {reason}")
}

/// `ENOENT`
const NO_SUCH_FILE: i32 = 2;
/// `EACCES`
const NOT_PERMITTED: i32 = 13;

fn reason(errno: i32) -> String {
    let reason = std::io::Error::from_raw_os_error(errno).to_string();
    reason.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// A program that cannot be executed is the function's doing where the function brought it.
fn exec_failure(error: SandboxError, function: &FunctionVersion) -> LaunchError {
    if let (SandboxError::WorkingDirectory { path, errno }, Some(_)) = (&error, &function.image) {
        let text = format!("chdir {path}: {}", reason(*errno));
        return LaunchError::Function(Failure::invalid_working_dir(text));
    }
    let SandboxError::Exec { program, errno } = &error else { return error.into() };
    if wrapper(function) == Some(program) {
        return LaunchError::Function(Failure::no_wrapper(program, *errno != NO_SUCH_FILE));
    }
    if function.image.is_some() || function.runtime.starts_with("provided") {
        return LaunchError::Function(Failure::invalid_entrypoint(cannot_execute(program, *errno)));
    }
    error.into()
}
