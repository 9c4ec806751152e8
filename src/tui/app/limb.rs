//! Moving through the call tree, as a tree and as a flame graph.

use super::{App, Sight};
use crate::tui::picture::limbs::Limb;

impl App {
    /// The limb that is selected, in the tree or in the flame graph.
    pub fn selected_limb(&self) -> Option<usize> {
        match self.sight {
            Sight::Flame => self.flame.selected.and_then(|key| self.picture.limbs.place(key)),
            _ => self.branches.lines.get(self.cursor().line).copied(),
        }
    }

    /// The limb that takes the whole width of the flame graph.
    pub fn zoomed(&self) -> Option<usize> {
        self.flame.zoom.and_then(|key| self.picture.limbs.place(key))
    }

    fn limb(&self, place: usize) -> Option<&Limb> {
        self.picture.limbs.get(place)
    }

    /// Opens or closes the selected branch of the tree.
    pub(super) fn toggle(&mut self) {
        let Some(limb) = self.selected_limb().and_then(|place| self.limb(place)) else { return };
        let key = limb.key;
        self.set_open(key, !self.branches.is_open(key));
    }

    fn set_open(&mut self, key: u64, open: bool) {
        self.branches.set(key, open);
        self.branches.arrange(&self.picture.limbs);
        self.follow();
    }

    pub(super) fn open_hottest(&mut self) {
        let from = self.selected_limb();
        if let Some(last) = self.branches.open_hottest(&self.picture.limbs, from) {
            self.select(last);
        }
    }

    /// Selects a limb, in a view that shows limbs.
    pub(super) fn select(&mut self, place: usize) {
        let Some(key) = self.limb(place).map(|limb| limb.key) else { return };
        if self.sight == Sight::Flame {
            self.flame.selected = Some(key);
            return self.keep_flame();
        }
        self.branches.reveal(&self.picture.limbs, place);
        self.branches.arrange(&self.picture.limbs);
        let Some(line) = self.branches.keys.iter().position(|it| *it == key) else { return };
        let (keys, height) = (self.keys(), self.height());
        self.place_cursor(|cursor| cursor.go(line, &keys, height));
    }

    pub(super) fn left(&mut self) {
        let Some(place) = self.selected_limb() else { return self.select_first() };
        if self.sight == Sight::Flame {
            return self.sidestep(place, false);
        }
        let Some(limb) = self.limb(place) else { return };
        match limb.parent {
            _ if self.branches.is_open(limb.key) => self.set_open(limb.key, false),
            Some(parent) => self.select(parent),
            None => {}
        }
    }

    pub(super) fn right(&mut self) {
        let Some(place) = self.selected_limb() else { return self.select_first() };
        if self.sight == Sight::Flame {
            return self.sidestep(place, true);
        }
        let Some(limb) = self.limb(place) else { return };
        match limb.children.first() {
            Some(child) if self.branches.is_open(limb.key) => self.select(*child),
            Some(_) => self.set_open(limb.key, true),
            None => {}
        }
    }

    /// Up towards the root of the flame graph, or down from it.
    pub(super) fn climb(&mut self, by: isize) {
        let Some(mut place) = self.selected_limb() else { return self.select_first() };
        // No stack is deeper than there are limbs.
        for _ in 0..by.unsigned_abs().min(self.picture.limbs.all.len()) {
            let next = self.limb(place).and_then(|limb| match by < 0 {
                true if Some(limb.key) == self.flame.zoom => None,
                true => limb.parent,
                false => limb.children.first().copied(),
            });
            let Some(next) = next else { break };
            place = next;
        }
        self.select(place);
    }

    /// To the frame beside.
    fn sidestep(&mut self, place: usize, right: bool) {
        let Some(limb) = self.limb(place).filter(|limb| Some(limb.key) != self.flame.zoom) else { return };
        let all = match limb.parent.and_then(|parent| self.limb(parent)) {
            Some(parent) => &parent.children,
            None => &self.picture.limbs.roots,
        };
        let Some(now) = all.iter().position(|it| *it == place) else { return };
        let next = if right { now.checked_add(1) } else { now.checked_sub(1) };
        if let Some(next) = next.and_then(|next| all.get(next)).copied() {
            self.select(next);
        }
    }

    fn select_first(&mut self) {
        if let Some(first) = self.zoomed().or_else(|| self.picture.limbs.roots.first().copied()) {
            self.select(first);
        }
    }

    pub(super) fn zoom(&mut self) {
        match self.flame.selected {
            Some(selected) => self.flame.zoom = Some(selected),
            None => return self.select_first(),
        }
        self.keep_flame();
    }

    /// Out by one level.
    pub(super) fn unzoom(&mut self) {
        let parent = self.zoomed().and_then(|place| self.limb(place)).and_then(|limb| limb.parent);
        self.flame.zoom = parent.and_then(|parent| self.limb(parent)).map(|limb| limb.key);
        self.keep_flame();
    }

    /// Forgets frames that are gone, and brings the selected one onto the screen.
    pub(super) fn keep_flame(&mut self) {
        let limbs = &self.picture.limbs;
        self.flame.zoom = self.flame.zoom.filter(|key| limbs.place(*key).is_some());
        let zoomed = self.zoomed();
        let depth = |place: usize| limbs.get(place).map_or(0, |limb| limb.depth);
        let floor = zoomed.map_or(0, depth);
        let inside = |place: usize| {
            zoomed.is_none_or(|zoomed| {
                place == zoomed || limbs.below(place).any(|it| Some(it.key) == self.flame.zoom)
            })
        };
        self.flame.selected = self.flame.selected.filter(|key| limbs.place(*key).is_some_and(inside));
        let selected = self.flame.selected.and_then(|key| limbs.place(key));
        let level = selected.map_or(0, |place| depth(place).saturating_sub(floor));
        let body = self.size.1.saturating_sub(super::HEAD + super::FOOT + 1);
        let height = usize::from(body).max(1);
        self.flame.top = self.flame.top.clamp((level + 1).saturating_sub(height), level);
    }
}
