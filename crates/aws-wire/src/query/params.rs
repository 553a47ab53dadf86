//! Flattened parameters, put back into the tree that they were flattened from.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// Names go no deeper than `SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.StringListValue.1`; what does is
/// no parameter of ours and must not cost a stack.
const DEEPEST: usize = 8;

/// What stands at a name: a value, or members under further names.
#[derive(Debug, Default)]
pub(super) struct Node<'a> {
    value: Option<Cow<'a, str>>,
    children: BTreeMap<String, Node<'a>>,
}

impl<'a> Node<'a> {
    /// Nothing stands here.
    pub(super) const fn absent() -> Self {
        Self { value: None, children: BTreeMap::new() }
    }

    /// Puts `value` at the dotted `name`. The first value of a name counts.
    pub(super) fn insert(&mut self, name: &str, value: Cow<'a, str>) {
        if name.split('.').count() > DEEPEST {
            return;
        }
        let mut node = self;
        for part in name.split('.') {
            if !node.children.contains_key(part) {
                node.children.insert(part.to_owned(), Node::default());
            }
            node = node.children.get_mut(part).expect("it was just put there");
        }
        node.value.get_or_insert(value);
    }

    /// The value itself.
    pub(super) fn value(&self) -> Option<&str> {
        self.value.as_deref()
    }

    /// What stands under `name`.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.get(name)
    }

    /// The entries of a list in the order of their numbers; gaps do not count. A lone value without a number, or the
    /// members of a lone entry (`Attribute.Name`, as in AWS's own examples), are a list of one.
    pub(super) fn entries(&self) -> Vec<&Self> {
        let mut numbered: Vec<(u32, &Self)> =
            self.children.iter().filter_map(|(name, node)| Some((name.parse().ok()?, node))).collect();
        if numbered.is_empty() {
            let nothing = self.value.is_none() && self.children.is_empty();
            return if nothing { Vec::new() } else { vec![self] };
        }
        numbered.sort_by_key(|(number, _)| *number);
        numbered.into_iter().map(|(_, node)| node).collect()
    }
}
