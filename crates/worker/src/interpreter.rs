//! The languages that this machine can run: managed runtimes' identifiers resolved to interpreters that were found.

mod search;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use lambfold_types::Clock;

/// A language with a bootstrap of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Language {
    Python,
    NodeJs,
}

impl Language {
    /// The oldest version that the bootstrap runs on.
    fn oldest(self) -> Version {
        match self {
            Self::Python => Version { major: 3, minor: 9 },
            Self::NodeJs => Version { major: 18, minor: 0 },
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Python => "Python",
            Self::NodeJs => "Node.js",
        })
    }
}

/// As much of a version as runtimes are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Version {
    pub(crate) major: u32,
    /// Of Python only; Node.js is known by its major version.
    pub(crate) minor: u32,
}

impl Version {
    /// Far apart in what counts: `None` when no code can be expected to run.
    fn distance(self, other: Self, language: Language) -> Option<u32> {
        match language {
            Language::Python if self.major != other.major => None,
            Language::Python => Some(self.minor.abs_diff(other.minor)),
            Language::NodeJs => Some(self.major.abs_diff(other.major)),
        }
    }
}

/// An interpreter on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interpreter {
    pub(crate) language: Language,
    pub(crate) version: Version,
    /// The real binary: no link, no shim.
    pub(crate) program: PathBuf,
    /// What of it lies outside `/usr`: sandboxes must be shown it.
    directories: Vec<PathBuf>,
}

impl Interpreter {
    /// The identifier of the managed runtime of just its version.
    pub(crate) fn identifier(&self) -> String {
        match self.language {
            Language::Python => format!("python{}.{}", self.version.major, self.version.minor),
            Language::NodeJs => format!("nodejs{}.x", self.version.major),
        }
    }

    fn name(&self) -> String {
        match self.language {
            Language::Python => format!("Python {}.{}", self.version.major, self.version.minor),
            Language::NodeJs => format!("Node.js {}", self.version.major),
        }
    }
}

/// What a runtime identifier stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    /// A language of ours.
    Managed(Language, Version),
    /// The package brings its own `bootstrap`.
    Provided,
}

/// Why a runtime identifier leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RuntimeError {
    /// Not one of ours.
    #[error("Lambfold does not run {0} yet; see docs/gaps.md.")]
    Unsupported(String),
    /// The language is not installed.
    #[error(
        "{0} needs {1}, which is not installed on this machine (found: {2}). Install it, or put it on the PATH that Lambfold is started with."
    )]
    Missing(String, Language, String),
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

    /// The identifiers of the managed runtimes that have an interpreter of just their version.
    pub fn runtimes(&self) -> Vec<String> {
        let mut names: Vec<String> = self.found.iter().map(Interpreter::identifier).collect();
        names.sort();
        names
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
        let (language, version) = match parse(identifier) {
            None => return Err(RuntimeError::Unsupported(identifier.chars().take(64).collect())),
            Some(Runtime::Provided) => return Ok(None),
            Some(Runtime::Managed(language, version)) => (language, version),
        };
        let of_language = || self.found.iter().filter(move |interpreter| interpreter.language == language);
        let best = of_language()
            .filter_map(|interpreter| {
                let distance = version.distance(interpreter.version, language)?;
                // Of two that are as far away, the newer one.
                Some(((distance, std::cmp::Reverse(interpreter.version)), interpreter))
            })
            .filter(|((distance, _), _)| nearest || *distance == 0)
            .min_by_key(|(rank, _)| *rank);
        let Some(((distance, _), interpreter)) = best else {
            let mut names: Vec<String> = of_language().map(Interpreter::name).collect();
            if names.is_empty() {
                names.push("none".to_owned());
            }
            return Err(RuntimeError::Missing(identifier.to_owned(), language, names.join(", ")));
        };
        if distance > 0
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
}

/// Reads `python3.12`, `nodejs22.x`, `provided.al2023`.
pub(crate) fn parse(identifier: &str) -> Option<Runtime> {
    if identifier == "provided" || identifier.starts_with("provided.") {
        return Some(Runtime::Provided);
    }
    let number = |text: &str| -> Option<u32> {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
    };
    if let Some(version) = identifier.strip_prefix("python") {
        let (major, minor) = version.split_once('.')?;
        return Some(Runtime::Managed(
            Language::Python,
            Version { major: number(major)?, minor: number(minor)? },
        ));
    }
    let major = identifier.strip_prefix("nodejs")?.strip_suffix(".x")?;
    Some(Runtime::Managed(Language::NodeJs, Version { major: number(major)?, minor: 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interpreters(versions: &[(Language, u32, u32)]) -> Interpreters {
        let found = versions
            .iter()
            .map(|(language, major, minor)| Interpreter {
                language: *language,
                version: Version { major: *major, minor: *minor },
                program: format!("/bin/{major}.{minor}").into(),
                directories: Vec::new(),
            })
            .collect();
        Interpreters { found, told: Mutex::default() }
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
        assert!(matches!(these.resolve("java21", true), Err(RuntimeError::Unsupported(_))));
        assert!(interpreters(&[]).resolve("nodejs22.x", true).is_err());
    }

    #[test]
    fn odd_identifiers_are_no_runtimes() {
        for text in [
            "",
            "python",
            "python3",
            "python3.x",
            "python3.+1",
            "nodejs",
            "nodejs.x",
            "nodejs20",
            "nodejs99999999999.x",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
