//! The languages that this machine can run: managed runtimes' identifiers resolved to interpreters that were found.

mod search;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use lambfold_types::{Clock, LanguageVersion, RUNTIMES, Runtime, RuntimeKind};

pub(crate) use lambfold_types::Language;

/// The oldest version that the bootstrap of a language runs on.
fn oldest(language: Language) -> LanguageVersion {
    let (major, minor) = match language {
        Language::Python => (3, 9),
        Language::NodeJs => (18, 0),
        Language::Ruby => (3, 0),
        Language::Java => (17, 0),
    };
    LanguageVersion { major, minor }
}

/// How far from what is wanted a version is in what counts: `None` when no code can be expected to run.
fn distance(language: Language, wanted: LanguageVersion, found: LanguageVersion) -> Option<u32> {
    match language {
        Language::Python | Language::Ruby if wanted.major != found.major => None,
        Language::Python | Language::Ruby => Some(wanted.minor.abs_diff(found.minor)),
        Language::NodeJs => Some(wanted.major.abs_diff(found.major)),
        // A later Java runs what was compiled for an earlier one, an earlier one only what avoids what is new.
        Language::Java if found.major < wanted.major => Some(1000 + wanted.major - found.major),
        Language::Java => Some(found.major - wanted.major),
    }
}

/// An interpreter on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interpreter {
    pub(crate) language: Language,
    pub(crate) version: LanguageVersion,
    /// The real binary: no link, no shim.
    pub(crate) program: PathBuf,
    /// What of it lies outside `/usr`: sandboxes must be shown it.
    directories: Vec<PathBuf>,
}

impl Interpreter {
    /// The identifier of the managed runtime of just its version, if there is one; else its name.
    pub(crate) fn identifier(&self) -> String {
        let kind = RuntimeKind::Managed(self.language, self.version);
        match RUNTIMES.iter().find(|runtime| runtime.kind == kind) {
            Some(runtime) => runtime.identifier.to_owned(),
            // AWS has no runtime of that version.
            None => self.name(),
        }
    }

    fn name(&self) -> String {
        format!("{} {}", self.language, self.version)
    }
}

/// Why a runtime identifier leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RuntimeError {
    /// Not one of ours.
    #[error("Lambfold does not run {0} yet; see docs/gaps.md.")]
    Unsupported(String),
    /// The language is not installed.
    #[error(
        "{0} needs {1} {2}, which is not installed on this machine (found: {3}). Install it, or put it on the PATH that Lambfold is started with."
    )]
    Missing(String, Language, LanguageVersion, String),
}

/// The interpreters that were found when the worker started.
#[derive(Debug, Default)]
pub struct Interpreters {
    /// At most one of each version.
    found: Vec<Interpreter>,
    /// Runtimes of which it was said aloud that another version runs them.
    told: Mutex<HashSet<String>>,
}

impl Interpreters {
    /// Looks through `search_path` (as `PATH` has it; version managers beside it are understood) and asks each
    /// interpreter for its version. Takes about as long as the slowest of them takes to start.
    pub async fn discover(search_path: &OsStr, clock: &dyn Clock) -> Self {
        let found = search::discover(search_path, clock).await;
        for interpreter in &found {
            tracing::debug!(program = %interpreter.program.display(), "found {}", interpreter.name());
        }
        Self { found, told: Mutex::default() }
    }

    /// Directories outside `/usr` that sandboxes must show for the interpreters to work: the spawner's
    /// `extra_readonly`.
    pub fn directories(&self) -> Vec<PathBuf> {
        let mut directories: Vec<PathBuf> =
            self.found.iter().flat_map(|interpreter| interpreter.directories.clone()).collect();
        directories.sort();
        // A directory shows what is below it.
        directories.dedup_by(|later, earlier| later.starts_with(&*earlier));
        directories
    }

    /// The identifiers of the runtimes that functions may have here: with `nearest`, also those that another version of
    /// the language runs.
    pub fn runtimes(&self, nearest: bool) -> Vec<String> {
        let can = |runtime: &&Runtime| match runtime.kind {
            RuntimeKind::Managed(..) => self.runs(runtime, nearest).is_some(),
            RuntimeKind::Provided => true,
            RuntimeKind::NotHere => false,
        };
        RUNTIMES.iter().filter(can).map(|runtime| runtime.identifier.to_owned()).collect()
    }

    /// Where sandboxes have a `/tmp` of their own, what lies in the host's is not there.
    pub(crate) fn leave_out_tmp(&mut self) {
        self.found.retain(|Interpreter { program, .. }| {
            let is_visible = !program.starts_with("/tmp");
            if !is_visible {
                let program = program.display();
                tracing::warn!(%program, "functions cannot see it, as they have a /tmp of their own: put it elsewhere");
            }
            is_visible
        });
    }

    pub(crate) fn found(&self) -> &[Interpreter] {
        &self.found
    }

    /// The interpreter for a managed runtime, `None` for a provided one. With `nearest`, another version of the
    /// language will do; that is logged, once per runtime.
    pub(crate) fn resolve(
        &self,
        identifier: &str,
        nearest: bool,
    ) -> Result<Option<&Interpreter>, RuntimeError> {
        let (language, version) = match Runtime::find(identifier).map(|runtime| runtime.kind) {
            None | Some(RuntimeKind::NotHere) => {
                return Err(RuntimeError::Unsupported(identifier.chars().take(64).collect()));
            }
            Some(RuntimeKind::Provided) => return Ok(None),
            Some(RuntimeKind::Managed(language, version)) => (language, version),
        };
        let Some(interpreter) = self.best(language, version, nearest) else {
            let mut names: Vec<String> = self.of_language(language).map(Interpreter::name).collect();
            if names.is_empty() {
                names.push("none".to_owned());
            }
            return Err(RuntimeError::Missing(identifier.to_owned(), language, version, names.join(", ")));
        };
        if interpreter.version != version
            && self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(identifier.to_owned())
        {
            tracing::warn!(
                runtime = identifier,
                program = %interpreter.program.display(),
                "{identifier} is not installed: functions of it run on {}", interpreter.name()
            );
        }
        Ok(Some(interpreter))
    }

    /// The interpreter that runs functions of that runtime, if it is a managed one and there is one.
    pub(crate) fn runs(&self, runtime: &Runtime, nearest: bool) -> Option<&Interpreter> {
        match runtime.kind {
            RuntimeKind::Managed(language, version) => self.best(language, version, nearest),
            RuntimeKind::Provided | RuntimeKind::NotHere => None,
        }
    }

    fn of_language(&self, language: Language) -> impl Iterator<Item = &Interpreter> {
        self.found.iter().filter(move |interpreter| interpreter.language == language)
    }

    /// The interpreter of that version, or else, with `nearest`, of the one nearest to it.
    fn best(&self, language: Language, version: LanguageVersion, nearest: bool) -> Option<&Interpreter> {
        let ranked = self.of_language(language).filter_map(|interpreter| {
            let distance = distance(language, version, interpreter.version)?;
            // Of two that are as far away, the newer one.
            (nearest || distance == 0)
                .then_some(((distance, std::cmp::Reverse(interpreter.version)), interpreter))
        });
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, interpreter)| interpreter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interpreters(versions: &[(Language, u32, u32)]) -> Interpreters {
        let found = versions
            .iter()
            .map(|(language, major, minor)| Interpreter {
                language: *language,
                version: LanguageVersion { major: *major, minor: *minor },
                program: format!("/bin/{major}.{minor}").into(),
                directories: Vec::new(),
            })
            .collect();
        Interpreters { found, told: Mutex::default() }
    }

    #[test]
    fn what_sandboxes_do_not_show_is_not_offered() {
        let mut these = interpreters(&[(Language::NodeJs, 18, 0), (Language::NodeJs, 20, 0)]);
        these.found[0].program = "/tmp/node18/bin/node".into();
        assert!(these.resolve("nodejs18.x", false).is_ok());
        these.leave_out_tmp();
        assert!(matches!(these.resolve("nodejs18.x", false), Err(RuntimeError::Missing(..))));
        assert!(these.resolve("nodejs18.x", true).is_ok_and(|it| it.unwrap().version.major == 20));
    }

    #[test]
    fn the_nearest_version_will_do_if_allowed() {
        let these =
            interpreters(&[(Language::Python, 3, 10), (Language::Python, 3, 12), (Language::NodeJs, 20, 0)]);
        let program = |identifier, nearest| {
            these.resolve(identifier, nearest).map(|it| it.unwrap().program.display().to_string())
        };
        assert_eq!(program("python3.12", false).unwrap(), "/bin/3.12");
        assert_eq!(program("python3.11", true).unwrap(), "/bin/3.12");
        assert_eq!(program("python3.9", true).unwrap(), "/bin/3.10");
        assert_eq!(program("nodejs24.x", true).unwrap(), "/bin/20.0");
        let missing = program("python3.13", false).unwrap_err().to_string();
        assert!(missing.contains("Python 3.10, Python 3.12"), "{missing}");
        assert!(these.resolve("provided.al2023", false).unwrap().is_none());
        assert!(matches!(these.resolve("dotnet8", true), Err(RuntimeError::Unsupported(_))));
        assert!(matches!(these.resolve("java21", true), Err(RuntimeError::Missing(..))));
        let exact = these.runtimes(false);
        assert_eq!(exact, ["nodejs20.x", "python3.10", "python3.12", "provided.al2", "provided.al2023"]);
        assert!(these.runtimes(true).contains(&"python3.14".to_owned()));
        assert!(interpreters(&[]).resolve("nodejs22.x", true).is_err());
    }

    #[test]
    fn a_later_java_is_nearer_than_an_earlier_one() {
        let these = interpreters(&[(Language::Java, 17, 0), (Language::Java, 25, 0)]);
        let program =
            |identifier| these.resolve(identifier, true).unwrap().unwrap().program.display().to_string();
        assert_eq!((program("java21"), program("java17")), ("/bin/25.0".into(), "/bin/17.0".into()));
        let these = interpreters(&[(Language::Java, 17, 0), (Language::Ruby, 4, 0)]);
        assert!(these.resolve("java21", true).is_ok());
        assert!(these.resolve("ruby3.3", true).is_err(), "another Ruby altogether");
    }
}
