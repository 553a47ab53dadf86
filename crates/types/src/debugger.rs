//! A function's debugger: what its environment variables ask for.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{ENDPOINT_PORT, RUNTIME_API_PORT};

/// The variable that names the port of 127.0.0.1 at which the debugger is reached.
pub const DEBUG_PORT: &str = "LAMBFOLD_DEBUG_PORT";

/// The variable that has init wait for a debugger.
pub const DEBUG_WAIT: &str = "LAMBFOLD_DEBUG_WAIT";

/// What an invocation of a function that is debugged may take in all, init included, whatever the function's time-out is.
pub const DEBUG_LIMIT: Duration = Duration::from_hours(1);

/// How a function is debugged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Debugger {
    /// Where its debugger listens: the port inside the environment, and the one on the worker's machine that leads there.
    pub port: u16,
    /// Whether init waits until a debugger has attached.
    pub wait: bool,
}

/// What the variables say that cannot be done. The texts are for who set them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DebuggerError {
    /// No port of that number can be had by everybody.
    #[error("{DEBUG_PORT} must be the number of a port from 1024 to 65535, not '{0}'.")]
    Port(String),
    /// Every environment has something of the platform at that port.
    #[error(
        "{DEBUG_PORT} cannot be {0}: functions find the Runtime API at {RUNTIME_API_PORT}, and Lambfold at {ENDPOINT_PORT}."
    )]
    Occupied(u16),
    /// Neither yes nor no.
    #[error("{DEBUG_WAIT} must be 1 (init waits until a debugger has attached) or 0, not '{0}'.")]
    Wait(String),
    /// There is no debugger to wait for.
    #[error("{DEBUG_WAIT} needs {DEBUG_PORT}: the port at which the debugger is reached.")]
    WaitWithoutPort,
}

impl Debugger {
    /// What a function's environment variables ask for. A variable that is empty is as good as none.
    ///
    /// # Errors
    ///
    /// When they say what cannot be done.
    pub fn of(environment: &BTreeMap<String, String>) -> Result<Option<Self>, DebuggerError> {
        let value = |name| environment.get(name).map(String::as_str).unwrap_or_default();
        let wait = match value(DEBUG_WAIT) {
            "" | "0" => false,
            "1" => true,
            other => return Err(DebuggerError::Wait(other.to_owned())),
        };
        let text = value(DEBUG_PORT);
        if text.is_empty() {
            return if wait { Err(DebuggerError::WaitWithoutPort) } else { Ok(None) };
        }
        // Bootstraps read it, too: digits, and nothing that one language takes for a number and another does not.
        let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
        let port = text.parse().ok().filter(|port| plain && *port >= 1024);
        let port = port.ok_or_else(|| DebuggerError::Port(text.to_owned()))?;
        if [RUNTIME_API_PORT, ENDPOINT_PORT].contains(&port) {
            return Err(DebuggerError::Occupied(port));
        }
        Ok(Some(Self { port, wait }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Debugger>, DebuggerError> {
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Debugger::of(&environment.collect())
    }

    #[test]
    fn what_is_asked_for() {
        assert_eq!(of(&[("PORT", "9229")]), Ok(None));
        assert_eq!(of(&[(DEBUG_PORT, ""), (DEBUG_WAIT, "")]), Ok(None));
        assert_eq!(of(&[(DEBUG_WAIT, "0")]), Ok(None));
        let port = |port, wait| Ok(Some(Debugger { port, wait }));
        assert_eq!(of(&[(DEBUG_PORT, "1024")]), port(1024, false));
        assert_eq!(of(&[(DEBUG_PORT, "65535"), (DEBUG_WAIT, "0")]), port(65535, false));
        assert_eq!(of(&[(DEBUG_PORT, "5678"), (DEBUG_WAIT, "1")]), port(5678, true));
    }

    #[test]
    fn what_cannot_be_done() {
        for text in [
            "0", "80", "1023", "65536", "-5678", "+5678", "05678", " 5678", "5678 ", "0x1fff", "node", "٥٦٧٨",
        ] {
            assert_eq!(of(&[(DEBUG_PORT, text)]), Err(DebuggerError::Port(text.into())));
        }
        assert_eq!(of(&[(DEBUG_PORT, "9001")]), Err(DebuggerError::Occupied(9001)));
        assert_eq!(of(&[(DEBUG_PORT, "4566")]), Err(DebuggerError::Occupied(4566)));
        for text in ["true", "2", " 1", "yes"] {
            assert_eq!(
                of(&[(DEBUG_PORT, "5678"), (DEBUG_WAIT, text)]),
                Err(DebuggerError::Wait(text.into()))
            );
        }
        assert_eq!(of(&[(DEBUG_WAIT, "1")]), Err(DebuggerError::WaitWithoutPort));
    }
}
