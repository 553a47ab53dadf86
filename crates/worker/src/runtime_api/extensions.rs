//! The state machine of one environment's extensions (facts: execution environment §2; AWS: Lambda Extensions API): who
//! may register, which calls are allowed when, who has which event. Pure: no sockets, no clock.

use std::fmt;

use bytes::Bytes;

/// External and internal ones together (AWS: Lambda quotas).
pub(crate) const MAX_EXTENSIONS: usize = 10;
/// A name goes into logs. An external one's is a file's.
const MAX_NAME_BYTES: usize = 255;

/// Where an extension stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// An external one that has been started.
    Started,
    Registered,
    /// It waits in `next`, or may come (back) to it.
    Ready,
    /// It has an event.
    Running,
    InitError,
    ExitError,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Started => "Started",
            Self::Registered => "Registered",
            Self::Ready => "Ready",
            Self::Running => "Running",
            Self::InitError => "InitError",
            Self::ExitError => "ExitError",
        })
    }
}

/// What an extension says of its failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fatal {
    /// `init/error`
    Init,
    /// `exit/error`
    Exit,
}

impl Fatal {
    /// As the invoker and REPORT see it.
    pub(crate) fn error_type(self) -> &'static str {
        match self {
            Self::Init => "Extension.InitError",
            Self::Exit => "Extension.ExitError",
        }
    }

    /// As the log has it.
    pub(crate) fn state(self) -> &'static str {
        match self {
            Self::Init => "InitError",
            Self::Exit => "ExitError",
        }
    }

    fn phase(self) -> Phase {
        match self {
            Self::Init => Phase::InitError,
            Self::Exit => Phase::ExitError,
        }
    }
}

/// Why a call is refused: with status 403, always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error_type: &'static str,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(error_type: &'static str, message: impl Into<String>) -> Self {
        Self { error_type, message: message.into() }
    }

    fn transition(extension: &Extension, to: Phase) -> Self {
        let (from, name) = (extension.phase, &extension.name);
        let message = format!(
            "State transition from {from} to {to} failed for extension {name}. Error: State transition is not allowed"
        );
        Self::new("Extension.InvalidExtensionState", message)
    }
}

#[derive(Debug)]
struct Extension {
    name: String,
    /// Empty until it has registered.
    identifier: String,
    external: bool,
    invoke: bool,
    shutdown: bool,
    phase: Phase,
    /// What its next call of `next` gets.
    event: Option<Bytes>,
}

/// What is shown of an extension in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) name: String,
    pub(crate) events: Vec<&'static str>,
}

/// All extensions of an environment.
#[derive(Debug)]
pub(crate) struct Extensions {
    /// The external ones first, in the order in which they were expected.
    all: Vec<Extension>,
    open: bool,
}

impl Extensions {
    pub(crate) fn new() -> Self {
        Self { all: Vec::new(), open: true }
    }

    /// These are being started.
    pub(crate) fn expect(&mut self, names: &[String]) {
        self.all.extend(names.iter().map(|name| Extension {
            name: name.clone(),
            identifier: String::new(),
            external: true,
            invoke: false,
            shutdown: false,
            phase: Phase::Started,
            event: None,
        }));
    }

    /// `POST /extension/register`; `identifier` becomes its own.
    pub(crate) fn register(
        &mut self,
        name: &str,
        events: &[String],
        identifier: &str,
    ) -> Result<(), Refusal> {
        let known = self.all.iter().position(|it| it.name == name);
        let external = known.is_some_and(|at| self.all[at].external);
        for event in events {
            let text = match event.as_str() {
                "INVOKE" => continue,
                "SHUTDOWN" if external => continue,
                "SHUTDOWN" => "event not supported for internal extensions",
                _ => "invalid event type",
            };
            let event: String = event.chars().take(64).collect();
            return Err(Refusal::new("Extension.InvalidEventType", format!("{event}: {text}")));
        }
        let has = |wanted: &str| events.iter().any(|event| event == wanted);
        let (invoke, shutdown) = (has("INVOKE"), has("SHUTDOWN"));
        let identifier = identifier.to_owned();
        match known {
            Some(at) if external => {
                let extension = &mut self.all[at];
                if extension.phase != Phase::Started {
                    return Err(Refusal::transition(extension, Phase::Registered));
                }
                (extension.identifier, extension.phase) = (identifier, Phase::Registered);
                (extension.invoke, extension.shutdown) = (invoke, shutdown);
                return Ok(());
            }
            _ if !self.open => {
                return Err(Refusal::new(
                    "Extension.RegistrationClosed",
                    "Extension registration closed already",
                ));
            }
            Some(_) => {
                let text = "Extension with this name already registered";
                return Err(Refusal::new("Extension.InvalidExtensionState", text));
            }
            None => {}
        }
        if self.all.len() >= MAX_EXTENSIONS {
            let text = format!("Extension limit ({MAX_EXTENSIONS}) reached");
            return Err(Refusal::new("Extension.TooManyExtensions", text));
        }
        if name.len() > MAX_NAME_BYTES {
            let text = format!("Extension name is longer than {MAX_NAME_BYTES} bytes");
            return Err(Refusal::new("Extension.InvalidExtensionName", text));
        }
        self.all.push(Extension {
            name: name.to_owned(),
            identifier,
            external: false,
            invoke,
            shutdown,
            phase: Phase::Registered,
            event: None,
        });
        Ok(())
    }

    /// The runtime has made its first call of `next`: nobody may register any more.
    pub(crate) fn close(&mut self) {
        self.open = false;
    }

    /// `GET /extension/event/next`: if it is allowed, [`take`](Self::take) has or will have what it waits for.
    pub(crate) fn next(&mut self, identifier: &str) -> Result<(), Refusal> {
        let extension = self.find(identifier)?;
        match extension.phase {
            Phase::Registered | Phase::Ready | Phase::Running => {
                extension.phase = Phase::Ready;
                Ok(())
            }
            _ => Err(Refusal::transition(extension, Phase::Ready)),
        }
    }

    /// The event of an extension that waits, for the connection that asks first.
    pub(crate) fn take(&mut self, identifier: &str) -> Option<Bytes> {
        let extension = self.find(identifier).ok().filter(|it| it.phase == Phase::Ready)?;
        let event = extension.event.take()?;
        extension.phase = Phase::Running;
        Some(event)
    }

    /// The connection that took it could not write it; another one may.
    pub(crate) fn give_back(&mut self, identifier: &str, event: Bytes) {
        if let Ok(extension) = self.find(identifier)
            && extension.event.is_none()
        {
            extension.event = Some(event);
        }
    }

    /// `POST /extension/init/error` and `/exit/error`. The extension's place in the order, or `None` if it said so before.
    pub(crate) fn fail(&mut self, identifier: &str, fatal: Fatal) -> Result<Option<usize>, Refusal> {
        let extension = self.find(identifier)?;
        let allowed = match extension.phase {
            phase if phase == fatal.phase() => return Ok(None),
            Phase::Registered => true,
            Phase::Ready | Phase::Running => fatal == Fatal::Exit,
            Phase::Started | Phase::InitError | Phase::ExitError => false,
        };
        if !allowed {
            return Err(Refusal::transition(extension, fatal.phase()));
        }
        extension.phase = fatal.phase();
        Ok(self.all.iter().position(|it| it.identifier == identifier))
    }

    /// Whether that is a registered extension's.
    pub(crate) fn knows(&mut self, identifier: &str) -> Result<(), Refusal> {
        self.find(identifier).map(|_| ())
    }

    /// That of a registered one.
    pub(crate) fn name(&mut self, identifier: &str) -> Option<String> {
        self.find(identifier).ok().map(|extension| extension.name.clone())
    }

    fn find(&mut self, identifier: &str) -> Result<&mut Extension, Refusal> {
        let found = self.all.iter_mut().find(|it| it.identifier == identifier && it.phase != Phase::Started);
        let text = || format!("Unknown extension {identifier}");
        found.ok_or_else(|| Refusal::new("Extension.UnknownExtensionIdentifier", text()))
    }

    /// Whether all that were started have registered: the runtime may start.
    pub(crate) fn all_registered(&self) -> bool {
        self.all.iter().all(|it| it.phase != Phase::Started)
    }

    /// Whether none has anything to do: init, or the invocation, is over as far as they are concerned.
    pub(crate) fn settled(&self) -> bool {
        self.all.iter().all(|it| it.phase == Phase::Ready && it.event.is_none())
    }

    /// Those who subscribed to INVOKE get the event, which is made only if there is one.
    pub(crate) fn invoke(&mut self, event: impl FnOnce() -> Bytes) {
        if self.all.iter().any(|it| it.invoke) {
            let event = event();
            for extension in self.all.iter_mut().filter(|it| it.invoke) {
                extension.event = Some(event.clone());
            }
        }
    }

    /// Those who subscribed to SHUTDOWN get the event, at once or when they next ask. Says of each external one, in their
    /// order, whether it will be told.
    pub(crate) fn shut_down(&mut self, event: &Bytes) -> Vec<bool> {
        for extension in &mut self.all {
            let told = extension.shutdown
                && matches!(extension.phase, Phase::Registered | Phase::Ready | Phase::Running);
            extension.event = told.then(|| event.clone());
        }
        self.all.iter().filter(|it| it.external).map(|it| it.event.is_some()).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// For the log.
    pub(crate) fn shown(&self) -> Vec<Shown> {
        let shown = |it: &Extension| Shown {
            name: it.name.clone(),
            events: [(it.invoke, "INVOKE"), (it.shutdown, "SHUTDOWN")]
                .into_iter()
                .filter_map(|(subscribed, event)| subscribed.then_some(event))
                .collect(),
        };
        self.all.iter().map(shown).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn error_type<T: fmt::Debug>(result: Result<T, Refusal>) -> &'static str {
        result.unwrap_err().error_type
    }

    #[test]
    fn the_ordinary_life() {
        let mut all = Extensions::new();
        all.expect(&events(&["agent"]));
        assert!(!all.all_registered());
        all.register("agent", &events(&["INVOKE", "SHUTDOWN"]), "1").unwrap();
        assert!(all.all_registered());
        all.register("inside", &events(&["INVOKE"]), "2").unwrap();
        all.register("silent", &[], "3").unwrap();
        all.close();
        for identifier in ["1", "2"] {
            all.next(identifier).unwrap();
            assert!(!all.settled());
        }
        all.next("3").unwrap();
        assert!(all.settled());
        all.invoke(|| "invoke".into());
        assert!(!all.settled());
        assert_eq!((all.take("1").unwrap(), all.take("1"), all.take("3")), ("invoke".into(), None, None));
        all.next("1").unwrap();
        assert!(!all.settled(), "the other one has not fetched its event");
        let event = all.take("2").unwrap();
        // The connection was lost, and another one asks.
        all.give_back("2", event);
        all.next("2").unwrap();
        assert!(!all.settled());
        all.take("2").unwrap();
        all.next("2").unwrap();
        assert!(all.settled());
        assert_eq!(all.shut_down(&"bye".into()), [true]);
        assert_eq!((all.take("1").unwrap(), all.take("2")), ("bye".into(), None));
    }

    #[test]
    fn registration_has_its_rules() {
        let mut all = Extensions::new();
        all.expect(&events(&["agent"]));
        assert_eq!(error_type(all.register("x", &events(&["SHUTDOWN"]), "1")), "Extension.InvalidEventType");
        assert_eq!(error_type(all.register("x", &events(&["OTHER"]), "1")), "Extension.InvalidEventType");
        all.register("x", &events(&["INVOKE"]), "1").unwrap();
        assert_eq!(error_type(all.register("x", &[], "2")), "Extension.InvalidExtensionState");
        all.register("agent", &[], "a").unwrap();
        assert_eq!(error_type(all.register("agent", &[], "b")), "Extension.InvalidExtensionState");
        for more in 2..MAX_EXTENSIONS {
            all.register(&more.to_string(), &[], &more.to_string()).unwrap();
        }
        assert_eq!(error_type(all.register("eleventh", &[], "z")), "Extension.TooManyExtensions");
        all.close();
        assert_eq!(error_type(all.register("late", &[], "z")), "Extension.RegistrationClosed");
        // Nobody is found by the empty identifier of one that has not registered.
        let mut all = Extensions::new();
        all.expect(&events(&["agent"]));
        assert_eq!(error_type(all.next("")), "Extension.UnknownExtensionIdentifier");
        assert_eq!(error_type(all.register(&"n".repeat(256), &[], "1")), "Extension.InvalidExtensionName");
    }

    #[test]
    fn errors_are_final_and_told_once() {
        let mut all = Extensions::new();
        all.expect(&events(&["a", "b"]));
        all.register("a", &events(&["SHUTDOWN"]), "1").unwrap();
        all.register("b", &events(&["INVOKE"]), "2").unwrap();
        assert_eq!(all.fail("1", Fatal::Init), Ok(Some(0)));
        assert_eq!(all.fail("1", Fatal::Init), Ok(None));
        assert_eq!(error_type(all.fail("1", Fatal::Exit)), "Extension.InvalidExtensionState");
        assert_eq!(error_type(all.next("1")), "Extension.InvalidExtensionState");
        all.next("2").unwrap();
        assert_eq!(error_type(all.fail("2", Fatal::Init)), "Extension.InvalidExtensionState");
        assert_eq!(all.fail("2", Fatal::Exit), Ok(Some(1)));
        assert_eq!(all.shut_down(&"bye".into()), [false, false], "one has failed, one has not subscribed");
    }
}
