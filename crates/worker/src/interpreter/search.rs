//! Finds interpreters: on the search path, and in the directories of version managers that stand on it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures_util::StreamExt;
use lambfold_types::{Clock, Language, LanguageVersion};

use super::{Interpreter, oldest};

/// How long an interpreter may take to say its version.
const PATIENCE: Duration = Duration::from_secs(5);
/// Interpreters that are asked at once.
const AT_ONCE: usize = 4;
/// Interpreters that are asked in all.
const MOST_CANDIDATES: usize = 32;

/// Where every sandbox sees the host's files anyway.
const SYSTEM: [&str; 5] = ["/usr", "/bin", "/sbin", "/lib", "/lib64"];
/// Package managers whose programs are spread over one tree.
const TREES: [&str; 2] = ["/nix/store", "/home/linuxbrew/.linuxbrew"];

pub(super) async fn discover(search_path: &OsStr, clock: &dyn Clock) -> Vec<Interpreter> {
    let candidates = candidates(search_path);
    let asked = futures_util::stream::iter(candidates)
        .map(|(language, program)| ask(language, program, clock))
        .buffered(AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    let mut seen = BTreeSet::new();
    // In the order of the search path: the first of a version is the one that the user would get.
    asked.into_iter().flatten().filter(|it| seen.insert((it.language, it.version))).collect()
}

/// Real binaries, each once, in the order of the search path.
fn candidates(search_path: &OsStr) -> Vec<(Language, PathBuf)> {
    let mut seen = BTreeSet::new();
    let mut candidates = Vec::new();
    for directory in std::env::split_paths(search_path).flat_map(expand) {
        if !directory.is_absolute() {
            continue;
        }
        for (language, program) in in_directory(&directory) {
            if candidates.len() < MOST_CANDIDATES && seen.insert(program.clone()) {
                candidates.push((language, program));
            }
        }
    }
    candidates
}

/// A directory of shims (scripts that choose a version) is replaced by what they choose from; beside nvm's chosen
/// version the others are looked at too.
fn expand(directory: PathBuf) -> Vec<PathBuf> {
    let parent = directory.parent().map(Path::to_path_buf).unwrap_or_default();
    if directory.ends_with("shims") {
        let mut found = versions_below(&parent.join("versions"));
        for plugin in ["python", "nodejs", "ruby", "java"] {
            found.extend(versions_below(&parent.join("installs").join(plugin)));
        }
        return found;
    }
    if directory.ends_with("bin") && parent.parent().is_some_and(|it| it.ends_with("versions/node")) {
        let mut found = vec![directory];
        found.extend(versions_below(parent.parent().unwrap_or(&parent)));
        return found;
    }
    if directory.ends_with("current/bin") && is_sdkman(&parent) {
        let mut found = vec![directory];
        found.extend(versions_below(parent.parent().unwrap_or(&parent)));
        return found;
    }
    if directory == Path::new("/usr/bin") {
        // Where distributions put Java beside the one that is chosen.
        let mut found = vec![directory];
        found.extend(versions_below(Path::new("/usr/lib/jvm")));
        return found;
    }
    vec![directory]
}

/// Whether it is `…/candidates/java/current`.
fn is_sdkman(current: &Path) -> bool {
    current.parent().is_some_and(|it| it.ends_with("candidates/java"))
}

/// `<directory>/*/bin`, the newest version first.
fn versions_below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut versions: Vec<(Vec<u32>, PathBuf)> = entries
        .flatten()
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let numbers =
                name.trim_start_matches('v').split('.').map_while(|part| part.parse().ok()).collect();
            (numbers, entry.path().join("bin"))
        })
        .collect();
    versions.sort_by(|one, other| other.cmp(one));
    versions.into_iter().map(|(_, path)| path).collect()
}

fn in_directory(directory: &Path) -> Vec<(Language, PathBuf)> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<(Language, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let language = language_of(name.to_str()?)?;
            let program = entry.path().canonicalize().ok()?;
            is_binary(&program).then_some((language, program))
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

/// By the names that interpreters are installed under; versions too old for a bootstrap are not asked.
fn language_of(name: &str) -> Option<Language> {
    if name == "node" || name == "nodejs" {
        return Some(Language::NodeJs);
    }
    if name == "java" {
        return Some(Language::Java);
    }
    if let Some(version) = name.strip_prefix("ruby") {
        let versioned = version.is_empty() || version.parse::<f32>().is_ok_and(|version| version >= 3.0);
        return versioned.then_some(Language::Ruby);
    }
    let rest = name.strip_prefix("python3")?;
    if rest.is_empty() {
        return Some(Language::Python);
    }
    let minor: u32 = rest.strip_prefix('.')?.parse().ok()?;
    (minor >= oldest(Language::Python).minor).then_some(Language::Python)
}

/// Not a script: a shim cannot run inside a sandbox.
fn is_binary(program: &Path) -> bool {
    use std::io::Read;
    let mut start = [0; 2];
    let read = std::fs::File::open(program).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && &start != b"#!"
}

async fn ask(language: Language, program: PathBuf, clock: &dyn Clock) -> Option<Interpreter> {
    let arguments: &[&str] = match language {
        Language::Python => {
            &["-I", "-S", "-c", "import sys; print('%d.%d %s' % (*sys.version_info[:2], sys.base_prefix))"]
        }
        Language::NodeJs => &["--version"],
        Language::Ruby => {
            &["--disable=all", "-rrbconfig", "-e", "puts RUBY_VERSION + ' ' + RbConfig::TOPDIR"]
        }
        // `openjdk 21.0.5 2024-10-15`, or `java 21.0.5 …`; the second line names the build.
        Language::Java => &["-XX:TieredStopAtLevel=1", "--version"],
    };
    let answer = tokio::process::Command::new(&program)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::select! {
        output = answer => output.ok()?,
        () = clock.sleep_until(clock.now() + PATIENCE) => {
            tracing::warn!(program = %program.display(), "does not say its version and is left out");
            return None;
        }
    };
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.lines().next()?.trim();
    let text = if language == Language::Java { text.split_once(' ')?.1 } else { text };
    let (version, prefix) = text.split_once(' ').unwrap_or((text, ""));
    let mut numbers = version.trim_start_matches('v').split('.').map_while(|part| part.parse().ok());
    let (major, minor) = (numbers.next()?, numbers.next().unwrap_or_default());
    let has_minor = matches!(language, Language::Python | Language::Ruby);
    let version = LanguageVersion { major, minor: if has_minor { minor } else { 0 } };
    if version < oldest(language) {
        return None;
    }
    let directories = directories(language, &program, Path::new(prefix));
    Some(Interpreter { language, version, program, directories })
}

/// No more than is needed: a binary in a home directory must not open that home to functions.
fn directories(language: Language, program: &Path, prefix: &Path) -> Vec<PathBuf> {
    if let Some(tree) = TREES.iter().find(|tree| program.starts_with(tree)) {
        return vec![PathBuf::from(tree)];
    }
    let mut directories: Vec<PathBuf> = program.parent().map(Path::to_path_buf).into_iter().collect();
    match language {
        Language::Python | Language::Ruby if prefix.is_absolute() => {
            directories
                .extend([prefix.join("lib"), prefix.join("lib64")].into_iter().filter(|it| it.is_dir()));
        }
        Language::Java => {
            // All of a Java is below its home, but what links lead to: distributions keep its settings in /etc.
            let home = program.parent().and_then(Path::parent).unwrap_or(program);
            let linked =
                ["conf/security/java.security", "lib/security/cacerts", "lib/security/default.policy"];
            let linked = linked.iter().filter_map(|file| home.join(file).canonicalize().ok());
            directories.extend(linked.filter_map(|file| java_settings(&file)));
            directories.push(home.to_path_buf());
        }
        _ => {}
    }
    directories.retain(|directory| !SYSTEM.iter().any(|system| directory.starts_with(system)));
    directories
}

/// The directory to show for a file of a Java's settings: no more of `/etc` than it must be.
fn java_settings(file: &Path) -> Option<PathBuf> {
    let parent = file.parent()?;
    match parent.strip_prefix("/etc") {
        Ok(below) => below.components().next().filter(|_| below.components().count() > 0).map(|first| {
            let first = Path::new("/etc").join(first);
            // `/etc/java-17-openjdk` is Java's alone; of `/etc/ssl` only what is asked for.
            if first.to_string_lossy().contains("java") { first } else { parent.to_path_buf() }
        }),
        Err(_) => Some(parent.to_path_buf()),
    }
}

#[cfg(test)]
mod tests {
    use lambfold_clock::SystemClock;

    use super::*;

    #[test]
    fn names_tell_the_language() {
        assert_eq!(language_of("python3"), Some(Language::Python));
        assert_eq!(language_of("python3.11"), Some(Language::Python));
        assert_eq!(language_of("node"), Some(Language::NodeJs));
        assert_eq!(
            (language_of("ruby"), language_of("ruby3.3")),
            (Some(Language::Ruby), Some(Language::Ruby))
        );
        assert_eq!(language_of("java"), Some(Language::Java));
        for other in [
            "python",
            "python2.7",
            "python3.6",
            "python3.11-config",
            "python3.11d",
            "nodemon",
            "node-gyp",
            "ruby2.7",
            "rubygems",
            "javac",
        ] {
            assert_eq!(language_of(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn scripts_and_impostors_are_left_out() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("python3"), "#!/bin/sh\necho 3.12 /\n").unwrap();
        std::fs::write(directory.path().join("node"), "not a program").unwrap();
        let found = discover(directory.path().as_os_str(), &SystemClock::new()).await;
        assert_eq!(found, Vec::new());
    }

    #[test]
    fn a_home_is_not_opened() {
        let node = directories(Language::NodeJs, Path::new("/home/u/bin/node"), Path::new(""));
        assert_eq!(node, vec![PathBuf::from("/home/u/bin")]);
        assert!(
            directories(Language::Python, Path::new("/usr/bin/python3.11"), Path::new("/usr")).is_empty()
        );
    }
}
