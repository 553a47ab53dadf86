//! How an invocation failed, in the words that AWS uses: payloads for the invoker and lines for the log
//! (facts: Lambda API §7, execution environment §1.4 and §4).

use bytes::Bytes;
use lambfold_sandbox::ExitStatus;
use serde_json::json;

/// A failure that the platform words itself. What the function's runtime reports is passed on untouched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The type that the payload shows.
    pub(crate) error_type: &'static str,
    /// The type that REPORT shows.
    pub(crate) report_type: &'static str,
    text: String,
    pub(crate) preface: Option<Preface>,
}

/// What the log says before a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Preface {
    /// As if the function had printed it.
    Printed(String),
    /// The extension of that name was not launched, for a reason of that type.
    NotLaunched(String, &'static str),
}

impl Failure {
    /// The process ended by itself.
    pub(crate) fn exited(status: ExitStatus, oom: bool) -> Self {
        let text = match status {
            _ if oom => "Runtime exited with error: signal: killed".to_owned(),
            ExitStatus::Code(0) => "Runtime exited without providing a reason".to_owned(),
            ExitStatus::Code(code) => format!("Runtime exited with error: exit status {code}"),
            ExitStatus::Signal(number) => {
                format!("Runtime exited with error: signal: {}", signal_name(number))
            }
        };
        let report_type = if oom { "Runtime.OutOfMemory" } else { "Runtime.ExitError" };
        Self { report_type, ..Self::of("Runtime.ExitError", text) }
    }

    /// `AWS_LAMBDA_EXEC_WRAPPER` names what cannot be executed: as the shell says it that AWS starts wrappers with.
    pub(crate) fn no_wrapper(path: &str, is_there: bool) -> Self {
        let (status, why) = if is_there { (126, "is not an executable") } else { (127, "does not exist") };
        let preface = Some(Preface::Printed(format!("{path}: {why}\n")));
        Self { preface, ..Self::exited(ExitStatus::Code(status), false) }
    }

    /// The function used up its time.
    pub(crate) fn timed_out(timeout_seconds: u32) -> Self {
        Self::of("Sandbox.Timedout", timeout_text(timeout_seconds))
    }

    /// There is nothing to start.
    pub(crate) fn invalid_entrypoint(text: impl Into<String>) -> Self {
        Self::of("Runtime.InvalidEntrypoint", text)
    }

    /// An image's command cannot start in its directory.
    pub(crate) fn invalid_working_dir(text: impl Into<String>) -> Self {
        Self::of("Runtime.InvalidWorkingDir", text)
    }

    /// The directory that the code is to be is of no use.
    pub(crate) fn hot_reload(text: impl Into<String>) -> Self {
        Self::of("Lambfold.HotReload", text)
    }

    /// The port for its debugger is not to be had.
    pub(crate) fn debugger(text: impl Into<String>) -> Self {
        Self::of("Lambfold.Debugger", text)
    }

    /// An external extension cannot be executed.
    pub(crate) fn extension_launch(name: &str, is_permitted: bool, text: impl Into<String>) -> Self {
        let kind = if is_permitted { "UnknownError" } else { "PermissionDenied" };
        let preface = Some(Preface::NotLaunched(name.to_owned(), kind));
        Self { preface, ..Self::of("Extension.LaunchError", text) }
    }

    /// The layers bring more extensions than there may be.
    pub(crate) fn too_many_extensions(limit: usize) -> Self {
        Self::of("Extension.TooManyExtensions", format!("Extension limit ({limit}) reached"))
    }

    /// An external extension ended by itself, or after it had said that it would.
    pub(crate) fn extension_ended(error_type: &'static str, status: ExitStatus) -> Self {
        let text = match status {
            ExitStatus::Code(0) => "exit code 0".to_owned(),
            ExitStatus::Code(code) => format!("exit status {code}"),
            ExitStatus::Signal(number) => format!("signal: {}", signal_name(number)),
        };
        Self::of(error_type, text)
    }

    /// An extension said that it cannot go on, and runs on.
    pub(crate) fn extension_said(error_type: &'static str, own_type: &str) -> Self {
        Self::of(error_type, own_type)
    }

    fn of(error_type: &'static str, text: impl Into<String>) -> Self {
        Self { error_type, report_type: error_type, text: text.into(), preface: None }
    }

    /// The answer broke off.
    pub(crate) fn truncated_response() -> Self {
        Self::of("Runtime.TruncatedResponse", "Response was truncated")
    }

    /// The runtime asked for a response mode that there is not.
    pub(crate) fn invalid_response_mode() -> Self {
        Self::of("Runtime.InvalidResponseModeHeader", "Invalid response mode header")
    }

    /// The payload for the invoker.
    pub(crate) fn payload(&self, request_id: &str) -> Bytes {
        payload(self.error_type, &self.message(request_id))
    }

    /// The text with the request id in front, as payload and log have it.
    pub(crate) fn message(&self, request_id: &str) -> String {
        format!("RequestId: {request_id} Error: {}", self.text)
    }
}

/// The payload of an answer over the limit; it names no request.
pub(crate) fn response_too_large(limit: usize) -> Bytes {
    let message = format!("Response payload size exceeded maximum allowed payload size ({limit} bytes).");
    payload("Function.ResponseSizeTooLarge", &message)
}

/// `Task timed out after 3.00 seconds`.
pub(crate) fn timeout_text(timeout_seconds: u32) -> String {
    format!("Task timed out after {timeout_seconds}.00 seconds")
}

fn payload(error_type: &str, message: &str) -> Bytes {
    json!({ "errorType": error_type, "errorMessage": message }).to_string().into()
}

/// As Go prints signals, which is what AWS's runtime manager is written in.
fn signal_name(number: i32) -> String {
    let name = match number {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        10 => "user defined signal 1",
        11 => "segmentation fault",
        12 => "user defined signal 2",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        _ => return format!("signal {number}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_are_worded_as_aws_words_them() {
        let text = |status, oom| {
            let payload = Failure::exited(status, oom).payload("id");
            String::from_utf8(payload.to_vec()).unwrap()
        };
        assert_eq!(
            text(ExitStatus::Code(1), false),
            r#"{"errorMessage":"RequestId: id Error: Runtime exited with error: exit status 1","errorType":"Runtime.ExitError"}"#
        );
        assert!(text(ExitStatus::Code(0), false).contains("Runtime exited without providing a reason"));
        assert!(text(ExitStatus::Signal(11), false).contains("signal: segmentation fault"));
        assert!(text(ExitStatus::Code(137), true).contains("signal: killed"));
        assert_eq!(Failure::exited(ExitStatus::Signal(9), true).report_type, "Runtime.OutOfMemory");
    }
}
