//! What drawing costs: a screen reads what fits on it, however much there is.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "what was measured is told")]

mod made;

use std::time::{Duration, Instant};

use made::{Maker, meta, recording, sample};
use pitviper::model::{FileKind, Flags, Sample, State};
use pitviper::recording::Recording;
use pitviper::tui::view::{self, Theme};
use pitviper::tui::{App, Event, Key, Picture, Query, Sight, Vitals};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

const FUNCTIONS: usize = 10_000;
const THREADS: u32 = 200;
/// No screen may take longer. The best of many counts: what else this machine does is no part of it.
const LIMIT: Duration = Duration::from_millis(2);
/// Without optimisation all of it takes several times as long; what is held there is that no screen reads all there is.
const UNOPTIMISED: u32 = 5;

/// Ten seconds of a program in which two hundred threads run ten thousand functions.
fn crowd() -> Recording {
    let mut made = Maker::default();
    let process = made.process(1, "python crowd.py");
    let tracks: Vec<_> =
        (0..THREADS).map(|n| made.thread(process, n + 1, Some(&format!("guest-{n}")), n == 0)).collect();
    let file = made.file("/srv/crowd.py", FileKind::Own);
    let mut stacks = Vec::new();
    for n in 0..FUNCTIONS {
        let frame = made.python(&format!("function_{n}"), None, file, n as u32 + 1, n as u32 + 1);
        let below = (n % 20 > 0).then(|| *stacks.last().unwrap());
        stacks.push(made.stack(below, frame));
    }
    let mut next = 0;
    for look in 0..100_u64 {
        let (from, until) = (look * 100_000_000, (look + 1) * 100_000_000);
        let rows = tracks.iter().map(|track| {
            next = (next + 7919) % FUNCTIONS;
            Sample {
                state: State::Python,
                flags: Flags { holds_gil: Some(false), ..Flags::default() },
                ..sample(*track, Some(stacks[next]), from, until)
            }
        });
        let rows = rows.collect();
        made.look(rows);
    }
    recording(meta(), &made.events)
}

#[test]
fn a_screen_of_ten_thousand_functions_and_two_hundred_threads_is_drawn_within_two_milliseconds() {
    let recording = crowd();
    let mut app = App::new(Query::default(), None, Duration::from_secs(1));
    app.update(Event::Resize(200, 60));
    let began = Instant::now();
    let picture = Picture::of(&recording, &app.query, &Vitals::default()).unwrap();
    println!("picture: {:?}", began.elapsed());
    assert_eq!((picture.functions.len(), picture.threads.len()), (FUNCTIONS, THREADS as usize));
    app.update(Event::Picture(Box::new(picture)));
    for sight in Sight::ALL {
        // Somewhere in the middle, with as much open as there can be.
        for key in [Key::Char('x'), Key::End, Key::PageUp] {
            app.update(Event::Key(key));
        }
        let mut buffer = Buffer::empty(Rect::new(0, 0, 200, 60));
        let draws = (0..100).map(|_| {
            let began = Instant::now();
            view::draw(&app, Theme { colour: true, ascii: false }, &mut buffer);
            began.elapsed()
        });
        let best = draws.min().unwrap();
        println!("{}: {best:?}", sight.name());
        let limit = if cfg!(debug_assertions) { LIMIT * UNOPTIMISED } else { LIMIT };
        assert!(best < limit, "{}: {best:?}", sight.name());
        app.update(Event::Key(Key::Tab));
    }
}
