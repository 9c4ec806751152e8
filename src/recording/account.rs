//! How good a recording is: what was asked, what became of it, and what is missing.

use super::tables::Recording;
use crate::model::{Nanos, Quality, TroubleKind};

/// How good a recording is. It is told from the samples where the recording never came to its end.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Account {
    /// Samples: one for each thread in each look.
    pub samples: u64,
    /// Looks at a process.
    pub looks: u64,
    /// How long it took.
    pub duration: Nanos,
    /// Looks a second that were asked for; `None` is as many as there can be.
    pub rate_asked: Option<f64>,
    /// Looks a second that there were.
    pub rate_achieved: Option<f64>,
    /// Looks that were due and were not taken.
    pub missed: u64,
    /// Looks that failed altogether.
    pub errors: u64,
    /// Samples whose stack was whole, but not at the first try.
    pub retried: u64,
    /// Samples whose stack was read while the target was held still.
    pub stopped: u64,
    /// Samples whose stack was torn, but equal to one that was seen whole.
    pub probable: u64,
    /// Samples that lack a part of their stack.
    pub partial: u64,
}

impl Account {
    /// Takes stock of a recording.
    pub fn of(recording: &Recording) -> Account {
        let mut account = Account {
            looks: recording.looks,
            duration: Nanos(recording.end().0),
            rate_asked: recording.meta.asked.rate_hz,
            ..Account::default()
        };
        for sample in recording.samples.iter().flatten() {
            let count = u64::from(sample.count);
            account.samples = account.samples.saturating_add(count);
            match sample.quality {
                Quality::Whole => {}
                Quality::Retried => account.retried = account.retried.saturating_add(count),
                Quality::Stopped => account.stopped = account.stopped.saturating_add(count),
                Quality::Probable => account.probable = account.probable.saturating_add(count),
                Quality::BaseMissing(_) | Quality::TopMissing(_) => {
                    account.partial = account.partial.saturating_add(count);
                }
            }
        }
        match &recording.meta.achieved {
            Some(achieved) => {
                account.duration = Nanos(achieved.duration_ns);
                account.rate_achieved = achieved.rate_hz();
                account.missed = achieved.missed;
                account.errors = achieved.errors;
            }
            None => {
                account.rate_achieved =
                    (account.duration.0 > 0).then(|| account.looks as f64 / account.duration.as_secs_f64());
                account.missed = count(recording, TroubleKind::Missed);
                account.errors = count(recording, TroubleKind::Threads);
            }
        }
        account
    }

    /// The share of samples that lack a part of their stack.
    pub fn partial_share(&self) -> f64 {
        if self.samples == 0 { 0.0 } else { self.partial as f64 / self.samples as f64 }
    }
}

/// How often something did not work.
fn count(recording: &Recording, kind: TroubleKind) -> u64 {
    let counts =
        recording.troubles.iter().filter(|trouble| trouble.kind == kind).map(|trouble| trouble.count);
    counts.fold(0, u64::saturating_add)
}
