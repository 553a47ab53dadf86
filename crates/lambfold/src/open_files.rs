//! The bound of open files that a process inherits.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises what is in force to the most that this process may have. Shells give 1024, which a hundred environments or a
/// thousand connections use up; nothing here is hurt by large descriptors. Functions have a bound of their own (AWS: 1024).
pub(crate) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        // It then stays as it is; whoever needs more is told by the worker.
        tracing::debug!(?current, ?maximum, "the bound of open files cannot be raised");
    }
}
