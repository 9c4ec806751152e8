//! A column of numbers in the page: LEB128 varints below 2^53, so that the page can hold them; what may be negative is zigzagged.

/// The largest whole number that the page can hold.
pub(super) const MAX: u64 = (1 << 53) - 1;

/// A column of numbers.
#[derive(Debug, Default)]
pub(super) struct Column(Vec<u8>);

impl Column {
    pub(super) fn push(&mut self, number: u64) {
        let mut rest = number.min(MAX);
        while rest >= 0x80 {
            self.0.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
    }

    /// Writes `number - base`, which may be negative.
    pub(super) fn push_beside(&mut self, base: u64, number: u64) {
        self.push(zigzag(base, number));
    }

    /// Writes 0 for nothing, and else one more than `number - base`.
    pub(super) fn push_some(&mut self, base: u64, number: Option<u64>) {
        self.push(number.map_or(0, |number| zigzag(base, number).saturating_add(1)));
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// `number - base`: the even numbers are those that are not negative.
fn zigzag(base: u64, number: u64) -> u64 {
    let (base, number) = (base.min(MAX), number.min(MAX));
    match number.checked_sub(base) {
        Some(more) => more.saturating_mul(2),
        None => (base - number).saturating_mul(2) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(write: impl Fn(&mut Column), expected: &[u8]) {
        let mut column = Column::default();
        write(&mut column);
        assert_eq!(column.bytes(), expected);
    }

    #[test]
    fn small_numbers_are_a_byte_and_large_ones_are_cut() {
        check(|column| column.push(127), &[127]);
        check(|column| column.push(128), &[128, 1]);
        check(|column| column.push(u64::MAX), &[255, 255, 255, 255, 255, 255, 255, 15]);
    }

    #[test]
    fn differences_are_zigzagged_and_nothing_is_zero() {
        check(|column| column.push_beside(5, 5), &[0]);
        check(|column| column.push_beside(5, 7), &[4]);
        check(|column| column.push_beside(5, 4), &[1]);
        check(|column| column.push_some(5, None), &[0]);
        check(|column| column.push_some(5, Some(4)), &[2]);
    }
}
