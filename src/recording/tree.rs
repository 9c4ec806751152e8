//! The call tree of a view: how much each frame spent itself, and with all that it called.

use super::view::{NodeId, Row, RowId, View};

/// The weights of a view, by node.
#[derive(Debug)]
pub struct Tree {
    own: Vec<u64>,
    total: Vec<u64>,
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

impl Tree {
    /// Adds up a view.
    pub fn of(view: &View<'_>) -> Tree {
        let mut own = vec![0u64; view.nodes().len()];
        for stack in view.stacks() {
            if let Some(own) = own.get_mut(stack.node.index()) {
                *own = own.saturating_add(stack.weight);
            }
        }
        let mut total = own.clone();
        // A parent has the smaller id: from the last node to the first, each is complete before it is passed on.
        for (id, node) in view.nodes().iter().enumerate().rev() {
            let weight = total.get(id).copied().unwrap_or(0);
            if let Some(parent) = node.parent.and_then(|parent| total.get_mut(parent.index())) {
                *parent = parent.saturating_add(weight);
            }
        }
        Tree { own, total }
    }

    /// What a frame spent itself.
    pub fn own(&self, node: NodeId) -> u64 {
        self.own.get(node.index()).copied().unwrap_or(0)
    }

    /// What a frame and all that it called spent.
    pub fn total(&self, node: NodeId) -> u64 {
        self.total.get(node.index()).copied().unwrap_or(0)
    }

    /// What each row spent, the one that spent most itself first. Rows that spent nothing are left out.
    pub fn top(&self, view: &View<'_>) -> Vec<Total> {
        let mut rows: Vec<Total> =
            (0..view.rows().len() as u32).map(|row| Total { row: RowId(row), own: 0, total: 0 }).collect();
        let outermost = outermost(view);
        for (id, node) in (0..).map(NodeId).zip(view.nodes()) {
            let Some(row) = rows.get_mut(node.row.index()) else { continue };
            row.own = row.own.saturating_add(self.own(id));
            if outermost.get(id.index()) == Some(&true) {
                row.total = row.total.saturating_add(self.total(id));
            }
        }
        rows.retain(|row| row.total > 0);
        let text = |total: &Total| view.rows().get(total.row.index()).map(Row::text);
        rows.sort_by(|a, b| (b.own, b.total).cmp(&(a.own, a.total)).then_with(|| text(a).cmp(&text(b))));
        rows
    }
}

/// For each node, whether no node below it on its stack is of the same row.
fn outermost(view: &View<'_>) -> Vec<bool> {
    let nodes = view.nodes();
    let mut children = vec![Vec::new(); nodes.len()];
    let mut roots = Vec::new();
    for (id, node) in (0..).map(NodeId).zip(nodes) {
        match node.parent.and_then(|parent| children.get_mut(parent.index())) {
            Some(children) => children.push(id),
            None => roots.push(id),
        }
    }
    // Walks the tree with a list of its own instead of the call stack: stacks can be ten thousand deep.
    let mut outermost = vec![false; nodes.len()];
    let mut active = vec![0u32; view.rows().len()];
    let mut steps: Vec<Step> = roots.into_iter().map(Step::Enter).collect();
    while let Some(step) = steps.pop() {
        let (Step::Enter(id) | Step::Leave(id)) = step;
        let Some(active) = nodes.get(id.index()).and_then(|node| active.get_mut(node.row.index())) else { continue };
        match step {
            Step::Leave(_) => *active -= 1,
            Step::Enter(_) => {
                if let Some(outermost) = outermost.get_mut(id.index()) {
                    *outermost = *active == 0;
                }
                *active += 1;
                steps.push(Step::Leave(id));
                steps.extend(children.get(id.index()).into_iter().flatten().copied().map(Step::Enter));
            }
        }
    }
    outermost
}

/// A step of the walk.
#[derive(Debug, Clone, Copy)]
enum Step {
    Enter(NodeId),
    Leave(NodeId),
}
