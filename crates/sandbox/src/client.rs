//! The worker's side of the spawner: starts it, numbers the calls, hands replies and exits to whom they belong.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rustix::net::SendFlags;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};

use crate::protocol::{Call, FreezeFile, Message, Reply, Request, Settings};
use crate::{
    Assignment, Capabilities, Exit, ExitStatus, LevelReport, NetworkDevice, PreparedSandbox, ProgramEnd,
    ProgramSignal, RunningSandbox, SandboxDriver, SandboxError, SandboxListener, SandboxNetwork,
    SandboxProgram, SandboxTemplate, SandboxView, SpawnerOptions, packet,
};

/// The driver of Linux sandboxes. Ends its process when dropped.
pub struct Spawner {
    link: Arc<Link>,
    report: LevelReport,
    capabilities: Capabilities,
}

impl Spawner {
    /// Starts the spawner process, which finds the strongest level that works by making a sandbox of it.
    ///
    /// Must be called on a tokio runtime; takes some ten milliseconds.
    ///
    /// # Errors
    ///
    /// When the process cannot be started, or no level between the minimum and the maximum of the options works.
    pub async fn start(options: SpawnerOptions) -> Result<Arc<dyn SandboxDriver>, SandboxError> {
        let program = options.command.program.clone();
        let start_error = |source| SandboxError::SpawnerStart { program: program.clone(), source };

        let (ours, theirs) = packet::pair().map_err(start_error)?;
        let mut child = tokio::process::Command::new(&options.command.program)
            .args(&options.command.args)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(start_error)?;
        rustix::io::ioctl_fionbio(&ours, true).map_err(|error| start_error(error.into()))?;
        let socket = Arc::new(register(ours).map_err(start_error)?);

        let (outgoing, calls) = mpsc::unbounded_channel();
        let link = Arc::new(Link {
            outgoing,
            next_call: AtomicU64::new(1),
            state: Mutex::new(State::default()),
            closed: watch::Sender::new(false),
        });
        tokio::spawn(write_calls(Arc::clone(&socket), calls));
        let reader = Arc::downgrade(&link);
        tokio::spawn(async move {
            read_messages(&socket, &reader).await;
            // Our end is closed by now, so the process ends; it must be waited for or it stays a zombie.
            drop(socket);
            if let Err(error) = child.wait().await {
                tracing::warn!(%error, "could not wait for the spawner");
            }
            if let Some(link) = reader.upgrade() {
                link.close();
            }
        });

        let settings = Settings {
            state_dir: std::path::absolute(&options.state_dir).map_err(start_error)?,
            at_most: options.at_most,
            at_least: options.at_least,
            extra_readonly: options.extra_readonly,
            uid_base: options.uid_base,
            network_device: options.network_device,
            slots: options.slots,
            total_memory_mb: options.total_memory_mb,
        };
        match link.call(Request::Start(settings)).await {
            Ok(Received { reply: Reply::Started { report, capabilities }, .. }) => {
                Ok(Arc::new(Self { link, report, capabilities }))
            }
            Err(SandboxError::SpawnerGone) => {
                Err(start_error(io::Error::other("it ended at once; its messages are on standard error")))
            }
            Err(error) => Err(error),
            Ok(_) => Err(unexpected()),
        }
    }
}

#[async_trait]
impl SandboxDriver for Spawner {
    fn report(&self) -> &LevelReport {
        &self.report
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn prepare(&self, template: SandboxTemplate) -> Result<Box<dyn PreparedSandbox>, SandboxError> {
        if template.listen.len() > packet::MAX_DESCRIPTORS - 2 {
            return Err(SandboxError::Invalid(format!("{} listeners are too many", template.listen.len())));
        }
        if let Some(address) = template.listen.iter().find(|address| !address.ip().is_loopback()) {
            return Err(SandboxError::Invalid(format!("{address} is not a loopback address")));
        }
        let requested = template.listen.clone();
        let runtime_dir = template.runtime_dir.clone();
        let received = self.link.call(Request::Prepare(template)).await?;
        let Some(handle) = received.handle else { return Err(unexpected()) };
        let Reply::Prepared { addresses, network, host_tmp_dir, freeze, .. } = received.reply else {
            return Err(unexpected());
        };
        let mut descriptors = received.descriptors.into_iter();
        let mut listeners = Vec::with_capacity(requested.len());
        for (requested, address) in requested.into_iter().zip(addresses) {
            let listener = TcpListener::from(descriptors.next().ok_or_else(unexpected)?);
            listener.set_nonblocking(true).map_err(setup)?;
            listeners.push(SandboxListener { requested, address, listener });
        }
        let network = match network {
            Some(link) => {
                let descriptor = register(descriptors.next().ok_or_else(unexpected)?).map_err(setup)?;
                Some(NetworkDevice { descriptor, link })
            }
            None => None,
        };
        let freezer = match freeze {
            Some(kind) => Some((kind, File::from(descriptors.next().ok_or_else(unexpected)?))),
            None => None,
        };
        Ok(Box::new(Prepared { handle, listeners, network, runtime_dir, host_tmp_dir, freezer }))
    }

    async fn shutdown(&self) {
        // An error means that it is gone already, which is what is wanted.
        let _ = self.link.call(Request::Shutdown).await;
        self.closed().await;
    }

    async fn closed(&self) {
        self.link.wait_closed().await;
    }
}

struct Prepared {
    handle: Handle,
    listeners: Vec<SandboxListener>,
    network: Option<NetworkDevice>,
    runtime_dir: PathBuf,
    host_tmp_dir: Option<PathBuf>,
    freezer: Option<(FreezeFile, File)>,
}

#[async_trait]
impl PreparedSandbox for Prepared {
    fn id(&self) -> u64 {
        self.handle.id
    }

    fn take_listeners(&mut self) -> Vec<SandboxListener> {
        std::mem::take(&mut self.listeners)
    }

    fn take_network(&mut self) -> Option<NetworkDevice> {
        self.network.take()
    }

    fn view(&self, code_dir: &Path) -> SandboxView {
        match &self.host_tmp_dir {
            None => SandboxView::own_root(),
            Some(tmp) => SandboxView {
                task_root: code_dir.to_owned(),
                runtime_dir: self.runtime_dir.clone(),
                layers_dir: tmp.with_file_name("opt"),
                tmp_dir: tmp.clone(),
            },
        }
    }

    fn is_alive(&self) -> bool {
        // The sender goes when the spawner does.
        self.handle.exit.borrow().is_none() && self.handle.exit.has_changed().is_ok()
    }

    async fn assign(
        self: Box<Self>,
        assignment: Assignment,
    ) -> Result<Box<dyn RunningSandbox>, SandboxError> {
        let Self { handle, freezer, .. } = *self;
        let request = Request::Assign { sandbox: handle.id, assignment };
        let received = handle.link.call(request).await?;
        let Reply::Assigned { companions, memory_peak } = received.reply else { return Err(unexpected()) };
        let mut descriptors = received.descriptors.into_iter();
        let mut output = || {
            let output = descriptors.next().ok_or_else(unexpected)?;
            pipe::Receiver::from_owned_fd(output).map_err(setup)
        };
        let (output, companions_output) = (output()?, if companions { Some(output()?) } else { None });
        let memory_peak =
            if memory_peak { Some(File::from(descriptors.next().ok_or_else(unexpected)?)) } else { None };
        Ok(Box::new(Running {
            handle,
            output: Some(output),
            companions_output,
            memory_peak,
            memory_peak_known: AtomicU64::new(0),
            freezer,
            frozen: AtomicBool::new(false),
        }))
    }
}

struct Running {
    handle: Handle,
    output: Option<pipe::Receiver>,
    companions_output: Option<pipe::Receiver>,
    /// The cgroup's own file: reading it needs no round trip to the spawner.
    memory_peak: Option<File>,
    /// What that file said when nothing had been in `/tmp` yet, which the kernel counts and AWS does not.
    memory_peak_known: AtomicU64,
    freezer: Option<(FreezeFile, File)>,
    frozen: AtomicBool,
}

impl Running {
    fn stop(&self, stop: bool) -> Result<(), SandboxError> {
        self.frozen.store(stop, Ordering::Relaxed);
        if let Some((kind, file)) = &self.freezer {
            return file.write_all_at(kind.word(stop), 0).map_err(setup);
        }
        let request = Request::Stop { sandbox: self.handle.id, stop };
        self.handle.link.send(Call { number: 0, request });
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The spawner thaws what it kills; if it has gone itself, what the kernel killed with it waits for this.
        if let Some((FreezeFile::V1, _)) = self.freezer
            && self.frozen.load(Ordering::Relaxed)
        {
            self.handle.kill();
            let _ = self.stop(false);
        }
    }
}

/// Asks init for sockets.
struct Network {
    link: Arc<Link>,
    sandbox: u64,
}

#[async_trait]
impl SandboxNetwork for Network {
    async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let request = Request::Socket { sandbox: self.sandbox };
        let received = self.link.call(request).await.map_err(io::Error::other)?;
        let Some(socket) = received.descriptors.into_iter().next() else {
            return Err(io::Error::other(unexpected()));
        };
        // It stays in the namespace that it was made in, whoever connects it.
        let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(socket));
        socket.connect((Ipv4Addr::LOCALHOST, port).into()).await
    }
}

#[async_trait]
impl RunningSandbox for Running {
    fn id(&self) -> u64 {
        self.handle.id
    }

    fn take_ends(&mut self) -> Option<mpsc::UnboundedReceiver<ProgramEnd>> {
        self.handle.ends.take()
    }

    async fn start_command(&self) -> Result<(), SandboxError> {
        self.handle.link.call(Request::StartCommand { sandbox: self.handle.id }).await?;
        Ok(())
    }

    fn signal(&self, program: SandboxProgram, signal: ProgramSignal) {
        let request = Request::Signal { sandbox: self.handle.id, program, signal };
        // Nobody waits for a reply, as with a kill.
        self.handle.link.send(Call { number: 0, request });
    }

    fn take_output(&mut self) -> Option<pipe::Receiver> {
        self.output.take()
    }

    fn take_companions_output(&mut self) -> Option<pipe::Receiver> {
        self.companions_output.take()
    }

    fn network(&self) -> Arc<dyn SandboxNetwork> {
        Arc::new(Network { link: Arc::clone(&self.handle.link), sandbox: self.handle.id })
    }

    async fn wait(&self) -> Exit {
        let mut exit = self.handle.exit.clone();
        // The sender goes away without a value only when the spawner has ended, and all its sandboxes with it.
        let ended = exit.wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
        ended.unwrap_or(Exit { status: ExitStatus::Signal(9), oom: false, memory_peak: None })
    }

    fn kill(&self) {
        self.handle.kill();
    }

    async fn memory_peak(&self) -> Option<u64> {
        if let Some(exit) = *self.handle.exit.borrow() {
            return exit.memory_peak;
        }
        if let Some(file) = &self.memory_peak {
            let mut text = [0; 32];
            // The file of a removed cgroup answers ENODEV: then the exit, which comes now, has the figure.
            let Ok(length) = file.read_at(&mut text, 0) else { return self.wait().await.memory_peak };
            let kernel = std::str::from_utf8(&text[..length]).ok()?.trim().parse::<u64>().ok()?;
            // As long as it has not grown, whatever came into `/tmp` since is not in it. Who asks counts in MiB.
            let known = self.memory_peak_known.load(Ordering::Relaxed);
            if kernel.div_ceil(1 << 20) == known.div_ceil(1 << 20) {
                return Some(kernel);
            }
        }
        match self.handle.link.call(Request::MemoryPeak { sandbox: self.handle.id }).await {
            Ok(Received { reply: Reply::MemoryPeak { peak, tmp_used }, .. }) => {
                if let Some(kernel) = peak.filter(|_| !tmp_used) {
                    self.memory_peak_known.store(kernel, Ordering::Relaxed);
                }
                peak
            }
            Ok(_) => None,
            // It has ended meanwhile.
            Err(_) => self.wait().await.memory_peak,
        }
    }

    async fn set_cpu_millis(&self, millis: Option<u32>) -> Result<(), SandboxError> {
        self.handle.link.call(Request::SetCpu { sandbox: self.handle.id, millis }).await?;
        Ok(())
    }

    fn freeze(&self) -> Result<(), SandboxError> {
        self.stop(true)
    }

    fn thaw(&self) -> Result<(), SandboxError> {
        self.stop(false)
    }
}

/// One sandbox as the worker knows it. Kills it when dropped.
struct Handle {
    link: Arc<Link>,
    id: u64,
    exit: watch::Receiver<Option<Exit>>,
    ends: Option<mpsc::UnboundedReceiver<ProgramEnd>>,
}

/// Where one sandbox's news go.
struct News {
    exit: watch::Sender<Option<Exit>>,
    // Bounded by the programs of an assignment: each ends once.
    ends: mpsc::UnboundedSender<ProgramEnd>,
}

impl Handle {
    fn kill(&self) {
        if self.exit.borrow().is_none() {
            // Nobody waits for the reply: the exit is told by itself.
            self.link.send(Call { number: 0, request: Request::Kill { sandbox: self.id } });
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A reply and what came with it.
struct Received {
    reply: Reply,
    descriptors: Vec<OwnedFd>,
    /// Made where the reply arrives, so that a sandbox whose asker has gone is killed and not leaked.
    handle: Option<Handle>,
}

struct Link {
    outgoing: mpsc::UnboundedSender<Call>,
    next_call: AtomicU64,
    state: Mutex<State>,
    closed: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    closed: bool,
    calls: HashMap<u64, oneshot::Sender<Result<Received, SandboxError>>>,
    sandboxes: HashMap<u64, News>,
}

impl Link {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing that holds the lock leaves it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, call: Call) {
        // A closed channel means a closed socket: the pending calls are failed by whoever saw that.
        let _ = self.outgoing.send(call);
    }

    async fn call(&self, request: Request) -> Result<Received, SandboxError> {
        let number = self.next_call.fetch_add(1, Ordering::Relaxed);
        let call = Call { number, request };
        // Refused here, where the caller is told, and not in the writer.
        packet::encode(&call).map_err(|error| SandboxError::Invalid(error.to_string()))?;
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.state();
            if state.closed {
                return Err(SandboxError::SpawnerGone);
            }
            state.calls.insert(number, sender);
        }
        self.send(call);
        receiver.await.unwrap_or(Err(SandboxError::SpawnerGone))
    }

    fn receive(self: &Arc<Self>, message: Message, descriptors: Vec<OwnedFd>) {
        match message {
            Message::Exited { sandbox, exit } => {
                if let Some(news) = self.state().sandboxes.remove(&sandbox) {
                    news.exit.send_replace(Some(exit));
                }
            }
            Message::ProgramEnded { sandbox, end } => {
                if let Some(news) = self.state().sandboxes.get(&sandbox) {
                    // Not everyone listens.
                    let _ = news.ends.send(end);
                }
            }
            Message::Reply { number, result } => {
                let Some(sender) = self.state().calls.remove(&number) else { return };
                let result = result.map_err(SandboxError::from).map(|reply| {
                    let handle = match &reply {
                        Reply::Prepared { sandbox, .. } => Some(self.register(*sandbox)),
                        _ => None,
                    };
                    Received { reply, descriptors, handle }
                });
                // If the caller has gone, the value is dropped here and a new sandbox with it.
                drop(sender.send(result));
            }
        }
    }

    fn register(self: &Arc<Self>, id: u64) -> Handle {
        let (sender, exit) = watch::channel(None);
        let (ends_sender, ends) = mpsc::unbounded_channel();
        self.state().sandboxes.insert(id, News { exit: sender, ends: ends_sender });
        Handle { link: Arc::clone(self), id, exit, ends: Some(ends) }
    }

    fn close(&self) {
        let (calls, sandboxes) = {
            let mut state = self.state();
            state.closed = true;
            (std::mem::take(&mut state.calls), std::mem::take(&mut state.sandboxes))
        };
        drop((calls, sandboxes));
        self.closed.send_replace(true);
    }

    async fn wait_closed(&self) {
        // The sender is in `self`, so it cannot have gone.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }
}

#[expect(unsafe_code, reason = "the safe constructor of tokio is deprecated")]
fn register(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd names the same open descriptor for as long as it lives, and nothing takes it out again.
    Ok(unsafe { AsyncFd::register(descriptor) }?)
}

/// Ends, and closes the spawner's socket for writing, when the last [`Link`] is dropped.
async fn write_calls(socket: Arc<AsyncFd<OwnedFd>>, mut calls: mpsc::UnboundedReceiver<Call>) {
    while let Some(call) = calls.recv().await {
        let Ok(bytes) = packet::encode(&call) else { continue };
        let sent = socket
            .async_io(tokio::io::Interest::WRITABLE, |fd| {
                packet::send_bytes(fd, &bytes, &[], SendFlags::DONTWAIT)
            })
            .await;
        if sent.is_err() {
            break;
        }
    }
    // The reader keeps the descriptor open, so the end must be said.
    let _ = rustix::net::shutdown(socket.get_ref(), rustix::net::Shutdown::Both);
}

async fn read_messages(socket: &AsyncFd<OwnedFd>, link: &std::sync::Weak<Link>) {
    loop {
        match socket.async_io(tokio::io::Interest::READABLE, |fd| packet::receive::<Message>(fd)).await {
            Ok(Some((message, descriptors))) => match link.upgrade() {
                Some(link) => link.receive(message, descriptors),
                None => break,
            },
            Ok(None) => break,
            Err(error) => {
                tracing::error!(%error, socket = socket.as_raw_fd(), "the spawner sent what cannot be read");
                break;
            }
        }
    }
    // Whatever the reason, nothing more will be heard: end the spawner and fail what waits.
    let _ = rustix::net::shutdown(socket.get_ref(), rustix::net::Shutdown::Both);
}

fn unexpected() -> SandboxError {
    SandboxError::Setup("the spawner's reply does not fit the request".to_owned())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn setup(error: io::Error) -> SandboxError {
    SandboxError::Setup(error.to_string())
}
