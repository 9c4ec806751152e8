//! A frame in a chain of them, and what it and all behind it, out to the base, have in common: few questions about a chain are asked of
//! each of its links.

use crate::memory::Addr;

use super::extents::Place;
use super::frame::{Header, Kind};

/// A frame in a chain.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// Where it is.
    pub at: Addr,
    /// What it says.
    pub header: Header,
    /// Where it was read.
    pub place: Place,
    /// Both copies agree on it.
    pub agreed: bool,
    /// How many frames of Python's there are from it out to the base, it among them.
    pub height: usize,
    /// Those behind it that were read in the same stretch.
    pub run: Run,
}

/// Notices when a chain that is followed comes back to where it was, after at most three times as many steps as there are in the
/// round (R. P. Brent, An improved Monte Carlo factorization algorithm, 1980).
#[derive(Debug)]
pub struct Round {
    milestone: Addr,
    steps: usize,
}

impl Round {
    /// A chain that begins at `top`.
    pub fn new(top: Addr) -> Round {
        Round { milestone: top, steps: 0 }
    }

    /// Takes the step to `next`; whether the chain has come round.
    pub fn closes(&mut self, next: Addr) -> bool {
        let closes = next == self.milestone;
        self.steps += 1;
        if self.steps.is_power_of_two() {
            self.milestone = next;
        }
        closes
    }
}

/// A link and those right behind it that lie in the same stretch.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    /// What of the stretch holds them all.
    pub place: Place,
    /// How many they are.
    pub links: usize,
    /// Both copies agree on all of them.
    pub agreed: bool,
}

impl Link {
    /// One that nothing is behind.
    pub fn new(at: Addr, header: Header, place: Place, agreed: bool) -> Link {
        let height = usize::from(header.kind == Kind::Python);
        Link { at, header, place, agreed, height, run: Run { place, links: 1, agreed } }
    }

    /// The same by itself.
    fn alone(&self) -> Link {
        Link::new(self.at, self.header, self.place, self.agreed)
    }

    /// The same in front of another one.
    fn before(&self, behind: &Link) -> Link {
        let mut link = self.alone();
        let Link { place, agreed, .. } = link;
        link.height += behind.height;
        let run = &behind.run;
        if run.place.stretch == place.stretch {
            let place =
                Place { from: place.from.min(run.place.from), to: place.to.max(run.place.to), ..place };
            link.run = Run { place, links: run.links + 1, agreed: agreed && run.agreed };
        }
        link
    }
}

/// Sums up the innermost `links` of a chain, which stands with its innermost one first, when those behind them are.
pub fn sum_up(chain: &mut [Link], links: usize) {
    for place in (0..links.min(chain.len())).rev() {
        chain[place] = match chain.get(place + 1) {
            Some(behind) => chain[place].before(behind),
            None => chain[place].alone(),
        };
    }
}

/// The runs of a chain, from its innermost link out.
pub fn runs(chain: &[Link]) -> impl Iterator<Item = Run> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let run = chain.get(at)?.run;
        at += run.links;
        Some(run)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_that_comes_round_is_noticed_soon() {
        for (way_in, round) in [(0, 1), (0, 7), (5, 1), (100, 3), (3, 100)] {
            let at = |step: usize| {
                Addr(if step < way_in { step } else { way_in + (step - way_in) % round } as u64)
            };
            let mut followed = Round::new(at(0));
            let steps = (1..10_000).take_while(|step| !followed.closes(at(*step))).count();
            assert!(steps < 3 * (way_in + round), "{way_in}, {round}: {steps}");
        }
        let mut followed = Round::new(Addr(0));
        assert!((1..10_000).all(|at| !followed.closes(Addr(at))));
    }

    #[test]
    fn links_know_of_those_behind_them() {
        let link = |at: u64, kind, stretch, agreed| {
            let header =
                Header { kind, code: Addr(1), back: Addr::NULL, instruction: 0, copy: 0, from_c: false };
            let from = at as usize;
            Link::new(Addr(at), header, Place { stretch, from, to: from + 8 }, agreed)
        };
        let mut chain = [
            link(64, Kind::Python, 1, true),
            link(32, Kind::Python, 1, false),
            link(48, Kind::Own, 1, true),
            link(16, Kind::Python, 0, true),
        ];
        sum_up(&mut chain, 9);
        assert_eq!(chain.map(|link| link.height), [3, 2, 1, 1]);
        let seen: Vec<_> = runs(&chain)
            .map(|run| (run.place.stretch, run.place.from, run.place.to, run.links, run.agreed))
            .collect();
        assert_eq!(seen, [(1, 32, 72, 3, false), (0, 16, 24, 1, true)]);
        assert_eq!(chain[2].run.links, 1);
        // What is replaced in front is summed up anew, and nothing else.
        chain[1].agreed = true;
        sum_up(&mut chain, 2);
        assert_eq!(chain.map(|link| link.run.agreed), [true; 4]);
        chain[3].agreed = false;
        sum_up(&mut chain, 9);
        assert_eq!(chain.map(|link| link.run.agreed), [true, true, true, false]);
        assert_eq!(runs(&[]).count(), 0);
    }
}
