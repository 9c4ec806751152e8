//! What each function spends: now, since the start, before and since the mark, and second by second.

use std::cmp::Ordering;

use rustc_hash::FxHashMap;

use super::{Label, Part, Whole, share};
use crate::model::{At, Nanos};
use crate::recording::tree::Total;
use crate::recording::view::RowId;
use crate::recording::{Tree, View};
use crate::tui::query::{Column, Query};

/// How many seconds of the past a trend shows.
pub const TREND: usize = 16;
/// One of these.
const SECOND: u64 = Nanos::SECOND.0;

/// A function, or whatever counts as one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Function {
    /// What it is called: a place in [`super::Picture::labels`].
    pub label: usize,
    /// Since the start.
    pub all: Part,
    /// At present.
    pub now: Part,
    /// Before the mark.
    pub before: Part,
    /// Since the mark.
    pub after: Part,
    /// Its own share of each of the last seconds, the latest one last.
    pub trend: [f32; TREND],
}

impl Function {
    /// By how much its own share has grown since the mark.
    pub fn change(&self, whole: &Whole) -> f64 {
        share(self.after.own, whole.after) - share(self.before.own, whole.before)
    }
}

/// Every function that was seen since the start.
pub(super) fn all(view: &View<'_>, tree: &Tree, at: At) -> Vec<Function> {
    let trends = trends(view, at);
    let function = |total: &Total| Function {
        label: total.row.index(),
        all: Part { own: total.own, total: total.total },
        now: Part::default(),
        before: Part::default(),
        after: Part::default(),
        trend: trends.get(&total.row).copied().unwrap_or_default(),
    };
    tree.top(view).iter().map(function).collect()
}

/// Adds what functions spend at present.
pub(super) fn add_now(functions: &mut [Function], view: &View<'_>, tree: &Tree) {
    add(functions, &tree.top(view), |function| &mut function.now);
}

/// Adds what functions spent before and after the mark.
pub(super) fn add_compared(functions: &mut [Function], before: &[Total], after: &[Total]) {
    add(functions, before, |function| &mut function.before);
    add(functions, after, |function| &mut function.after);
}

fn add(functions: &mut [Function], totals: &[Total], slot: fn(&mut Function) -> &mut Part) {
    let parts: FxHashMap<usize, Part> =
        totals.iter().map(|it| (it.row.index(), Part { own: it.own, total: it.total })).collect();
    for function in functions {
        let part = parts.get(&function.label).copied().unwrap_or_default();
        *slot(function) = part;
    }
}

/// Sorts functions as was asked; equal ones by what they spent since the start, then by name.
pub(super) fn sort(functions: &mut [Function], query: &Query, whole: &Whole, labels: &[Label]) {
    let name = |function: &Function| labels.get(function.label).map(|label| label.text.as_str());
    let column = match query.column {
        Column::Change if query.compared().is_none() => Column::Own,
        column => column,
    };
    let down = |a: u64, b: u64| b.cmp(&a);
    functions.sort_by(|a, b| {
        let order = match column {
            Column::OwnNow => down(a.now.own, b.now.own),
            Column::TotalNow => down(a.now.total, b.now.total),
            Column::Own => Ordering::Equal,
            Column::Total => down(a.all.total, b.all.total),
            Column::Change => b.change(whole).abs().total_cmp(&a.change(whole).abs()),
            Column::Name => name(a).cmp(&name(b)),
        };
        let order = order
            .then(down(a.all.own, b.all.own))
            .then(down(a.all.total, b.all.total))
            .then_with(|| name(a).cmp(&name(b)));
        if query.inverted { order.reverse() } else { order }
    });
}

/// The own share of each row in each of the last seconds that are over.
fn trends(view: &View<'_>, at: At) -> FxHashMap<RowId, [f32; TREND]> {
    let end = at.0 / SECOND;
    let first = end.saturating_sub(TREND as u64);
    let mut own: FxHashMap<RowId, [u64; TREND]> = FxHashMap::default();
    let mut wholes = [0_u64; TREND];
    for track in view.tracks() {
        for seen in view.samples(*track) {
            let Some(node) = view.nodes().get(seen.node.index()) else { continue };
            let (from, until) = (seen.from.0.max(first * SECOND), seen.until.0.min(end * SECOND));
            let mut at = from;
            while at < until {
                let second = at / SECOND;
                let next = until.min((second + 1) * SECOND);
                let Some(place) = second.checked_sub(first).and_then(|place| usize::try_from(place).ok())
                else {
                    break;
                };
                // A folded row is taken to have been the same all the time.
                let length = (seen.until.0 - seen.from.0).max(1);
                let part = u128::from(seen.weight) * u128::from(next - at) / u128::from(length);
                let part = u64::try_from(part).unwrap_or(u64::MAX);
                let row = own.entry(node.row).or_default();
                for sum in [row.get_mut(place), wholes.get_mut(place)].into_iter().flatten() {
                    *sum = sum.saturating_add(part);
                }
                at = next;
            }
        }
    }
    let missing = TREND - usize::try_from(end - first).unwrap_or(TREND).min(TREND);
    let trend = |own: [u64; TREND]| {
        let mut trend = [0.0; TREND];
        for (slot, (own, whole)) in trend.iter_mut().skip(missing).zip(own.iter().zip(&wholes)) {
            *slot = share(*own, *whole) as f32;
        }
        trend
    };
    own.into_iter().map(|(row, own)| (row, trend(own))).collect()
}
