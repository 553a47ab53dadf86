//! The system calls that no safe crate offers. All `unsafe` code of the project is here
//! (but for one constructor of tokio's, in `client.rs`).
#![expect(
    unsafe_code,
    reason = "clone, execve, seccomp and the like have no safe wrapper; each block says why it holds"
)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_long, c_uint, c_ulong};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::process::Pid;

/// What to do after a [`fork`].
pub(super) struct Child {
    pub(super) pid: Pid,
    /// Readable when the process has ended; signals sent through it cannot hit another.
    pub(super) pidfd: OwnedFd,
}

/// Forks into new namespaces (`CLONE_NEW*` flags) and runs `child` there, which ends the new process when it returns.
///
/// # Errors
///
/// When the system refuses, or when this process has more than one thread.
pub(super) fn fork(namespaces: c_int, child: impl FnOnce() -> i32) -> io::Result<Child> {
    let mut pidfd: c_int = -1;
    let flags = c_long::from(namespaces | libc::CLONE_PIDFD | libc::SIGCHLD);
    // SAFETY: without CLONE_VM the child has a copy of this address space and goes on on a copy of this stack, as with
    // fork(2). The process has one thread (`spawner_main` makes sure), so no lock is held by a thread that the child
    // lacks, and ordinary code may run in it. `pidfd` is written in the parent, where it is live.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, &raw mut pidfd, 0_usize, 0_usize) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // A panic must not unwind into the parent's code, which would go on as a second parent.
            let code = catch_unwind(AssertUnwindSafe(child)).unwrap_or(101);
            exit_now(code)
        }
        pid => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
            // SAFETY: the kernel has just made this descriptor for us, nobody else owns it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Child { pid, pidfd })
        }
    }
}

/// Ends this process without running destructors or exit handlers, which belong to the process it was forked from.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// The resident set, in bytes, of the largest child that this process has waited for.
pub(super) fn largest_child_bytes() -> u64 {
    // SAFETY: rusage is plain data, for which all zeros is a value; the call writes into storage that we own.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    u64::try_from(usage.ru_maxrss).unwrap_or(0) << 10
}

/// Has SIGALRM end this process after some seconds.
pub(super) fn end_after(seconds: c_uint) {
    // SAFETY: alarm has no preconditions; the signal's default action, which no code here changes, ends the process.
    unsafe { libc::alarm(seconds) };
}

/// Where programs are looked for when the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program, its arguments and its environment in the form `execve` wants.
pub(super) struct Program {
    /// Where it may be; the first that can be executed is it.
    candidates: Vec<CString>,
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Program {
    /// Fails on an empty command and on NUL bytes. A path is taken from the function's directory; with `search` a name will do, too.
    pub(super) fn new(
        command: &[String],
        environment: &BTreeMap<String, String>,
        search: bool,
    ) -> Result<Self, String> {
        let no_nul =
            |text: String| CString::new(text).map_err(|_| "a NUL byte in command or environment".to_owned());
        if command.is_empty() {
            return Err("the command is empty".to_owned());
        }
        if !search && !command[0].contains('/') {
            return Err(format!("the program '{}' is not a path", command[0]));
        }
        let candidates = if command[0].contains('/') || command[0].is_empty() {
            vec![command[0].clone()]
        } else {
            let path = environment.get("PATH").map_or(DEFAULT_PATH, String::as_str);
            // An empty directory is the working directory.
            path.split(':')
                .map(|at| if at.is_empty() { "." } else { at })
                .map(|at| format!("{at}/{}", command[0]))
                .collect()
        };
        let mut variables = Vec::new();
        for (name, value) in environment {
            if name.is_empty() || name.contains('=') {
                return Err(format!("'{name}' cannot be the name of an environment variable"));
            }
            variables.push(no_nul(format!("{name}={value}"))?);
        }
        Ok(Self {
            candidates: candidates.into_iter().map(no_nul).collect::<Result<_, _>>()?,
            arguments: command.iter().cloned().map(no_nul).collect::<Result<_, _>>()?,
            environment: variables,
        })
    }

    /// Replaces this process; returns only if that fails.
    pub(super) fn execute(&self) -> io::Error {
        let pointers = |texts: &[CString]| -> Vec<*const c_char> {
            texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
        };
        let (arguments, environment) = (pointers(&self.arguments), pointers(&self.environment));
        let mut refused = None;
        for candidate in &self.candidates {
            // SAFETY: both arrays end in a null pointer and point at NUL-terminated strings that `self` keeps alive;
            // `new` made sure that there is a first argument.
            unsafe { libc::execve(candidate.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => {}
                // Another directory may have one that can be executed.
                Some(libc::EACCES) => refused = Some(error),
                _ => return error,
            }
        }
        refused.unwrap_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
    }
}

/// Sets all signals to their default action and unblocks them: an exec'd program inherits what is ignored or blocked.
pub(super) fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: SIG_DFL is no handler, so no code of ours runs in signal context. The calls that fail (SIGKILL,
        // SIGSTOP, those that libc keeps) need no reset.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: an all-zero sigset_t is valid storage, and sigemptyset initialises it before use.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Ignores the signals that a terminal or a service manager sends to a whole group: the worker decides when to end.
pub(super) fn ignore_terminal_signals() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGPIPE] {
        // SAFETY: SIG_IGN is no handler, so no code of ours runs in signal context.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// A descriptor that becomes readable when a child has ended. Blocks SIGCHLD's ordinary delivery.
pub(super) fn child_signal() -> io::Result<OwnedFd> {
    // SAFETY: the set is zeroed storage initialised by sigemptyset before use; the descriptor is fresh and ours.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        match libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Takes standard input as a descriptor of ours, and puts `/dev/null` in its place.
pub(super) fn take_stdin() -> io::Result<OwnedFd> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(socket)
}

/// Closes every descriptor from 3 up except `keep`.
pub(super) fn close_all_except(keep: &[RawFd]) {
    let mut keep: Vec<c_uint> =
        keep.iter().filter_map(|fd| c_uint::try_from(*fd).ok()).filter(|fd| *fd > 2).collect();
    keep.sort_unstable();
    let mut from: c_uint = 3;
    for fd in keep.into_iter().chain([c_uint::MAX]) {
        if fd > from {
            // SAFETY: only called right after a fork, in the child: the copies of the parent's owners of these
            // descriptors are never dropped there, because the child ends by `exit_now` or `execute`.
            unsafe { libc::syscall(libc::SYS_close_range, from, fd - 1, 0) };
        }
        from = fd.saturating_add(1);
    }
}

/// Marks every descriptor from 3 up to be closed by exec.
pub(super) fn close_on_exec_from_3() -> io::Result<()> {
    // SAFETY: closes nothing now, only sets a flag.
    match unsafe { libc::syscall(libc::SYS_close_range, 3, c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Puts a descriptor at a number of its own, open across exec. What had that number is closed.
pub(super) fn keep_at(fd: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    if fd.as_raw_fd() == number {
        return Ok(rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?);
    }
    // SAFETY: only called right before exec, in a forked child: whoever owned that number here never drops it, because
    // the child ends by `exit_now` or `execute`.
    match unsafe { libc::dup2(fd.as_raw_fd(), number) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// `struct mount_attr` of linux/mount.h.
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// Read only, no set-uid, and (unless `devices`) no device files: for a mount and all below it.
pub(super) fn restrict_mount(mount: BorrowedFd<'_>, devices: bool) -> io::Result<()> {
    let no_devices = if devices { 0 } else { libc::MOUNT_ATTR_NODEV };
    let attributes = MountAttributes {
        set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | no_devices,
        clear: 0,
        propagation: 0,
        userns: 0,
    };
    // SAFETY: the path is an empty C string, the attributes live through the call and their size is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes `root` the root of this mount namespace and the old one unreachable.
pub(super) fn pivot_root(root: &std::path::Path) -> io::Result<()> {
    rustix::process::chdir(root)?;
    let here = c".";
    // SAFETY: both arguments are C strings. With both ".", the old root is stacked on the new one, from where it is
    // detached next.
    if unsafe { libc::syscall(libc::SYS_pivot_root, here.as_ptr(), here.as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    rustix::mount::unmount(here, rustix::mount::UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")?;
    Ok(())
}

/// Moves this process into new namespaces.
pub(super) fn unshare(namespaces: c_int) -> io::Result<()> {
    // SAFETY: no descriptor table or file system context is split (no CLONE_FILES, CLONE_FS); namespaces of a
    // process with one thread may change at any time.
    if unsafe { libc::unshare(namespaces) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Switches on the loopback interface of this network namespace.
pub(super) fn bring_up_loopback() -> io::Result<()> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    let mut request = named("lo");
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or_default();
    // SAFETY: the ioctl reads the name, which is NUL-terminated, and the flags member, which was set.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes a tun device of IP packets in this network namespace. It goes when the descriptor of `/dev/net/tun` is closed.
pub(super) fn attach_tun(tun: &OwnedFd, name: &str) -> io::Result<()> {
    // SAFETY: ifreq is plain data, for which all zeros is a value; `named` leaves its name NUL-terminated; the ioctl reads
    // and writes within the structure, which lives through the call.
    unsafe {
        let mut request = named(name);
        request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_TUN | libc::IFF_NO_PI).unwrap_or_default();
        if libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &raw mut request) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// A request of netdevice(7) for an interface, with all else zero.
fn named(interface: &str) -> libc::ifreq {
    // SAFETY: ifreq is plain data, for which all zeros is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays a NUL.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..room].iter_mut().zip(interface.bytes()) {
        *to = c_char::try_from(from).unwrap_or_default();
    }
    request
}

/// A socket for every Ethernet frame that comes in on an interface of this network namespace, and for sending there.
pub(super) fn packet_socket(interface: u32) -> io::Result<OwnedFd> {
    let every = u16::try_from(libc::ETH_P_ALL).unwrap_or_default().to_be();
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: sockaddr_ll is plain data, for which all zeros is a value. Structures and integers live through the calls that
    // are given their sizes. The descriptor is fresh and ours. Bound only after it ignores what this end sends itself.
    unsafe {
        let socket = match libc::socket(libc::AF_PACKET, kind, 0) {
            -1 => return Err(io::Error::last_os_error()),
            socket => OwnedFd::from_raw_fd(socket),
        };
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::sa_family_t::try_from(libc::AF_PACKET).unwrap_or_default();
        address.sll_protocol = every;
        address.sll_ifindex = c_int::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?;
        let set = |level, name, value: c_int| {
            let size = libc::socklen_t::try_from(size_of::<c_int>()).unwrap_or_default();
            libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size)
        };
        // As much as an ordinary user gets.
        set(libc::SOL_SOCKET, libc::SO_RCVBUF, 4 << 20);
        set(libc::SOL_SOCKET, libc::SO_SNDBUF, 4 << 20);
        let size = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or_default();
        if set(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1) != 0
            || libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) != 0
        {
            return Err(io::Error::last_os_error());
        }
        Ok(socket)
    }
}

/// Gives this process an empty session keyring of its own.
pub(super) fn new_session_keyring() {
    const KEYCTL_JOIN_SESSION_KEYRING: c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring. If the kernel has no keyrings there is none to inherit.
    unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<c_char>()) };
}

/// Takes every capability out of the bounding set.
pub(super) fn drop_bounding_set() -> io::Result<()> {
    for capability in 0..64 as c_ulong {
        // SAFETY: takes integers only.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            let error = io::Error::last_os_error();
            // The first number that this kernel does not know.
            return if error.raw_os_error() == Some(libc::EINVAL) { Ok(()) } else { Err(error) };
        }
    }
    Ok(())
}

/// One instruction of a seccomp filter.
pub(super) type Instruction = libc::sock_filter;

/// Installs a seccomp filter on this process. Needs `no_new_privs`.
pub(super) fn install_filter(filter: &[Instruction]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the program points at `len` instructions that live through the call; the kernel copies and checks them,
    // and does not write through the pointer.
    match unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Signals every process of this pid namespace but its first, which must be the caller.
pub(super) fn signal_namespace(signal: rustix::process::Signal) {
    debug_assert_eq!(std::process::id(), 1, "elsewhere it would be everybody's processes");
    if std::process::id() == 1 {
        // SAFETY: takes plain numbers. There may be none to signal.
        unsafe { libc::kill(-1, signal.as_raw()) };
    }
}

/// Sets this system's host name as this UTS namespace sees it.
pub(super) fn set_host_name(name: &CStr) -> io::Result<()> {
    Ok(rustix::system::sethostname(name.to_bytes())?)
}
