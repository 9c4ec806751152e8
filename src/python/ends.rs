//! Where a thread's stacks end: what is to be believed of a chain that ends, for a torn one can end anywhere.

use crate::memory::Addr;

use super::frame::Kind;

/// How often a chain was seen to end at a function before it is believed to be the base.
const ENDS: u32 = 4;
/// A function that is the base of a thread is that at least once in so many looks.
const SHARE: u32 = 64;
/// The most functions that are counted.
const MAX_ENDS: usize = 64;
/// Counts are halved when there are so many.
const MAX_COUNT: u32 = 1 << 12;

/// What the outermost frame is, and the function of the outermost Python frame.
pub type End = (Kind, Addr);

/// The functions where chains have ended, and how often each.
#[derive(Debug, Default)]
pub struct Ends {
    counts: Vec<(End, u32)>,
    all: u32,
}

impl Ends {
    /// Counts a chain whose end held still at `end`; says whether that is believed.
    ///
    /// Up to 3.10 a frame that has returned has no caller, and in every version neither has that of a generator which waits: a
    /// stack read in that moment looks whole and has lost its base. That is rare, and the true base is not.
    pub fn count(&mut self, end: End) -> bool {
        self.all += 1;
        let place = match self.counts.iter().position(|(known, _)| *known == end) {
            Some(place) => place,
            None => {
                if self.counts.len() == MAX_ENDS {
                    let rarest = (0..MAX_ENDS).min_by_key(|place| self.counts[*place].1).unwrap_or(0);
                    self.counts.swap_remove(rarest);
                }
                self.counts.push((end, 0));
                self.counts.len() - 1
            }
        };
        self.counts[place].1 += 1;
        let count = self.counts[place].1;
        let believed = self.believes(count);
        if self.all >= MAX_COUNT {
            self.all /= 2;
            for (_, count) in &mut self.counts {
                *count = count.div_ceil(2);
            }
        }
        believed
    }

    /// Whether an end is believed already.
    pub fn knows(&self, end: End) -> bool {
        self.counts.iter().any(|(known, count)| *known == end && self.believes(*count))
    }

    fn believes(&self, count: u32) -> bool {
        count >= ENDS && count.saturating_mul(SHARE) >= self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_believed_when_it_is_met_often_enough() {
        let mut ends = Ends::default();
        let (base, accident) = ((Kind::Own, Addr(1)), (Kind::Python, Addr(2)));
        assert_eq!([(); 5].map(|()| ends.count(base)), [false, false, false, true, true]);
        for _ in 0..100_000 {
            assert!((0..500).all(|_| ends.count(base)));
            assert!(!ends.count(accident));
        }
        let other = (Kind::Own, Addr(3));
        let believed_after = (0..10_000).take_while(|_| !ends.count(other)).count();
        assert!((10..200).contains(&believed_after), "{believed_after}");
    }

    #[test]
    fn no_target_makes_it_grow_without_end() {
        let mut ends = Ends::default();
        for number in 0..10_000 {
            ends.count((Kind::Python, Addr(number)));
        }
        assert_eq!(ends.counts.len(), MAX_ENDS);
    }
}
