//! The catalogue of Lambda's runtimes: what each identifier stands for, and whether it is run here (facts, Lambda API
//! §14; AWS: Lambda runtimes, runtime deprecation policy).

use std::fmt;

/// What workers that can run container images say among their runtimes. No function has it as its runtime.
pub const CONTAINER_IMAGES: &str = "container images";

/// Where every function with a network of its own finds the Runtime API, at 127.0.0.1.
pub const RUNTIME_API_PORT: u16 = 9001;

/// Where it finds Lambfold, at 127.0.0.1.
pub const ENDPOINT_PORT: u16 = 4566;

/// A language of a managed runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// `python3.12`; handlers are `path/to/module.function`.
    Python,
    /// `nodejs22.x`; handlers are `path/to/file.export`.
    NodeJs,
    /// `ruby3.3`; handlers are `path/to/file.method` or `path/to/file.Class.method`.
    Ruby,
    /// `java21`; handlers are `package.Class` or `package.Class::method`.
    Java,
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Python => "Python",
            Self::NodeJs => "Node.js",
            Self::Ruby => "Ruby",
            Self::Java => "Java",
        })
    }
}

/// As much of a version as runtimes are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LanguageVersion {
    /// The first number.
    pub major: u32,
    /// The second one, of Python and Ruby; 0 of the others.
    pub minor: u32,
}

impl fmt::Display for LanguageVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.minor {
            0 => write!(f, "{}", self.major),
            minor => write!(f, "{}.{minor}", self.major),
        }
    }
}

/// What runs a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeKind {
    /// A bootstrap of ours on an interpreter of the machine.
    Managed(Language, LanguageVersion),
    /// The package, or a layer, brings `bootstrap`.
    Provided,
    /// Nothing: AWS has it, Lambfold has not.
    NotHere,
}

/// Where AWS is with a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuntimeState {
    /// Offered.
    Supported,
    /// Still taken, but no longer looked after.
    Deprecated,
    /// Refused.
    Retired,
}

/// A line of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// As in `Runtime` of a function.
    pub identifier: &'static str,
    /// What runs it.
    pub kind: RuntimeKind,
    /// Where AWS is with it.
    pub state: RuntimeState,
}

impl Runtime {
    /// The line of that identifier.
    pub fn find(identifier: &str) -> Option<&'static Self> {
        RUNTIMES.iter().find(|runtime| runtime.identifier == identifier)
    }
}

const fn managed(identifier: &'static str, language: Language, major: u32, minor: u32) -> Runtime {
    let kind = RuntimeKind::Managed(language, LanguageVersion { major, minor });
    Runtime { identifier, kind, state: RuntimeState::Supported }
}

const fn not_here(identifier: &'static str) -> Runtime {
    Runtime { identifier, kind: RuntimeKind::NotHere, state: RuntimeState::Supported }
}

const fn provided(identifier: &'static str) -> Runtime {
    Runtime { identifier, kind: RuntimeKind::Provided, state: RuntimeState::Supported }
}

const fn deprecated(runtime: Runtime) -> Runtime {
    Runtime { state: RuntimeState::Deprecated, ..runtime }
}

const fn retired(identifier: &'static str) -> Runtime {
    Runtime { identifier, kind: RuntimeKind::NotHere, state: RuntimeState::Retired }
}

/// Every identifier that AWS's model has. All run on both architectures, given an interpreter for them.
pub const RUNTIMES: &[Runtime] = &[
    deprecated(managed("nodejs18.x", Language::NodeJs, 18, 0)),
    deprecated(managed("nodejs20.x", Language::NodeJs, 20, 0)),
    managed("nodejs22.x", Language::NodeJs, 22, 0),
    managed("nodejs24.x", Language::NodeJs, 24, 0),
    deprecated(managed("python3.9", Language::Python, 3, 9)),
    managed("python3.10", Language::Python, 3, 10),
    managed("python3.11", Language::Python, 3, 11),
    managed("python3.12", Language::Python, 3, 12),
    managed("python3.13", Language::Python, 3, 13),
    managed("python3.14", Language::Python, 3, 14),
    deprecated(managed("ruby3.2", Language::Ruby, 3, 2)),
    managed("ruby3.3", Language::Ruby, 3, 3),
    managed("ruby3.4", Language::Ruby, 3, 4),
    managed("java17", Language::Java, 17, 0),
    managed("java21", Language::Java, 21, 0),
    managed("java25", Language::Java, 25, 0),
    provided("provided.al2"),
    provided("provided.al2023"),
    not_here("ruby4.0"),
    not_here("java11"),
    not_here("java8.al2"),
    not_here("dotnet8"),
    not_here("dotnet10"),
    deprecated(not_here("dotnet6")),
    deprecated(not_here("nodejs16.x")),
    deprecated(not_here("python3.8")),
    retired("nodejs"),
    retired("nodejs4.3"),
    retired("nodejs4.3-edge"),
    retired("nodejs6.10"),
    retired("nodejs8.10"),
    retired("nodejs10.x"),
    retired("nodejs12.x"),
    retired("nodejs14.x"),
    retired("java8"),
    retired("python2.7"),
    retired("python3.6"),
    retired("python3.7"),
    retired("dotnetcore1.0"),
    retired("dotnetcore2.0"),
    retired("dotnetcore2.1"),
    retired("dotnetcore3.1"),
    retired("go1.x"),
    retired("ruby2.5"),
    retired("ruby2.7"),
    retired("provided"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn identifiers_say_what_they_stand_for() {
        let identifiers: BTreeSet<_> = RUNTIMES.iter().map(|runtime| runtime.identifier).collect();
        assert_eq!(identifiers.len(), RUNTIMES.len(), "none is listed twice");
        for runtime in RUNTIMES {
            if let RuntimeKind::Managed(language, version) = runtime.kind {
                let name = match language {
                    Language::Python => format!("python{version}"),
                    Language::NodeJs => format!("nodejs{version}.x"),
                    Language::Ruby => format!("ruby{version}"),
                    Language::Java => format!("java{version}"),
                };
                assert_eq!(runtime.identifier, name);
            }
        }
    }
}
