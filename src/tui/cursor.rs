//! Which line of a list is selected, and which lines are on the screen.

/// A place in a list. It stays with the thing that it stands on while the list changes around it, except at the top.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The selected line.
    pub line: usize,
    /// The first line on the screen.
    pub top: usize,
    /// What the selected line shows.
    key: Option<u64>,
}

impl Cursor {
    /// Moves by so many lines, in a list of `keys` of which `height` lines are on the screen.
    pub fn step(&mut self, by: isize, keys: &[u64], height: usize) {
        self.go(self.line.saturating_add_signed(by), keys, height);
    }

    /// Moves to a line.
    pub fn go(&mut self, line: usize, keys: &[u64], height: usize) {
        self.line = line.min(keys.len().saturating_sub(1));
        self.key = keys.get(self.line).copied();
        self.show(keys.len(), height);
    }

    /// Finds its place in a list that has changed. Who stands at the top wants to see the top.
    pub fn follow(&mut self, keys: &[u64], height: usize) {
        let place = self.key.filter(|_| self.line > 0).and_then(|key| keys.iter().position(|it| *it == key));
        self.go(place.unwrap_or(self.line), keys, height);
    }

    /// Brings the selected line onto the screen, and leaves no line empty that could show something.
    fn show(&mut self, lines: usize, height: usize) {
        let height = height.max(1);
        self.top = self.top.clamp((self.line + 1).saturating_sub(height), self.line);
        self.top = self.top.min(lines.saturating_sub(height));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_stays_with_its_line_but_not_at_the_top() {
        let mut cursor = Cursor::default();
        cursor.follow(&[5, 6, 7], 2);
        assert_eq!((cursor.line, cursor.top), (0, 0));
        cursor.follow(&[7, 6, 5], 2);
        assert_eq!((cursor.line, cursor.top), (0, 0));
        cursor.step(2, &[7, 6, 5], 2);
        assert_eq!((cursor.line, cursor.top), (2, 1));
        cursor.follow(&[5, 7], 2);
        assert_eq!((cursor.line, cursor.top), (0, 0));
        cursor.step(1, &[5, 7], 1);
        cursor.follow(&[], 1);
        assert_eq!((cursor.line, cursor.top), (0, 0));
    }
}
