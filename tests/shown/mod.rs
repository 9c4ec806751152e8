//! What screens are tried on: a recording made by hand that has something for each of them, and a state that shows it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses its own part, and fails where it cannot go on"
)]

use std::time::Duration;

use pitviper::model::gc::{Collection, Exactness, Gauge};
use pitviper::model::*;
use pitviper::recording::Recording;
use pitviper::tui::memory::{Arena, Class, Memory, Type};
use pitviper::tui::view::{self, Theme};
use pitviper::tui::{App, Event as Happens, Key, Picture, Query, Vitals};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use crate::made::{Maker, meta, recording, sample};

const MS: u64 = 1_000_000;

/// Twenty seconds of a shop: a busy main thread, one that packs without the GIL, one that waits, one with a hostile name.
pub fn shop() -> Recording {
    shop_with("ev\x1b[2Jil\u{202e} 漢字 e\u{301}\u{301}", "näive_\x07счёт_漢字漢字")
}

/// The same without names that want to do harm.
pub fn quiet_shop() -> Recording {
    shop_with("labels", "print_label")
}

fn shop_with(odd: &str, hostile: &str) -> Recording {
    let mut made = Maker::default();
    let process = made.process(4711, "python shop.py");
    let main = made.thread(process, 4711, Some("MainThread"), true);
    let packer = made.thread(process, 4712, Some("packer"), false);
    let waiter = made.thread(process, 4713, Some("waiter"), false);
    let odd = made.thread(process, 4714, Some(odd), false);
    let app = made.file("/srv/shop/shop.py", FileKind::Own);
    let json = made.file("/usr/lib/python3.13/json/decoder.py", FileKind::Standard);
    let flask = made.file("/venv/lib/python3.13/site-packages/flask/app.py", FileKind::Installed);
    let module = made.python("<module>", None, app, 90, 1);
    let serve = made.python("serve", Some("Shop.serve"), app, 40, 30);
    let dispatch = made.python("dispatch", Some("Flask.dispatch"), flask, 1500, 1490);
    let decode = made.python("decode", Some("JSONDecoder.decode"), json, 338, 330);
    let price = made.python("price", Some("Cart.price"), app, 12, 10);
    let later = made.python("discount", Some("Cart.discount"), app, 22, 20);
    let pack = made.python("pack", None, app, 70, 66);
    let wait = made.python("wait", None, app, 80, 79);
    let hostile = made.python(hostile, None, app, 84, 83);
    let base = made.stack(None, module);
    let serving = made.stack(Some(base), serve);
    let dispatching = made.stack(Some(serving), dispatch);
    let decoding = made.stack(Some(dispatching), decode);
    let pricing = made.stack(Some(dispatching), price);
    let discounting = made.stack(Some(pricing), later);
    let packing = made.stack(None, pack);
    let waiting = made.stack(None, wait);
    let hostile = made.stack(Some(packing), hostile);
    let text = made.string("tcp 10.0.0.7:5432");
    made.events.push(Event::Define(Define::Wait(WaitId(0), Wait { text })));
    made.events.push(Event::Process(ProcessEvent { at: At(0), process, state: ProcessState::Came }));
    collector(&mut made, process, discounting);
    for n in 0..400_u64 {
        let (from, until) = (n * 50 * MS, (n + 1) * 50 * MS);
        let of_main = match n % 10 {
            0..=3 => decoding,
            4..=6 => pricing,
            // A discount is given in the last second alone.
            7 if n >= 380 => discounting,
            7 | 8 => serving,
            _ => base,
        };
        let holds = Flags { holds_gil: Some(true), in_gc: Some(n % 50 == 7), in_exception: Some(false) };
        let free = Flags { holds_gil: Some(false), in_gc: Some(false), in_exception: Some(false) };
        let quality = if n % 97 == 5 { Quality::TopMissing(Torn::Changed) } else { Quality::Whole };
        let busy = Sample {
            cpu: Some(Nanos(48 * MS)),
            state: State::Python,
            flags: holds,
            quality,
            ..sample(main, Some(of_main), from, until)
        };
        let packs = Sample {
            cpu: Some(Nanos(30 * MS)),
            state: if n % 3 == 0 { State::WantsGil } else { State::Native },
            flags: free,
            ..sample(packer, Some(packing), from, until)
        };
        let waits = Sample {
            cpu: Some(Nanos(0)),
            state: State::Waiting(WaitId(0)),
            flags: free,
            ..sample(waiter, Some(waiting), from, until)
        };
        let evil = Sample {
            cpu: None,
            state: State::Native,
            flags: free,
            ..sample(odd, Some(hostile), from, until)
        };
        made.look(vec![busy, packs, waits, evil]);
    }
    let missed = Trouble { at: At(900 * MS), kind: TroubleKind::Missed, count: 3, text: None };
    made.events.push(Event::Trouble(missed));
    let mut meta = meta();
    meta.asked.rate_hz = Some(20.0);
    recording(meta, &made.events)
}

/// A collector that runs once a second, and its youngest generation five times.
fn collector(made: &mut Maker, process: ProcessId, stack: StackId) {
    let gauges = [
        (Gauge::Collections(0), 100),
        (Gauge::Collections(1), 9),
        (Gauge::Collections(2), 2),
        (Gauge::Count(0), 431),
        (Gauge::Count(1), 7),
        (Gauge::Count(2), 3),
        (Gauge::Threshold(0), 700),
        (Gauge::Threshold(1), 10),
        (Gauge::Threshold(2), 10),
        (Gauge::Enabled, 1),
        (Gauge::Tracked, 123_456),
    ];
    for (gauge, value) in gauges {
        let name = made.string(&gauge.name(0));
        made.events.push(Event::Counter(Counter { at: At(0), process, name, value }));
    }
    for second in 1..20_u64 {
        for (generation, count, pause) in [(0, 5, 0), (1, 1, 700_000), (2, 1, 12 * MS)] {
            if generation == 2 && second % 7 != 0 {
                continue;
            }
            let stop = At(second * 1000 * MS + u64::from(generation) * MS);
            made.events.push(Event::Gc(Collection {
                process,
                interpreter: 0,
                generation,
                start: stop.back(Nanos(20 * MS)),
                stop,
                pause: Nanos(pause),
                exactness: Exactness::Bounds,
                count,
                collected: 40 * u64::from(generation),
                uncollectable: 0,
                objects_before: None,
                objects_after: None,
                stack: (generation == 2).then_some(stack),
            }));
        }
    }
}

/// The shop's memory, some seconds after its start: it keeps carts that it should not.
fn memory(second: u64) -> Memory {
    let rungs = [
        (0, "resident", 80 << 20),
        (1, "Python's arenas", 30 << 20),
        (2, "objects", 25 << 20),
        (2, "free blocks", 5 << 20),
        (1, "programs and libraries", 50 << 20),
    ];
    let arena = |place: u64| Arena {
        address: 0x7f12_3400_0000 + (place << 20),
        size: 1 << 20,
        used: (1 << 20) / (place + 1),
        pools: (0..64)
            .map(|pool| (pool < 60).then_some((255 / (place + 1) / (1 + pool % 3)) as u8))
            .collect(),
    };
    let class = |size: u64| Class { size, used: 1000 + size * second, free: 100 };
    let of = |name: &str, count: u64| Type { name: name.to_owned(), count, bytes: count * 72 };
    Memory {
        at: At(second * 1000 * MS),
        ladder: rungs.map(|(depth, what, bytes)| (depth, what.to_owned(), bytes)).into(),
        arenas: (0..6 + second / 5).map(arena).collect(),
        classes: [16, 32, 64, 512].map(class).into(),
        types: vec![of("dict", 120_000), of("shop.Cart", 500 + 40 * second), of("str\u{202e}", 300 - second)],
        counted: Some(At(second / 5 * 5000 * MS)),
        unread: None,
    }
}

/// How well the shop was looked at.
pub fn vitals() -> Vitals {
    Vitals {
        rate_asked: Some(20.0),
        rate: Some(19.8),
        overhead: 0.012,
        history: Nanos(600 * 1000 * MS),
        ..Vitals::default()
    }
}

/// A state, and the recording that its pictures are taken of.
pub struct Shown {
    pub app: App,
    pub recording: Recording,
}

impl Shown {
    /// The shop, as it is shown at first.
    pub fn new(width: u16, height: u16) -> Shown {
        Shown::of(shop(), width, height)
    }

    /// A recording, as it is shown at first.
    pub fn of(recording: Recording, width: u16, height: u16) -> Shown {
        let app = App::new(Query::default(), Some(20.0), Duration::from_secs(1));
        let mut shown = Shown { app, recording };
        shown.app.update(Happens::Resize(width, height));
        shown.picture();
        (0..30).for_each(|second| {
            shown.app.update(Happens::Memory(Box::new(memory(second))));
        });
        shown
    }

    /// Takes a new picture, as `top` does when another one is asked for.
    pub fn picture(&mut self) {
        let picture = Picture::of(&self.recording, &self.app.query, &vitals()).unwrap();
        self.app.update(Happens::Picture(Box::new(picture)));
    }

    /// Presses keys, and takes a new picture where one of them asks for it.
    pub fn press(&mut self, keys: &[Key]) {
        for key in keys {
            self.app.update(Happens::Key(*key));
            if self.app.query != self.app.picture.query {
                self.picture();
            }
        }
    }

    /// Types a text, character by character.
    pub fn type_in(&mut self, text: &str) {
        text.chars().for_each(|c| self.press(&[Key::Char(c)]));
    }

    /// The screen, a line a line.
    pub fn screen(&self, theme: Theme) -> String {
        let (width, height) = self.app.size;
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view::draw(&self.app, theme, frame.buffer_mut())).unwrap();
        terminal.backend().to_string()
    }
}
