//! States in, collections out.

use super::*;
use crate::python::collector::Generation;

const MS: u64 = 1_000_000;

/// A state of a target that counts: per generation its count, and how many collections there were and what they freed.
fn state(collecting: bool, generations: [(i32, u64, u64); 3]) -> State {
    let generation = |(count, collections, collected)| Generation {
        count,
        threshold: 700,
        totals: Some(Totals { collections, collected, uncollectable: 0 }),
    };
    State { collecting: Some(collecting), generations: generations.map(generation), ..State::default() }
}

/// Looks once a millisecond; rows as generation, start, stop, count, collected, pause.
#[track_caller]
fn check(states: &[State], expected: &[(u8, u64, u64, u32, u64, u64)]) {
    let states: Vec<_> = states.iter().map(|state| (*state, &[][..])).collect();
    check_written(&states, None, expected);
}

/// The same, of a target that wrote its collections down.
#[track_caller]
fn check_written(
    looks: &[(State, &[Record])],
    zero: Option<u64>,
    expected: &[(u8, u64, u64, u32, u64, u64)],
) {
    let look = |number: usize| (&looks[number].0, looks[number].1);
    let (mut epoch, mut out) = (Epoch::new(ProcessId(0), At(0), look(0)), Vec::new());
    for number in 1..looks.len() {
        epoch.look(At(number as u64 * MS), look(number), zero, &mut out);
    }
    let rows = out.iter().map(|row| {
        (row.generation, row.start.0 / MS, row.stop.0 / MS, row.count, row.collected, row.pause.0 / MS)
    });
    assert_eq!(rows.collect::<Vec<_>>(), expected);
}

#[test]
fn collections_between_two_looks_are_one_row_a_generation() {
    let states = [
        state(false, [(5, 10, 100), (1, 2, 7), (0, 1, 0)]),
        state(false, [(9, 14, 150), (0, 3, 9), (1, 1, 0)]),
    ];
    check(&states, &[(0, 0, 1, 4, 50, 0), (1, 0, 1, 1, 2, 0)]);
}

#[test]
fn a_collection_that_looks_meet_begins_after_the_look_that_did_not() {
    let quiet = state(false, [(5, 10, 100), (1, 2, 7), (1, 1, 0)]);
    let busy = state(true, [(0, 10, 100), (0, 2, 7), (0, 1, 0)]);
    let after = state(false, [(3, 10, 100), (0, 2, 7), (0, 2, 44)]);
    check(&[quiet, quiet, busy, busy, after], &[(2, 1, 4, 1, 44, 2)]);
}

#[test]
fn what_a_collection_does_after_it_was_counted_is_not_taken_for_the_next_one() {
    let quiet = state(false, [(5, 10, 100), (3, 2, 7), (1, 1, 0)]);
    let counted = state(true, [(0, 11, 101), (4, 2, 7), (1, 1, 0)]);
    let next = state(true, [(0, 11, 101), (0, 2, 7), (0, 1, 0)]);
    let after = state(false, [(3, 11, 101), (0, 2, 7), (0, 2, 44)]);
    let (mut epoch, mut out) = (Epoch::new(ProcessId(0), At(0), (&quiet, &[])), Vec::new());
    epoch.look(At(MS), (&counted, &[]), None, &mut out);
    epoch.running(Some(StackId(1)));
    epoch.look(At(2 * MS), (&next, &[]), None, &mut out);
    assert!(epoch.wants_stack());
    epoch.running(Some(StackId(2)));
    epoch.look(At(3 * MS), (&after, &[]), None, &mut out);
    let stacks: Vec<_> = out.iter().map(|row| (row.generation, row.start.0 / MS, row.stack)).collect();
    assert_eq!(stacks, [(0, 0, None), (2, 1, Some(StackId(2)))]);
}

#[test]
fn of_two_collections_that_look_like_one_the_later_has_the_stack_that_was_met_last() {
    let quiet = state(false, [(5, 10, 100), (3, 2, 7), (1, 1, 0)]);
    let counted = state(true, [(0, 10, 100), (0, 2, 7), (0, 2, 9)]);
    let after = state(false, [(3, 10, 100), (0, 2, 7), (0, 3, 44)]);
    let (mut epoch, mut out) = (Epoch::new(ProcessId(0), At(0), (&quiet, &[])), Vec::new());
    for (number, stack) in [(1, 1), (2, 2)] {
        epoch.look(At(number * MS), (&counted, &[]), None, &mut out);
        assert!(epoch.wants_stack());
        epoch.running(Some(StackId(stack)));
    }
    epoch.look(At(3 * MS), (&after, &[]), None, &mut out);
    let stacks: Vec<_> = out.iter().map(|row| (row.generation, row.collected, row.stack)).collect();
    assert_eq!(stacks, [(2, 9, None), (2, 35, Some(StackId(2)))]);
}

#[test]
fn of_several_generations_the_one_that_was_met_has_the_time() {
    let quiet = state(false, [(5, 10, 100), (1, 2, 7), (1, 1, 0)]);
    let busy = state(true, [(0, 10, 100), (0, 2, 7), (2, 1, 0)]);
    let after = state(false, [(3, 11, 101), (1, 3, 9), (2, 1, 0)]);
    check(&[quiet, busy, after], &[(0, 1, 2, 1, 1, 0), (1, 0, 2, 1, 2, 1)]);
}

#[test]
fn what_is_freed_is_told_with_its_collection_although_the_count_was_read_first() {
    let quiet = state(false, [(5, 10, 100), (1, 2, 7), (1, 1, 0)]);
    let ahead = state(true, [(0, 11, 100), (2, 2, 7), (1, 1, 0)]);
    let after = state(false, [(0, 11, 105), (2, 2, 7), (1, 1, 0)]);
    let next = state(false, [(0, 12, 106), (2, 2, 7), (1, 1, 0)]);
    check(&[quiet, ahead, after, next], &[(0, 0, 1, 1, 0, 0), (0, 2, 3, 1, 6, 0)]);
}

#[test]
fn counts_that_go_back_are_not_believed_at_once_and_begin_anew_at_last() {
    let high = state(false, [(5, 10, 100), (1, 2, 7), (1, 1, 0)]);
    let low = state(false, [(5, 1, 3), (1, 0, 0), (1, 0, 0)]);
    let after = state(false, [(5, 11, 101), (1, 2, 7), (1, 1, 0)]);
    check(&[high, low, after], &[(0, 0, 2, 1, 1, 0)]);
    let more = state(false, [(5, 2, 4), (1, 0, 0), (1, 0, 0)]);
    let lows = [high, low, low, low, low, more];
    check(&lows, &[(0, 4, 5, 1, 1, 0)]);
}

/// A record of the youngest generation: its number, what all freed up to it, from when to when (in ms).
fn record(collections: u64, collected: u64, start: u64, stop: u64) -> Record {
    Record {
        generation: 0,
        totals: Totals { collections, collected, uncollectable: 0 },
        start: start * MS,
        stop: stop * MS,
        took: collections * 2 * MS,
        tracked: None,
    }
}

#[test]
fn what_the_target_wrote_down_is_told_one_by_one_if_it_lies_between_the_looks() {
    let all = [record(10, 100, 90, 100), record(11, 103, 100, 101), record(12, 110, 101, 102)];
    let first = (state(false, [(0, 10, 100), (0, 0, 0), (0, 0, 0)]), &all[..1]);
    let second = (state(false, [(0, 12, 110), (0, 0, 0), (0, 0, 0)]), &all[..]);
    check_written(&[first, second], Some(101 * MS), &[(0, 0, 1, 1, 3, 2), (0, 0, 1, 1, 7, 1)]);
    check_written(&[first, first, first, second], Some(100 * MS), &[(0, 2, 3, 1, 3, 2), (0, 1, 2, 1, 7, 1)]);
    // Ten were overwritten: the first one that is left is known only together with them.
    let left = [record(21, 140, 110, 111), record(22, 150, 111, 112)];
    let far = (state(false, [(0, 22, 150), (0, 0, 0), (0, 0, 0)]), &left[..]);
    check_written(&[first, far], Some(111 * MS), &[(0, 0, 1, 11, 40, 22), (0, 0, 1, 1, 10, 1)]);
    // What contradicts itself is not believed, and counted all the same.
    let mixed = [all[0], record(12, 110, 101, 102), record(11, 103, 100, 101)];
    check_written(&[first, (second.0, &mixed)], Some(101 * MS), &[(0, 0, 1, 2, 10, 4)]);
}

#[test]
fn a_target_that_counts_nothing_is_believed_as_far_as_its_counts_prove() {
    let plain = |collecting, counts: [i32; 3]| State {
        collecting: Some(collecting),
        generations: counts.map(|count| Generation { count, threshold: 10, totals: None }),
        ..State::default()
    };
    let quiet = plain(false, [3, 4, 1]);
    check(&[quiet, plain(false, [9, 6, 1])], &[(0, 0, 1, 2, 0, 0)]);
    check(&[quiet, plain(false, [9, 1, 2])], &[(0, 0, 1, 1, 0, 0), (1, 0, 1, 1, 0, 0)]);
    check(&[quiet, plain(false, [9, 0, 0])], &[(2, 0, 1, 1, 0, 0)]);
    let busy = plain(true, [0, 0, 0]);
    check(&[quiet, busy, busy, plain(false, [0, 0, 0])], &[(2, 0, 3, 1, 0, 2)]);
}
