//! The bootstraps of the managed runtimes, embedded; written out once per content.

pub(crate) mod lang;
mod one_file;

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use lambfold_api::control::{Debugger, FunctionVersion};
use sha2::{Digest, Sha256};

use crate::interpreter::{Interpreter, Interpreters, Language};

macro_rules! files {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../../runtimes/", $folder, "/", $name)) as &[u8])),+]
    };
}

/// Names and contents.
type Files<'a> = &'a [(&'a str, &'a [u8])];

const PYTHON: Files<'static> = files!(
    "python":
    "bootstrap.py",
    "lambfold_runtime/__init__.py",
    "lambfold_runtime/client.py",
    "lambfold_runtime/context.py",
    "lambfold_runtime/debugger.py",
    "lambfold_runtime/fault.py",
    "lambfold_runtime/handler.py",
    "lambfold_runtime/interpreter.py",
    "lambfold_runtime/log_sink.py",
    "lambfold_runtime/logs.py",
    "lambfold_runtime/marshaller.py",
    "lambfold_runtime/report.py",
    "lambfold_runtime/runtime.py",
    "lambfold_runtime/settings.py",
    "lambfold_runtime/snapshot.py",
    "lambfold_runtime/waiting.py",
    "snapshot_restore_py/__init__.py",
);

const NODEJS: Files<'static> = files!(
    "nodejs":
    "answer-reader.cjs",
    "assignment.cjs",
    "awslambda.cjs",
    "bindings.cjs",
    "bootstrap.cjs",
    "client.cjs",
    "console.cjs",
    "context.cjs",
    "debugger.cjs",
    "errors.cjs",
    "handler.cjs",
    "rehearsal.cjs",
    "rehearsal/first.mjs",
    "rehearsal/second.mjs",
    "rehearsal/third.cjs",
    "response-stream.cjs",
    "runtime.cjs",
    "settings.cjs",
    "socket.cjs",
    "v8-options.cjs",
    "waiting.cjs",
);

const RUBY: Files<'static> = files!(
    "ruby":
    "bootstrap.rb",
    "lambfold_runtime/client.rb",
    "lambfold_runtime/context.rb",
    "lambfold_runtime/fault.rb",
    "lambfold_runtime/handler.rb",
    "lambfold_runtime/log.rb",
    "lambfold_runtime/runtime.rb",
);

/// Made of `runtimes/java/src` by `runtimes/java/build`.
const JAVA: Files<'static> = files!("java": "lambfold-runtime.jar");

/// What stands at `/var/runtime`, per language.
#[derive(Clone, Debug)]
pub(crate) struct RuntimeFiles {
    python: PathBuf,
    nodejs: PathBuf,
    ruby: PathBuf,
    java: PathBuf,
    /// For runtimes that the package brings.
    provided: PathBuf,
}

impl RuntimeFiles {
    /// Writes them below `directory`, unless they are there, with links to `interpreters`: those that run functions with the
    /// policy `nearest`.
    pub(crate) fn install(directory: &Path, interpreters: &Interpreters, nearest: bool) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let provided = directory.join("provided");
        fs::create_dir_all(&provided)?;
        let install = |name: &str, language, files: Files<'_>| {
            install(directory, name, files, &lang::links(interpreters, language, nearest))
        };
        Ok(Self {
            python: install("python", Language::Python, PYTHON)?,
            nodejs: install("nodejs", Language::NodeJs, &one_file::of(NODEJS).as_files())?,
            ruby: install("ruby", Language::Ruby, RUBY)?,
            java: install("java", Language::Java, JAVA)?,
            provided,
        })
    }

    /// Names what runs a function as AWS names versions of its runtimes: another one after an update of Lambfold, or where
    /// another version of the interpreter runs it. `None` for images, which bring their own.
    pub(crate) fn version_arn(
        &self,
        function: &FunctionVersion,
        interpreter: Option<&Interpreter>,
    ) -> Option<String> {
        function.image.is_none().then(|| {
            let mut hash = Sha256::new();
            let files = self.directory(interpreter.map(|it| it.language)).file_name();
            hash.update(files.unwrap_or_default().as_encoded_bytes());
            hash.update([0]);
            hash.update(&function.runtime);
            hash.update([0]);
            hash.update(interpreter.map(|it| it.version.to_string()).unwrap_or_default());
            format!("arn:aws:lambda:{}::runtime:{}", function.region, hex::encode(hash.finalize()))
        })
    }

    pub(crate) fn directory(&self, language: Option<Language>) -> &Path {
        match language {
            Some(Language::Python) => &self.python,
            Some(Language::NodeJs) => &self.nodejs,
            Some(Language::Ruby) => &self.ruby,
            Some(Language::Java) => &self.java,
            None => &self.provided,
        }
    }

    /// Compiles the Python bootstrap for `interpreters`, which saves each start some milliseconds. A failure costs
    /// just that.
    pub(crate) async fn compile(self, interpreters: Vec<Interpreter>) {
        for interpreter in interpreters {
            if interpreter.language != Language::Python {
                continue;
            }
            let status = tokio::process::Command::new(&interpreter.program)
                .args(["-I", "-S", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"])
                .arg(self.python.join("lambfold_runtime"))
                .env_clear()
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .status()
                .await;
            if !status.is_ok_and(|status| status.success()) {
                tracing::debug!(program = %interpreter.program.display(), "could not compile the bootstrap");
            }
        }
    }
}

/// Python's option to start without its `site` module, which takes its time.
pub(crate) const NO_SITE: &str = "-S";

/// The program and arguments that start a bootstrap at `runtime_dir`, as seen inside, for a function of that memory. The
/// bootstraps of Python and Node.js start a debugger themselves, and Ruby has none of ours.
pub(crate) fn command(
    interpreter: &Interpreter,
    runtime_dir: &Path,
    memory_mb: u32,
    debugger: Option<Debugger>,
) -> Vec<String> {
    let program = interpreter.program.display().to_string();
    match interpreter.language {
        Language::Python => {
            vec![program, NO_SITE.into(), "-u".into(), runtime_dir.join("bootstrap.py").display().to_string()]
        }
        Language::NodeJs => {
            let mut command = vec![program];
            command.extend(v8_options(memory_mb));
            command.push(runtime_dir.join("bootstrap.cjs").display().to_string());
            command
        }
        Language::Ruby => vec![program, runtime_dir.join("bootstrap.rb").display().to_string()],
        Language::Java => {
            let mut command = vec![
                program,
                // AWS's choice: 85 % of the memory for objects, and the compiler that is quick to start.
                format!("-XX:MaxHeapSize={}k", u64::from(memory_mb) * 1024 * 85 / 100),
                "-XX:+UseSerialGC".into(),
                "-XX:TieredStopAtLevel=1".into(),
                "-Xshare:auto".into(),
            ];
            // Only when it starts can a virtual machine be told that it will be debugged.
            command.extend(debugger.map(jdwp));
            command.extend([
                "-cp".into(),
                runtime_dir.join("lambfold-runtime.jar").display().to_string(),
                "lambfold.runtime.Bootstrap".into(),
            ]);
            command
        }
    }
}

/// AWS's, with its rounding. Without the limits V8 takes the machine's memory for its own, and lets garbage grow until the
/// control group's limit ends the process.
fn v8_options(memory_mb: u32) -> [String; 5] {
    let new_space_mb = memory_mb / 10;
    [
        "--expose-gc".into(),
        "--max-http-header-size".into(),
        "81920".into(),
        format!("--max-semi-space-size={}", new_space_mb / 2),
        format!("--max-old-space-size={}", memory_mb - new_space_mb),
    ]
}

/// The option by which a Java virtual machine has a debugger listen.
fn jdwp(debugger: Debugger) -> String {
    let suspend = if debugger.wait { 'y' } else { 'n' };
    format!(
        "-agentlib:jdwp=transport=dt_socket,server=y,suspend={suspend},address=127.0.0.1:{}",
        debugger.port
    )
}

/// The directory's name has the hash of the files in it, so that an old one is never taken for the present one.
fn install(
    directory: &Path,
    name: &str,
    files: Files<'_>,
    links: &[(PathBuf, PathBuf)],
) -> io::Result<PathBuf> {
    let mut hash = Sha256::new();
    let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_owned();
    let links_parts = links.iter().map(|(link, target)| (bytes(link), bytes(target)));
    let parts = files.iter().map(|(name, content)| (name.as_bytes().to_owned(), content.to_vec()));
    for (name, content) in parts.chain(links_parts) {
        hash.update(name);
        hash.update([0]);
        hash.update(content);
        hash.update([0]);
    }
    let hash = hex::encode(&hash.finalize()[..8]);
    let target = directory.join(format!("{name}-{hash}"));
    if target.is_dir() {
        return Ok(target);
    }
    let unfinished = directory.join(format!("{name}-{hash}.unfinished"));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    for (name, content) in files {
        let path = unfinished.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, content)?;
    }
    for (link, target) in links {
        let path = unfinished.join(link);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        symlink(target, path)?;
    }
    readable_for_all(&unfinished)?;
    fs::rename(&unfinished, &target)?;
    Ok(target)
}

/// Functions run under a uid of their own, whatever umask Lambfold was started with.
fn readable_for_all(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            readable_for_all(&path)?;
        } else if kind.is_file() {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that is added to `runtimes/` must be added above.
    #[test]
    fn every_file_is_embedded() {
        for (folder, files) in [("python", PYTHON), ("nodejs", NODEJS), ("ruby", RUBY)] {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../runtimes").join(folder);
            let mut there = Vec::new();
            let mut folders = vec![root.clone()];
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(folder).unwrap() {
                    let path = entry.unwrap().path();
                    if path.ends_with("__pycache__") {
                    } else if path.is_dir() {
                        folders.push(path);
                    } else {
                        there.push(path.strip_prefix(&root).unwrap().display().to_string());
                    }
                }
            }
            there.sort();
            assert_eq!(there, files.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        }
    }

    /// As computed by `/var/runtime/bootstrap` of AWS's images.
    #[test]
    fn the_heap_of_node_is_limited_as_on_aws() {
        for (memory_mb, semi_space, old_space) in [(128, 6, 116), (512, 25, 461), (10_240, 512, 9216)] {
            let [.., semi, old] = v8_options(memory_mb);
            assert_eq!(semi, format!("--max-semi-space-size={semi_space}"));
            assert_eq!(old, format!("--max-old-space-size={old_space}"));
        }
    }

    #[test]
    fn installing_twice_is_the_same_as_once() {
        let directory = tempfile::tempdir().unwrap();
        let first = RuntimeFiles::install(directory.path(), &Interpreters::default(), true).unwrap();
        let second = RuntimeFiles::install(directory.path(), &Interpreters::default(), true).unwrap();
        assert_eq!(first.python, second.python);
        assert!(first.directory(Some(Language::Python)).join("lambfold_runtime/client.py").is_file());
        assert!(first.directory(Some(Language::NodeJs)).join("bootstrap.cjs").is_file());
    }
}
