//! Threads that come and go, whose ids are used again: no error, and nobody's time under another one's name.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use pitviper::recording;
use support::{pitviper, pythons, start};

const SUCCESSORS: &str = include_str!("programs/successors.py");

/// On these nothing tells a thread from the next one that gets its `pthread_t` but its name, which is read ten to a hundred
/// times a second.
const UNTOLD: [&str; 2] = ["2.7", "3.6"];
/// The share of looks that may put a thread's time down to the one before or behind it. A name is read a moment after the stack.
const MOST: f64 = 0.03;
/// There each thread lives for 200 ms, and until its name is read, which is 10 ms later, or 50 where a list of threads takes
/// a millisecond, it bears the name of the one before it.
const LIFE_UNTOLD: &str = "0.2";
const MOST_UNTOLD: f64 = 0.25;

#[test]
fn a_thread_with_the_id_of_one_that_has_ended_is_another_thread() {
    for python in pythons() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("successors.pit");
        let untold = UNTOLD.contains(&python.name.as_str());
        let life = if untold { LIFE_UNTOLD } else { "0.03" };
        let target = start(python, &SUCCESSORS.replace("0.03", life));
        let pid = target.pid().to_string();
        let output =
            pitviper(&["attach", "-q", "-r", "200", "-d", "1.2", "-p", &pid, "-o", file.to_str().unwrap()]);
        assert!(output.status.success(), "{}: {}", python.name, String::from_utf8_lossy(&output.stderr));
        let recording = recording::open(&file).unwrap();
        let errors = recording.meta.achieved.as_ref().unwrap().errors;
        let (mut right, mut wrong) = (0, 0);
        for (track, rows) in recording.tracks.iter().zip(&recording.samples) {
            let name = track.name.map_or("", |name| recording.string(name));
            for row in rows {
                let mut frames = row.stack.into_iter().flat_map(|stack| recording.frames_of(stack));
                let ran = frames.find_map(|frame| {
                    Some(recording.string(frame.name)).filter(|name| matches!(*name, "hare" | "tortoise"))
                });
                match ran {
                    Some(ran) if ran == name => right += row.count,
                    Some(_) if matches!(name, "hare" | "tortoise") => wrong += row.count,
                    _ => {}
                }
            }
        }
        assert_eq!(errors, 0, "{}", python.name);
        assert!(right > 10, "{}: {right} right, {wrong} wrong", python.name);
        println!("{}: {right} right, {wrong} wrong", python.name);
        let most = if untold { MOST_UNTOLD } else { MOST };
        let all = f64::from(right + wrong);
        assert!(f64::from(wrong) <= most * all, "{}: {right} right, {wrong} wrong", python.name);
    }
}
