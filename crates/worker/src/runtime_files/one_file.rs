//! The Node.js bootstrap as one file: each file that Node.js has to find, read and compile costs a start a quarter of a
//! millisecond. It also keeps them out of a function's sight (`require.cache`).

use std::path::Path;

use super::Files;

/// The file that Node.js starts.
const MAIN: &str = "bootstrap.cjs";

/// Ahead of the parts, which are methods of this object.
const HEAD: &str = "'use strict';\nconst parts = {\n";
/// Between the parts and the main file: as `require` does it, a part runs when it is asked for first.
const REQUIRE: &str = "};
const loaded = new Map();
const requirePart = Object.assign((name) => {
  if (!Object.hasOwn(parts, name)) {
    return require(name);
  }
  let module = loaded.get(name);
  if (!module) {
    module = { exports: {} };
    loaded.set(name, module);
    parts[name](module, requirePart);
  }
  return module.exports;
}, require);
((require) => {
";
const TAIL: &str = "})(requirePart);\n";

/// What is written out.
pub(super) struct Joined<'a> {
    main: Vec<u8>,
    others: Vec<(&'a str, &'a [u8])>,
}

impl Joined<'_> {
    pub(super) fn as_files(&self) -> Vec<(&str, &[u8])> {
        std::iter::once((MAIN, self.main.as_slice())).chain(self.others.iter().copied()).collect()
    }
}

/// The main file with all CommonJS modules beside it in it. They require each other by `./name.cjs`.
pub(super) fn of(files: Files<'static>) -> Joined<'static> {
    let is_part =
        |name: &str| Path::new(name).extension().is_some_and(|it| it == "cjs") && !name.contains('/');
    let mut main = HEAD.as_bytes().to_vec();
    for (name, content) in files.iter().filter(|(name, _)| is_part(name) && *name != MAIN) {
        main.extend_from_slice(format!("'./{name}'(module, require) {{\n").as_bytes());
        main.extend_from_slice(content);
        main.extend_from_slice(b"},\n");
    }
    main.extend_from_slice(REQUIRE.as_bytes());
    for (_, content) in files.iter().filter(|(name, _)| *name == MAIN) {
        main.extend_from_slice(content);
    }
    main.extend_from_slice(TAIL.as_bytes());
    Joined { main, others: files.iter().filter(|(name, _)| !is_part(name)).copied().collect() }
}
