//! Which branches of the call tree are open, and the lines that they make.

use std::collections::HashSet;

use super::picture::limbs::Limbs;

/// The most lines that a tree is shown with: a recursion that is opened to its end is deep.
const MAX_LINES: usize = 100_000;

/// The branches that are open, and the lines of the tree.
#[derive(Debug, Clone, Default)]
pub struct Branches {
    open: HashSet<u64>,
    /// The places of the limbs that are on lines, in order.
    pub lines: Vec<usize>,
    /// Their keys.
    pub keys: Vec<u64>,
}

impl Branches {
    /// Whether a branch is open.
    pub fn is_open(&self, key: u64) -> bool {
        self.open.contains(&key)
    }

    /// Opens a branch, or closes it.
    pub fn set(&mut self, key: u64, open: bool) {
        if open {
            self.open.insert(key);
        } else {
            self.open.remove(&key);
        }
    }

    /// Opens the branch that spends most, from one on or from the root, as far as one part of it takes most of the time; the
    /// place of the last one.
    pub fn open_hottest(&mut self, limbs: &Limbs, from: Option<usize>) -> Option<usize> {
        let mut place = from.or_else(|| limbs.roots.first().copied())?;
        while let Some(limb) = limbs.get(place) {
            let Some(next) = limb.children.first().copied() else { break };
            // Where the frame itself spends more than any that it calls, it is what was looked for.
            if limbs.get(next).is_none_or(|next| next.all.total < limb.all.own) {
                break;
            }
            self.open.insert(limb.key);
            place = next;
        }
        Some(place)
    }

    /// Opens everything below a limb, so that it is on a line.
    pub fn reveal(&mut self, limbs: &Limbs, place: usize) {
        self.open.extend(limbs.below(place).map(|limb| limb.key));
    }

    /// Makes the lines anew.
    pub fn arrange(&mut self, limbs: &Limbs) {
        self.lines.clear();
        self.keys.clear();
        let mut next: Vec<usize> = limbs.roots.iter().rev().copied().collect();
        while let Some(place) = next.pop().filter(|_| self.lines.len() < MAX_LINES) {
            let Some(limb) = limbs.get(place) else { continue };
            self.lines.push(place);
            self.keys.push(limb.key);
            if self.open.contains(&limb.key) {
                next.extend(limb.children.iter().rev());
            }
        }
    }
}
