//! The call tree of a view: how much each frame spent itself, and with all that it called.

use rustc_hash::FxHashMap;

use super::view::{NodeId, RowId, View};

/// The call tree that a view shows. It holds what has samples, and what stands below it.
#[derive(Debug)]
pub struct Tree {
    branches: Vec<Branch>,
    roots: Vec<usize>,
}

/// A frame in the call tree, or the process or thread that stands below frames.
#[derive(Debug)]
pub struct Branch {
    /// What it is.
    pub label: Label,
    /// What called it; always of a smaller index.
    pub parent: Option<usize>,
    /// What it called, by name.
    pub children: Vec<usize>,
    /// The weight of the samples that found it innermost.
    pub own: u64,
    /// The weight of the samples that found it anywhere.
    pub total: u64,
    /// Whether samples found it innermost, be it for no time at all.
    pub seen: bool,
}

/// What a branch is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Label {
    /// A process or a thread.
    Root(String),
    /// A frame.
    Row(RowId),
}

/// What all the frames of one row spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    /// The row.
    pub row: RowId,
    /// What they spent themselves.
    pub own: u64,
    /// What they and all that they called spent; a row that calls itself counts once.
    pub total: u64,
}

/// A step of a walk through the tree, from the roots outwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Into a branch.
    Enter(usize),
    /// Out of it again, behind all that it called.
    Leave(usize),
}

impl Tree {
    /// Adds up a view.
    pub fn of(view: &View<'_>) -> Tree {
        let mut tree = Tree { branches: Vec::new(), roots: Vec::new() };
        let mut known = Known::default();
        for stack in view.stacks() {
            let group = tree.group(&mut known, stack.roots);
            let index = tree.place(&mut known, view, group, stack.node);
            if let Some(branch) = tree.branches.get_mut(index) {
                branch.own = branch.own.saturating_add(stack.weight);
                branch.seen = true;
            }
        }
        tree.add_up();
        tree.arrange(view);
        tree
    }

    /// Every branch; a parent stands before its children.
    pub fn branches(&self) -> &[Branch] {
        &self.branches
    }

    /// The outermost branches, by name.
    pub fn roots(&self) -> &[usize] {
        &self.roots
    }

    /// The weight of all samples.
    pub fn total(&self) -> u64 {
        let totals = self.roots.iter().filter_map(|root| self.branches.get(*root)).map(|branch| branch.total);
        totals.fold(0, u64::saturating_add)
    }

    /// Walks the tree. It keeps a list of its own instead of calling itself: stacks can be ten thousand deep.
    pub fn walk(&self) -> impl Iterator<Item = (Step, &Branch)> {
        let mut steps: Vec<Step> = self.roots.iter().rev().copied().map(Step::Enter).collect();
        std::iter::from_fn(move || {
            let step = steps.pop()?;
            let (Step::Enter(index) | Step::Leave(index)) = step;
            let branch = self.branches.get(index)?;
            if step == Step::Enter(index) {
                steps.push(Step::Leave(index));
                steps.extend(branch.children.iter().rev().copied().map(Step::Enter));
            }
            Some((step, branch))
        })
    }

    /// What each row spent, the one that spent most itself first.
    pub fn top(&self, view: &View<'_>) -> Vec<Total> {
        let mut totals: FxHashMap<RowId, (Total, u32)> = FxHashMap::default();
        for (step, branch) in self.walk() {
            let Label::Row(row) = branch.label else { continue };
            let (sum, active) = totals.entry(row).or_insert((Total { row, own: 0, total: 0 }, 0));
            if let Step::Leave(_) = step {
                *active -= 1;
                continue;
            }
            sum.own = sum.own.saturating_add(branch.own);
            if *active == 0 {
                sum.total = sum.total.saturating_add(branch.total);
            }
            *active += 1;
        }
        let ranks = ranks(view);
        let mut totals: Vec<Total> = totals.into_values().map(|(total, _)| total).collect();
        totals.sort_by_key(|total| {
            (std::cmp::Reverse((total.own, total.total)), ranks.get(total.row.index()).copied())
        });
        totals
    }

    /// The branch of the innermost of some roots; `None` where there are none.
    fn group(&mut self, known: &mut Known, roots: &[String]) -> Option<usize> {
        let mut parent = None;
        for root in roots {
            let next = self.branches.len();
            let index = *known.roots.entry((parent, root.clone())).or_insert(next);
            if index == next {
                self.grow(parent, Label::Root(root.clone()));
            }
            parent = Some(index);
        }
        parent
    }

    fn place(&mut self, known: &mut Known, view: &View<'_>, group: Option<usize>, node: NodeId) -> usize {
        let mut unplaced = Vec::new();
        let mut next = Some(node);
        let mut parent = group;
        while let Some(id) = next {
            if let Some(index) = known.nodes.get(&(group, id)) {
                parent = Some(*index);
                break;
            }
            unplaced.push(id);
            next = view.nodes().get(id.index()).and_then(|node| node.parent);
        }
        for id in unplaced.into_iter().rev() {
            let Some(node) = view.nodes().get(id.index()) else { continue };
            let index = self.grow(parent, Label::Row(node.row));
            known.nodes.insert((group, id), index);
            parent = Some(index);
        }
        parent.unwrap_or(0)
    }

    fn grow(&mut self, parent: Option<usize>, label: Label) -> usize {
        let index = self.branches.len();
        self.branches.push(Branch { label, parent, children: Vec::new(), own: 0, total: 0, seen: false });
        index
    }

    /// From the last branch to the first, each is complete before it is passed on.
    fn add_up(&mut self) {
        for index in (0..self.branches.len()).rev() {
            let Some(branch) = self.branches.get_mut(index) else { continue };
            branch.total = branch.total.saturating_add(branch.own);
            let (total, parent) = (branch.total, branch.parent);
            if let Some(parent) = parent.and_then(|parent| self.branches.get_mut(parent)) {
                parent.total = parent.total.saturating_add(total);
            }
        }
    }

    /// Puts all branches in the order of their names, so that equal views give equal trees.
    fn arrange(&mut self, view: &View<'_>) {
        let ranks = ranks(view);
        let mut order: Vec<usize> = (0..self.branches.len()).collect();
        order.sort_by_key(|index| match self.branches.get(*index).map(|branch| &branch.label) {
            Some(Label::Row(row)) => (None, ranks.get(row.index()).copied()),
            Some(Label::Root(name)) => (Some(name.as_str()), None),
            None => (None, None),
        });
        for index in order {
            match self.branches.get(index).and_then(|branch| branch.parent) {
                Some(parent) => {
                    if let Some(parent) = self.branches.get_mut(parent) {
                        parent.children.push(index);
                    }
                }
                None => self.roots.push(index),
            }
        }
    }
}

/// Which branches there are already.
#[derive(Debug, Default)]
struct Known {
    roots: FxHashMap<(Option<usize>, String), usize>,
    nodes: FxHashMap<(Option<usize>, NodeId), usize>,
}

/// For each row of a view, its place in the order of their texts.
fn ranks(view: &View<'_>) -> Vec<usize> {
    let mut order: Vec<(String, usize)> =
        (0..).zip(view.rows()).map(|(index, row)| (row.text(), index)).collect();
    order.sort();
    let mut ranks = vec![0; order.len()];
    for (rank, (_, index)) in order.into_iter().enumerate() {
        if let Some(place) = ranks.get_mut(index) {
            *place = rank;
        }
    }
    ranks
}
