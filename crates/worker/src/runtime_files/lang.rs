//! `/var/lang`, where AWS has a runtime's interpreter. Scripts in packages name it in their first line, as pip writes it in
//! AWS's build images: `#!/var/lang/bin/python3.12`.

use std::path::{Path, PathBuf};

use lambfold_types::RUNTIMES;

use crate::interpreter::{Interpreter, Interpreters, Language};

/// Where functions see [`of`] their interpreter.
pub(crate) const LANG: &str = "/var/lang";

/// In a runtime directory: what stands at [`LANG`] for functions that this interpreter runs.
pub(crate) fn of(interpreter: &Interpreter, runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("lang").join(interpreter.version.to_string())
}

/// The links that the runtime directory of `language` has, with what they lead to: the interpreters under the names that they
/// have on AWS. One that runs functions of another version, too, has that version's name as well.
pub(super) fn links(
    interpreters: &Interpreters,
    language: Language,
    nearest: bool,
) -> Vec<(PathBuf, PathBuf)> {
    let mut links = Vec::new();
    for interpreter in interpreters.found().iter().filter(|it| it.language == language) {
        let mut link = |name: &str| {
            let link = of(interpreter, Path::new("")).join("bin").join(name);
            links.push((link, interpreter.program.clone()));
        };
        match language {
            Language::Python => {
                for name in ["python", "python3"] {
                    link(name);
                }
                for runtime in RUNTIMES {
                    if interpreters.runs(runtime, nearest) == Some(interpreter) {
                        // As Python names its program, too.
                        link(runtime.identifier);
                    }
                }
            }
            Language::NodeJs => link("node"),
            Language::Ruby => link("ruby"),
            Language::Java => link("java"),
        }
    }
    links
}
