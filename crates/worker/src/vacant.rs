//! A sandbox without a function: its listeners are served, and perhaps a bootstrap waits in it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use lambfold_sandbox::{PreparedSandbox, SandboxError, SandboxTemplate, WaitingProgram};
use lambfold_types::RUNTIME_API_PORT;
use tokio::net::TcpListener;

use crate::error::LaunchError;
use crate::launch::Launcher;
use crate::relay::{Relay, Target};
use crate::runtime_api::RuntimeApi;

pub(crate) const RUNTIME_API: ([u8; 4], u16) = ([127, 0, 0, 1], RUNTIME_API_PORT);

/// A slot is free a moment after its sandbox was killed.
const SLOT_ATTEMPTS: u32 = 50;
const SLOT_WAIT: std::time::Duration = std::time::Duration::from_millis(20);

/// See the module. Goes, with all its processes, when dropped.
pub(crate) struct Vacant {
    pub(crate) prepared: Box<dyn PreparedSandbox>,
    /// Whether a bootstrap waits in it; otherwise one has to be started.
    pub(crate) waits: bool,
    pub(crate) api: RuntimeApi,
    /// Where the function finds the Runtime API.
    pub(crate) api_address: SocketAddr,
    pub(crate) relay: Option<Relay>,
    /// Where the function finds Lambfold.
    pub(crate) endpoint: Option<SocketAddr>,
}

impl Launcher {
    /// Makes a sandbox for a function; waits, within reason, for a slot.
    pub(crate) async fn open(&self, template: SandboxTemplate) -> Result<Vacant, LaunchError> {
        for _ in 0..SLOT_ATTEMPTS {
            match self.open_at_once(template.clone()).await {
                Err(LaunchError::Sandbox(SandboxError::NoFreeSlot { .. })) => {
                    self.clock.sleep_until(self.clock.now() + SLOT_WAIT).await;
                }
                other => return other,
            }
        }
        self.open_at_once(template).await
    }

    /// What a sandbox has, with this runtime, this image in its place, or this program that waits.
    pub(crate) fn template(
        &self,
        runtime_dir: PathBuf,
        image_root: Option<PathBuf>,
        waiting: Option<WaitingProgram>,
    ) -> SandboxTemplate {
        let mut listen: Vec<SocketAddr> = vec![RUNTIME_API.into()];
        listen.extend(self.options.endpoint_inside());
        SandboxTemplate { listen, runtime_dir, image_root, waiting }
    }

    /// Makes a sandbox, if there is a slot.
    pub(crate) async fn open_at_once(&self, template: SandboxTemplate) -> Result<Vacant, LaunchError> {
        let waits = template.waiting.is_some();
        let mut prepared = self.driver.prepare(template).await?;
        let mut listeners = prepared.take_listeners().into_iter();
        let Some(runtime_api) = listeners.next() else {
            return Err(SandboxError::Setup("no listener for the Runtime API".to_owned()).into());
        };
        let api_address = runtime_api.address;
        // Served before the function's process starts, so that it never finds nobody there.
        let api = RuntimeApi::start(
            runtime_api.listener,
            Arc::clone(&self.clock),
            Arc::clone(&self.entropy),
            self.telemetry_room.clone(),
        )?;
        let (mut relay, mut endpoint) = (None, None);
        if let (Some(listener), Some(target)) = (listeners.next(), &self.options.endpoint) {
            endpoint = Some(listener.address);
            let (listener, target) =
                (TcpListener::from_std(listener.listener)?, Target::Outside(target.clone()));
            relay = Some(Relay::start(listener, target, Arc::clone(&self.clock)));
        }
        Ok(Vacant { prepared, waits, api, api_address, relay, endpoint })
    }
}
