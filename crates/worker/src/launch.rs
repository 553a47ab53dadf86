//! From a function version to a started sandbox: code, interpreter, listeners, variables, command.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::FutureExt;
use lambfold_api::control::FunctionVersion;
use lambfold_sandbox::{
    Assignment, PreparedSandbox, SandboxDriver, SandboxError, SandboxListener, SandboxTemplate, SandboxView,
};
use lambfold_types::{Clock, Entropy, uuid_v4};
use tokio_util::sync::CancellationToken;

use crate::error::LaunchError;
use crate::failure::Failure;
use crate::interpreter::{Interpreter, Interpreters};
use crate::options::Options;
use crate::packages::{Package, PackageCache};
use crate::relay::Relay;
use crate::running::Running;
use crate::runtime_api::RuntimeApi;
use crate::runtime_files::{self, RuntimeFiles};
use crate::variables::{Surroundings, log_stream, variables};

const RUNTIME_API: ([u8; 4], u16) = ([127, 0, 0, 1], 9001);
const ENDPOINT: ([u8; 4], u16) = ([127, 0, 0, 1], 4566);

/// A slot is free a moment after its sandbox was killed.
const SLOT_ATTEMPTS: u32 = 50;
const SLOT_WAIT: std::time::Duration = std::time::Duration::from_millis(20);

/// Everything that starting an environment takes.
pub(crate) struct Launcher {
    pub(crate) options: Options,
    pub(crate) driver: Arc<dyn SandboxDriver>,
    pub(crate) interpreters: Interpreters,
    pub(crate) runtime_files: RuntimeFiles,
    pub(crate) packages: PackageCache,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    /// Set when what still runs is about to be killed.
    pub(crate) cutting_off: CancellationToken,
}

impl Launcher {
    /// Starts `function`; init begins with it.
    pub(crate) async fn launch(&self, function: &FunctionVersion) -> Result<Running, LaunchError> {
        let interpreter = self.interpreters.resolve(&function.runtime, self.options.nearest_version)?;
        let package = self.packages.get(&function.code_sha256).await?;
        let layers = self.packages.layers(&function.layers).await?;
        let runtime_dir = self.runtime_files.directory(interpreter.map(|it| it.language)).to_owned();
        let mut prepared = self.prepare(SandboxTemplate { listen: self.listeners(), runtime_dir }).await?;
        let mut listeners = prepared.take_listeners().into_iter();
        let Some(runtime_api) = listeners.next() else {
            return Err(SandboxError::Setup("no listener for the Runtime API".to_owned()).into());
        };
        let relay = listeners.next();
        let view = prepared.view(package.path());
        let assignment = self.assignment(
            function,
            interpreter,
            (&package, layers.as_ref()),
            &view,
            &runtime_api,
            relay.as_ref(),
        )?;
        // Served before the process starts, so that it never finds nobody there.
        let api = RuntimeApi::start(runtime_api.listener, Arc::clone(&self.clock))?;
        let relay = match (relay, &self.options.endpoint) {
            (Some(relay), Some(target)) => {
                Some(Relay::start(relay.listener, target.clone(), Arc::clone(&self.clock))?)
            }
            _ => None,
        };
        let mut sandbox = prepared.assign(assignment).await.map_err(|error| exec_failure(error, function))?;
        let output = sandbox.take_output();
        Ok(Running { sandbox, output, api, _relay: relay, _packages: (package, layers) })
    }

    /// Whether processes end because the worker or its spawner does, and not by themselves.
    pub(crate) fn is_going_down(&self) -> bool {
        self.cutting_off.is_cancelled() || self.driver.closed().now_or_never().is_some()
    }

    fn listeners(&self) -> Vec<SocketAddr> {
        let mut listeners = vec![RUNTIME_API.into()];
        if self.options.endpoint.is_some() {
            listeners.push(ENDPOINT.into());
        }
        listeners
    }

    async fn prepare(&self, template: SandboxTemplate) -> Result<Box<dyn PreparedSandbox>, SandboxError> {
        for _ in 0..SLOT_ATTEMPTS {
            match self.driver.prepare(template.clone()).await {
                Err(SandboxError::NoFreeSlot { .. }) => {
                    self.clock.sleep_until(self.clock.now() + SLOT_WAIT).await;
                }
                other => return other,
            }
        }
        self.driver.prepare(template).await
    }

    fn assignment(
        &self,
        function: &FunctionVersion,
        interpreter: Option<&Interpreter>,
        (package, layers): (&Package, Option<&Package>),
        view: &SandboxView,
        runtime_api: &SandboxListener,
        relay: Option<&SandboxListener>,
    ) -> Result<Assignment, LaunchError> {
        let unique = uuid_v4(&*self.entropy);
        let log_stream = log_stream(function, &self.clock.now().utc("%Y/%m/%d"), &unique);
        let around = Surroundings {
            view,
            interpreter,
            runtime_api: runtime_api.address.to_string(),
            endpoint: relay.map(|relay| relay.address.to_string()),
            log_stream: &log_stream,
        };
        let command = match interpreter {
            Some(interpreter) => wrapped(
                function,
                runtime_files::command(interpreter, &view.runtime_dir, assigned_memory(function)),
            ),
            None => provided_command(package, layers, view)?,
        };
        let mut assignment = Assignment::new(package.path().to_owned(), command);
        assignment.layers = layers.map(|layers| layers.path().to_owned()).into_iter().collect();
        assignment.environment = variables(function, &around);
        assignment.memory_mb = assigned_memory(function);
        assignment.ephemeral_storage_mb = function.ephemeral_storage_mb.max(512);
        // Link-local as on AWS; which one says nothing.
        assignment.hostname = format!("169.254.{}.{}", unique.as_bytes()[0], unique.as_bytes()[1]);
        Ok(assignment)
    }
}

/// In MiB.
fn assigned_memory(function: &FunctionVersion) -> u32 {
    function.memory_size_mb.max(128)
}

/// `AWS_LAMBDA_EXEC_WRAPPER` runs in place of a managed runtime's bootstrap, with its command as arguments.
fn wrapped(function: &FunctionVersion, mut command: Vec<String>) -> Vec<String> {
    if let Some(wrapper) = wrapper(function) {
        command.insert(0, wrapper.to_owned());
    }
    command
}

fn wrapper(function: &FunctionVersion) -> Option<&str> {
    function
        .environment
        .get("AWS_LAMBDA_EXEC_WRAPPER")
        .map(String::as_str)
        .filter(|path| path.starts_with('/'))
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

/// A program that cannot be executed is the function's doing where the function brought it.
fn exec_failure(error: SandboxError, function: &FunctionVersion) -> LaunchError {
    let SandboxError::Exec { program, errno } = &error else { return error.into() };
    if wrapper(function) == Some(program) {
        // As the shell that AWS starts wrappers with puts it.
        return LaunchError::Function(Failure::exited(lambfold_sandbox::ExitStatus::Code(127), false));
    }
    if function.runtime.starts_with("provided") {
        let reason = std::io::Error::from_raw_os_error(*errno);
        let text = format!("fork/exec {program}: {}", reason.to_string().to_lowercase());
        return LaunchError::Function(Failure::invalid_entrypoint(text));
    }
    error.into()
}
