//! The tree that an archive describes, kept in mind while it is read: finds duplicates, entries below files, and
//! where symbolic links lead. Takes as much memory as the names in the archive do.

use std::collections::BTreeMap;

use crate::error::EntryProblem;

type NodeId = usize;
const ROOT: NodeId = 0;

/// How often one link may lead to another; Linux's own bound.
const MAX_LINKS: usize = 40;
/// Components looked at for all links of an archive together: a bound for archives made to be slow.
const MAX_STEPS: usize = 2_000_000;
/// The longest target, in bytes.
pub(crate) const MAX_TARGET_BYTES: usize = 1024;

#[derive(Debug)]
struct Node {
    parent: NodeId,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Directory { children: BTreeMap<Box<str>, NodeId>, listed: bool },
    File,
    Symlink(Box<str>),
}

/// What an entry is.
#[derive(Debug)]
pub(crate) enum NewEntry<'a> {
    Directory,
    File,
    Symlink { target: &'a str },
}

/// Files, directories and links seen so far.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
}

impl Tree {
    pub(crate) fn new() -> Self {
        let root = Node { parent: ROOT, kind: Kind::directory() };
        Self { nodes: vec![root] }
    }

    /// Files, directories and links so far, without the root.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len() - 1
    }

    /// Adds an entry and the directories that it lies in.
    pub(crate) fn insert(&mut self, path: &[&str], entry: &NewEntry<'_>) -> Result<(), EntryProblem> {
        let Some((last, parents)) = path.split_last() else {
            return match entry {
                NewEntry::Directory => self.list_directory(ROOT),
                NewEntry::File | NewEntry::Symlink { .. } => Err(EntryProblem::KindMismatch),
            };
        };
        let mut at = ROOT;
        for component in parents {
            at = match self.child(at, component)? {
                Some(child) => child,
                None => self.add(at, component, Kind::directory()),
            };
        }
        match (self.child(at, last)?, entry) {
            (Some(existing), NewEntry::Directory) => self.list_directory(existing),
            (Some(_), _) => Err(EntryProblem::DuplicateName),
            (None, NewEntry::Directory) => {
                let directory = self.add(at, last, Kind::directory());
                self.list_directory(directory)
            }
            (None, NewEntry::File) => {
                self.add(at, last, Kind::File);
                Ok(())
            }
            (None, NewEntry::Symlink { target }) => {
                self.add(at, last, Kind::Symlink((*target).into()));
                Ok(())
            }
        }
    }

    /// A directory may be listed once, also when a file below it came first.
    fn list_directory(&mut self, id: NodeId) -> Result<(), EntryProblem> {
        match &mut self.nodes[id].kind {
            Kind::Directory { listed, .. } if !*listed => {
                *listed = true;
                Ok(())
            }
            _ => Err(EntryProblem::DuplicateName),
        }
    }

    fn child(&self, at: NodeId, name: &str) -> Result<Option<NodeId>, EntryProblem> {
        match &self.nodes[at].kind {
            Kind::Directory { children, .. } => Ok(children.get(name).copied()),
            Kind::File | Kind::Symlink(_) => Err(EntryProblem::BelowNonDirectory),
        }
    }

    fn add(&mut self, parent: NodeId, name: &str, kind: Kind) -> NodeId {
        let id = self.nodes.len();
        self.nodes.push(Node { parent, kind });
        if let Kind::Directory { children, .. } = &mut self.nodes[parent].kind {
            children.insert(name.into(), id);
        }
        id
    }

    /// Follows the link at `path` as the kernel would, once everything is in the tree. It must never pass above
    /// the root, not even to come back; where it leads to nothing, it must still be inside.
    pub(crate) fn check_link(&self, path: &[&str], steps: &mut usize) -> Result<(), EntryProblem> {
        let refused = EntryProblem::SymlinkTarget;
        let Some((last, parents)) = path.split_last() else { return Err(refused) };
        let mut at = ROOT;
        for component in parents {
            at = self.child(at, component)?.ok_or(refused)?;
        }
        // Components still to go, the next one last.
        let mut ahead = vec![*last];
        // Depth below the last directory that exists: names that the archive does not have.
        let mut missing = 0_usize;
        let mut links = 0;
        while let Some(component) = ahead.pop() {
            *steps += 1;
            if *steps > MAX_STEPS {
                return Err(refused);
            }
            match component {
                "" | "." => {}
                ".." if missing > 0 => missing -= 1,
                ".." if at == ROOT => return Err(refused),
                ".." => at = self.nodes[at].parent,
                _ if missing > 0 => missing += 1,
                name => match self.child(at, name) {
                    Ok(Some(child)) => match &self.nodes[child].kind {
                        Kind::Symlink(target) => {
                            links += 1;
                            if links > MAX_LINKS || !Self::legal_target(target) {
                                return Err(refused);
                            }
                            ahead.extend(target.split('/').rev());
                        }
                        Kind::Directory { .. } | Kind::File => at = child,
                    },
                    Ok(None) => missing += 1,
                    Err(_) => return Err(refused),
                },
            }
        }
        Ok(())
    }

    fn legal_target(target: &str) -> bool {
        !target.is_empty()
            && target.len() <= MAX_TARGET_BYTES
            && !target.starts_with('/')
            && !target.contains(|c: char| c.is_control() || c == '\\')
    }
}

impl Kind {
    fn directory() -> Self {
        Self::Directory { children: BTreeMap::new(), listed: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(entries: &[(&str, Option<&str>)]) -> Tree {
        let mut tree = Tree::new();
        for (path, target) in entries {
            let path: Vec<&str> = path.split('/').collect();
            let entry = target.map_or(NewEntry::File, |target| NewEntry::Symlink { target });
            tree.insert(&path, &entry).unwrap();
        }
        tree
    }

    fn check(tree: &Tree, link: &str) -> bool {
        let path: Vec<&str> = link.split('/').collect();
        tree.check_link(&path, &mut 0).is_ok()
    }

    #[test]
    fn links_may_lead_anywhere_inside() {
        let tree = tree(&[
            ("pkg/bin.js", None),
            ("node_modules/.bin/tool", Some("../../pkg/bin.js")),
            ("lib.so", Some("lib.so.1")),
            ("lib.so.1", Some("lib.so.1.2")),
            ("lib.so.1.2", None),
            ("here", Some(".")),
            ("dangling", Some("not/there/../yet")),
        ]);
        for link in ["node_modules/.bin/tool", "lib.so", "lib.so.1", "here", "dangling"] {
            assert!(check(&tree, link), "{link}");
        }
    }

    #[test]
    fn links_that_lead_out_are_found_also_behind_other_links() {
        let tree = tree(&[
            ("a/b/up", Some("../..")),
            // Looks as if it stayed inside, but `up` is the root.
            ("sly", Some("a/b/up/../x")),
            ("out", Some("../x")),
            ("out_and_in", Some("../package/a")),
            ("absolute", Some("/etc/passwd")),
            ("missing", Some("no/../../x")),
            ("loop1", Some("loop2")),
            ("loop2", Some("loop1")),
            ("nul", Some("a\0b")),
            ("empty", Some("")),
            ("file", None),
            ("through", Some("file/x")),
        ]);
        assert!(check(&tree, "a/b/up"));
        for link in
            ["sly", "out", "out_and_in", "absolute", "missing", "loop1", "loop2", "nul", "empty", "through"]
        {
            assert!(!check(&tree, link), "{link}");
        }
    }

    #[test]
    fn nothing_lies_below_a_file_or_a_link() {
        let mut tree = tree(&[("file", None), ("link", Some("dir")), ("dir/x", None)]);
        for path in [["file", "x"], ["link", "x"]] {
            assert_eq!(tree.insert(&path, &NewEntry::File), Err(EntryProblem::BelowNonDirectory));
        }
        assert_eq!(tree.insert(&["dir"], &NewEntry::File), Err(EntryProblem::DuplicateName));
        assert_eq!(tree.insert(&["dir"], &NewEntry::Directory), Ok(()));
        assert_eq!(tree.insert(&["dir"], &NewEntry::Directory), Err(EntryProblem::DuplicateName));
    }
}
