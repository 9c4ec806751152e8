//! The shares of time that a recording shows are those that the program measured itself.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use pitviper::recording::{self, By, Recording, View, ViewOptions, tree::Tree};
use support::{Target, pitviper, pythons, start};

const SHARES: &str = include_str!("programs/shares.py");

/// The Pythons on which a test may take ten seconds; on the others it takes two.
const LONG: &[&str] = &["2.7", "3.8", "3.11", "3.13", "3.13t", "3.15-debian"];

/// How far a share may be off after so many looks: 10,000, less what a busy machine misses.
const BOUND: f64 = 0.03;
const ENOUGH: u64 = 9_000;

/// What each function of a recording spent itself, as a share of all time.
fn shares(recording: &Recording) -> Vec<(String, f64)> {
    let options = ViewOptions { by: By::Function, ..ViewOptions::default() };
    let view = View::new(recording, &options).expect("a view");
    let tree = Tree::of(&view);
    let all = tree.total() as f64;
    let top = tree.top(&view);
    top.iter().map(|t| (view.row(t.row).expect("a row").name.clone(), t.own as f64 / all)).collect()
}

/// What the program says that its functions have spent so far, in nanoseconds.
fn spent(target: &mut Target) -> Vec<f64> {
    target.tell("how much?");
    target.line().split(' ').map(|number| number.parse().expect("a number")).collect()
}

/// The greatest difference that chance alone explains: six standard deviations of a share of 0.7 in so many samples. Where
/// looks were missed, samples weigh unequally and count for fewer (Kish's effective sample size).
fn chance(recording: &Recording) -> f64 {
    let (mut sum, mut squares) = (0.0, 0.0);
    for sample in recording.samples.iter().flatten() {
        sum += sample.weight.0 as f64;
        squares += (sample.weight.0 as f64).powi(2) / f64::from(sample.count);
    }
    6.0 * (0.7 * 0.3 * squares / (sum * sum)).sqrt()
}

#[test]
fn shares_of_time_are_those_that_the_program_measured_itself() {
    let dir = tempfile::tempdir().unwrap();
    for python in pythons() {
        let seconds = if LONG.contains(&python.name.as_str()) { "10" } else { "2" };
        let file = dir.path().join(format!("{}.pit", python.name));
        let mut target = start(python, SHARES);
        let pid = target.pid().to_string();
        let before = spent(&mut target);
        let output = pitviper(&[
            "attach",
            "-q",
            "--pid",
            &pid,
            "-r",
            "1khz",
            "-d",
            seconds,
            "-o",
            file.to_str().unwrap(),
        ]);
        assert!(output.status.success(), "{}: {}", python.name, String::from_utf8_lossy(&output.stderr));
        let after = spent(&mut target);
        let spent: Vec<f64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
        let all: f64 = spent.iter().sum();

        let recording = recording::open(&file).expect("the recording opens");
        let achieved = recording.meta.achieved.clone().expect("it has ended");
        // Ten thousand looks are enough for this bound; chance alone takes a few thousand further than that.
        let bound = if achieved.taken >= ENOUGH { BOUND } else { chance(&recording).max(BOUND) };
        let seen = shares(&recording);
        for (name, spent) in ["much", "some", "little"].iter().zip(spent) {
            let seen = seen.iter().find(|(function, _)| function == name).map_or(0.0, |(_, share)| *share);
            let off = (seen - spent / all).abs();
            println!(
                "{}: {name} spent {:.3}, seen {seen:.3} (bound {bound:.3}; {} looks, {} missed)",
                python.name,
                spent / all,
                achieved.taken,
                achieved.missed
            );
            assert!(off < bound, "{}: {name} is off by {off:.3}", python.name);
        }
    }
}
