//! The call tree as screens show it: children by what they spend, each with a key that later pictures know it by.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use super::{Label, Part, key};
use crate::recording::{Tree, tree};

/// A frame in the call tree, or the process or thread that stands below frames.
#[derive(Debug, Clone, PartialEq)]
pub struct Limb {
    /// Tells it from all others, also in other pictures.
    pub key: u64,
    /// What it is called: a place in [`super::Picture::labels`].
    pub label: usize,
    /// What called it; always of a smaller index.
    pub parent: Option<usize>,
    /// What it called, that of the most time first.
    pub children: Vec<usize>,
    /// How many frames stand below it.
    pub depth: usize,
    /// Since the start.
    pub all: Part,
    /// At present.
    pub now: Part,
}

/// The call tree.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limbs {
    /// Every limb; a parent stands before its children.
    pub all: Vec<Limb>,
    /// The outermost ones, that of the most time first.
    pub roots: Vec<usize>,
    by_key: FxHashMap<u64, usize>,
}

impl Limbs {
    /// The call tree of all time; what stands below frames gets labels of its own.
    pub(super) fn of(tree: &Tree, labels: &mut Vec<Label>) -> Limbs {
        let mut limbs = Limbs::default();
        let mut roots: FxHashMap<String, usize> = FxHashMap::default();
        for branch in tree.branches() {
            let label = match &branch.label {
                tree::Label::Row(row) => row.index(),
                tree::Label::Root(name) => *roots.entry(name.clone()).or_insert_with(|| {
                    labels.push(Label::root(name));
                    labels.len() - 1
                }),
            };
            let below = branch.parent.and_then(|parent| limbs.all.get(parent));
            let (below, depth) = (below.map(|limb| limb.key), below.map_or(0, |limb| limb.depth + 1));
            let key = child_key(below, labels.get(label));
            let all = Part { own: branch.own, total: branch.total };
            limbs.by_key.insert(key, limbs.all.len());
            limbs.all.push(Limb {
                key,
                label,
                parent: branch.parent,
                children: branch.children.clone(),
                depth,
                all,
                now: Part::default(),
            });
        }
        limbs.roots = tree.roots().to_vec();
        let totals: Vec<u64> = limbs.all.iter().map(|limb| limb.all.total).collect();
        let most_first = |at: &usize| Reverse(totals.get(*at).copied());
        limbs.roots.sort_by_key(most_first);
        limbs.all.iter_mut().for_each(|limb| limb.children.sort_by_key(most_first));
        limbs
    }

    /// Adds what limbs spend at present.
    pub(super) fn add_now(&mut self, tree: &Tree, labels: &[Label]) {
        let mut keys: Vec<u64> = Vec::with_capacity(tree.branches().len());
        for branch in tree.branches() {
            let below = branch.parent.and_then(|parent| keys.get(parent).copied());
            let key = match &branch.label {
                tree::Label::Row(row) => child_key(below, labels.get(row.index())),
                tree::Label::Root(name) => child_key(below, Some(&Label::root(name))),
            };
            keys.push(key);
            if let Some(limb) = self.by_key.get(&key).and_then(|at| self.all.get_mut(*at)) {
                limb.now = Part { own: branch.own, total: branch.total };
            }
        }
    }

    /// Where the limb of a key is.
    pub fn place(&self, key: u64) -> Option<usize> {
        self.by_key.get(&key).copied()
    }

    /// A limb.
    pub fn get(&self, place: usize) -> Option<&Limb> {
        self.all.get(place)
    }

    /// What stands below a limb, the nearest first.
    pub fn below(&self, place: usize) -> impl Iterator<Item = &Limb> {
        let mut next = self.get(place).and_then(|limb| limb.parent);
        std::iter::from_fn(move || {
            let limb = self.get(next?)?;
            next = limb.parent;
            Some(limb)
        })
    }
}

fn child_key(below: Option<u64>, label: Option<&Label>) -> u64 {
    // The label's own key stands for its whole text, which the shown one may have lost an end of.
    key((below, label.map(|label| label.key)))
}
