//! The state machine of one runtime (facts: execution environment §1.3): which calls are allowed when, and what they
//! mean. Pure: no sockets, no clock.

use std::fmt;

/// Where the runtime stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Started; init is under way.
    Started,
    /// It has run its hooks before a snapshot, and does now what comes after its restoration.
    Restoring,
    /// It said that init failed.
    InitError,
    /// It waits in `next`, or may come (back) to it.
    Ready,
    /// It has, or is about to get, an invocation.
    Running,
    /// It is sending its answer.
    Answering,
    /// Its answer has come; it is on its way to `next`.
    ResponseSent,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Started => "Started",
            Self::Restoring => "Restoring",
            Self::InitError => "InitError",
            Self::Ready => "Ready",
            Self::Running => "Running",
            Self::Answering => "InvocationResponse",
            Self::ResponseSent => "ResponseSent",
        })
    }
}

/// Why a call is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The id is not that of the invocation, or it has its answer.
    InvalidRequestId,
    /// Not now.
    InvalidTransition {
        /// Where the runtime stands.
        from: Phase,
        /// Where the call would have led.
        to: Phase,
    },
}

/// What a call to `next` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Init is done.
    InitDone,
    /// The invocation is over; the environment is free.
    InvocationDone,
    /// It asks again, over another connection: nothing has changed.
    Again,
    /// It asks again, and an invocation waits that no connection could take.
    Redeliver,
}

/// One runtime with at most one invocation.
#[derive(Debug)]
pub(crate) struct RuntimeState {
    phase: Phase,
    current: Option<Box<str>>,
    delivered: bool,
}

impl RuntimeState {
    pub(crate) fn new() -> Self {
        Self { phase: Phase::Started, current: None, delivered: false }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// `GET /runtime/invocation/next`
    pub(crate) fn next(&mut self) -> Result<Next, Refusal> {
        let meaning = match self.phase {
            Phase::Started | Phase::Restoring => Next::InitDone,
            Phase::ResponseSent => Next::InvocationDone,
            Phase::Ready => Next::Again,
            Phase::Running if !self.delivered => return Ok(Next::Redeliver),
            from => return Err(Refusal::InvalidTransition { from, to: Phase::Ready }),
        };
        self.phase = Phase::Ready;
        Ok(meaning)
    }

    /// `GET /runtime/restore/next`: there is no snapshot, so what it waits for is here at once.
    pub(crate) fn restore(&mut self) -> Result<(), Refusal> {
        match self.phase {
            Phase::Started | Phase::Restoring => {
                self.phase = Phase::Restoring;
                Ok(())
            }
            from => Err(Refusal::InvalidTransition { from, to: Phase::Restoring }),
        }
    }

    /// `POST /runtime/restore/error`
    pub(crate) fn restore_error(&mut self) -> Result<(), Refusal> {
        if self.phase == Phase::Started {
            return Err(Refusal::InvalidTransition { from: self.phase, to: Phase::InitError });
        }
        self.init_error()
    }

    /// The platform gives it an invocation. False if it is not ready for one.
    pub(crate) fn invoke(&mut self, request_id: &str) -> bool {
        if self.phase != Phase::Ready {
            return false;
        }
        self.phase = Phase::Running;
        self.current = Some(request_id.into());
        self.delivered = false;
        true
    }

    /// The invocation has been written to a connection.
    pub(crate) fn delivered(&mut self, request_id: &str) {
        if self.current.as_deref() == Some(request_id) {
            self.delivered = true;
        }
    }

    /// `POST /runtime/invocation/{id}/response` or `/error` begins. The id is looked at first.
    pub(crate) fn begin_answer(&mut self, request_id: &str) -> Result<(), Refusal> {
        if self.current.as_deref() != Some(request_id)
            || matches!(self.phase, Phase::Answering | Phase::ResponseSent | Phase::Ready)
        {
            return Err(Refusal::InvalidRequestId);
        }
        if self.phase != Phase::Running {
            return Err(Refusal::InvalidTransition { from: self.phase, to: Phase::Answering });
        }
        self.phase = Phase::Answering;
        Ok(())
    }

    /// The answer that [`begin_answer`](Self::begin_answer) allowed is complete, or broke off.
    pub(crate) fn end_answer(&mut self) {
        if self.phase == Phase::Answering {
            self.phase = Phase::ResponseSent;
        }
    }

    /// `POST /runtime/init/error`
    pub(crate) fn init_error(&mut self) -> Result<(), Refusal> {
        match self.phase {
            Phase::Started | Phase::Restoring => {
                self.phase = Phase::InitError;
                Ok(())
            }
            from => Err(Refusal::InvalidTransition { from, to: Phase::InitError }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ordinary_life() {
        let mut state = RuntimeState::new();
        assert!(!state.invoke("early"));
        assert_eq!(state.next(), Ok(Next::InitDone));
        assert_eq!(state.next(), Ok(Next::Again));
        assert!(state.invoke("a"));
        state.delivered("a");
        assert_eq!(state.begin_answer("a"), Ok(()));
        state.end_answer();
        assert_eq!(state.next(), Ok(Next::InvocationDone));
        assert!(state.invoke("b"));
    }

    #[test]
    fn a_restoration_comes_between_start_and_next() {
        let mut state = RuntimeState::new();
        assert!(state.restore_error().is_err());
        assert_eq!(state.restore(), Ok(()));
        assert_eq!(state.next(), Ok(Next::InitDone));
        assert!(state.restore().is_err() && state.restore_error().is_err());
        let mut state = RuntimeState::new();
        state.restore().unwrap();
        assert_eq!(state.restore_error(), Ok(()));
        assert!(state.next().is_err());
    }

    #[test]
    fn ids_are_checked_before_states() {
        let mut state = RuntimeState::new();
        assert_eq!(state.begin_answer("a"), Err(Refusal::InvalidRequestId));
        state.next().unwrap();
        state.invoke("a");
        state.delivered("a");
        assert_eq!(state.begin_answer("b"), Err(Refusal::InvalidRequestId));
        state.begin_answer("a").unwrap();
        assert_eq!(state.begin_answer("a"), Err(Refusal::InvalidRequestId));
        state.end_answer();
        assert_eq!(state.begin_answer("a"), Err(Refusal::InvalidRequestId));
        state.next().unwrap();
        assert_eq!(state.begin_answer("a"), Err(Refusal::InvalidRequestId));
    }

    #[test]
    fn next_while_running_is_refused_unless_nothing_was_delivered() {
        let mut state = RuntimeState::new();
        state.next().unwrap();
        state.invoke("a");
        assert_eq!(state.next(), Ok(Next::Redeliver));
        state.delivered("a");
        let refused = Refusal::InvalidTransition { from: Phase::Running, to: Phase::Ready };
        assert_eq!(state.next(), Err(refused));
        assert_eq!(state.begin_answer("a"), Ok(()));
    }

    #[test]
    fn init_errors_come_before_the_first_next_only() {
        let mut state = RuntimeState::new();
        state.init_error().unwrap();
        assert!(state.next().is_err());
        assert!(state.init_error().is_err());
        let mut state = RuntimeState::new();
        state.next().unwrap();
        assert!(state.init_error().is_err());
    }
}
