//! Searching for text in the view that is shown.

use super::{App, Sight};

impl App {
    /// Whether a text is one that is searched for.
    pub fn matches(&self, text: &str) -> bool {
        !self.search.is_empty() && text.to_lowercase().contains(&self.search.to_lowercase())
    }

    /// Goes to the next match, or to the one before.
    pub(super) fn find(&mut self, forward: bool) {
        if self.search.is_empty() {
            self.message = Some("nothing to search for yet: / searches".into());
            return;
        }
        let places: Vec<usize> = match self.sight {
            Sight::Tree | Sight::Flame => self.all_limbs(),
            _ => (0..self.keys().len()).collect(),
        };
        let now = match self.sight {
            Sight::Tree | Sight::Flame => {
                let selected = self.selected_limb();
                places.iter().position(|place| Some(*place) == selected)
            }
            _ => Some(self.cursor().line),
        };
        let count = places.len();
        let start = now.unwrap_or(count.saturating_sub(1));
        let order = (1..=count).map(|step| if forward { start + step } else { start + count - step } % count);
        let found = order.filter_map(|at| places.get(at)).find(|place| self.is_match(**place)).copied();
        match (found, self.sight) {
            (None, _) => self.message = Some(format!("{} is nowhere here", self.search)),
            (Some(place), Sight::Tree | Sight::Flame) => self.select(place),
            (Some(line), _) => {
                let (keys, height) = (self.keys(), self.height());
                self.place_cursor(|cursor| cursor.go(line, &keys, height));
            }
        }
    }

    fn is_match(&self, place: usize) -> bool {
        let picture = &self.picture;
        match self.sight {
            _ if self.shows_stack() => picture.stack.get(place).is_some_and(|text| self.matches(text)),
            Sight::Functions => {
                let function = picture.functions.get(place);
                function.is_some_and(|function| self.matches(picture.label(function.label)))
            }
            Sight::Tree | Sight::Flame => {
                picture.limbs.get(place).is_some_and(|limb| self.matches(picture.label(limb.label)))
            }
            Sight::Threads => picture.threads.get(place).is_some_and(|thread| {
                [&thread.name, &thread.wait, &thread.top].into_iter().any(|text| self.matches(text))
            }),
            Sight::Memory => self.memories.text(place).is_some_and(|text| self.matches(&text)),
            Sight::Gc => {
                let mut last = picture.gc.iter().flat_map(|gc| &gc.last);
                last.nth(place).is_some_and(|past| self.matches(&past.trigger))
            }
        }
    }

    /// Every limb, in the order in which they stand in a tree all of whose branches are open.
    fn all_limbs(&self) -> Vec<usize> {
        let limbs = &self.picture.limbs;
        let within = (self.sight == Sight::Flame).then(|| self.zoomed()).flatten();
        let mut next = match within {
            Some(zoomed) => vec![zoomed],
            None => limbs.roots.iter().rev().copied().collect(),
        };
        let mut all = Vec::with_capacity(limbs.all.len());
        while let Some(place) = next.pop() {
            all.push(place);
            if let Some(limb) = limbs.get(place) {
                next.extend(limb.children.iter().rev());
            }
        }
        all
    }
}
