//! The state of the live view: events in, state out, and now and then something for others to do.
//!
//! Design constraints: it knows no terminal and no process, so that tests drive it with keys and look at what it says.

mod limb;
mod seek;

use std::time::Duration;

use super::branches::Branches;
use super::cursor::Cursor;
use super::keys::{self, Command, Key};
use super::memory::{Memories, Memory};
use super::menu::{Answer, Choice, Input, Menu, Purpose};
use super::picture::Picture;
use super::query::{Column, PRESENT, Query, ThreadColumn};
use crate::model::{At, Nanos};
use crate::recording::{By, Mode, ViewOptions};

/// The smallest screen that there is something to see on: columns and lines.
pub const SMALLEST: (u16, u16) = (60, 12);
/// Lines above the body: who, how well, which view.
pub const HEAD: u16 = 3;
/// Lines below it: keys, or what is entered.
pub const FOOT: u16 = 1;
/// Lines of the view of the collector above its list.
pub const GC_HEAD: u16 = 7;
/// Lines of the view of memory above its list.
pub const MEMORY_HEAD: u16 = 2;

/// The times between pictures that can be had.
const REFRESH: [Duration; 7] = [
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
];
/// The looks a second that can be had by a key.
const RATES: [f64; 10] = [1.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0];

/// A view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sight {
    /// Functions.
    Functions,
    /// The call tree.
    Tree,
    /// The flame graph.
    Flame,
    /// Threads.
    Threads,
    /// Memory.
    Memory,
    /// The collector.
    Gc,
}

/// What happens to the state.
#[derive(Debug, Clone)]
pub enum Event {
    /// A key was pressed.
    Key(Key),
    /// The screen has so many columns and lines now.
    Resize(u16, u16),
    /// There is a new picture.
    Picture(Box<Picture>),
    /// Memory was looked at.
    Memory(Box<Memory>),
    /// Something is to be said to the user.
    Say(String),
}

/// What others are to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// End.
    Quit,
    /// Write the history in the format of this name.
    Write(&'static str),
    /// Copy this text to the clipboard.
    Copy(String),
    /// Look so often.
    Rate(f64),
    /// Draw the whole screen anew.
    Redraw,
    /// Give the terminal back and stop until we are called for.
    Suspend,
}

/// Where in the flame graph one is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flame {
    /// The frame that takes the whole width; `None` is all.
    pub zoom: Option<u64>,
    /// The frame that is selected.
    pub selected: Option<u64>,
    /// How many of the lower levels are scrolled away.
    pub top: usize,
}

/// The state.
#[derive(Debug, Clone)]
pub struct App {
    /// The view that is shown.
    pub sight: Sight,
    /// Columns and lines of the screen.
    pub size: (u16, u16),
    /// What pictures are to show.
    pub query: Query,
    /// The last picture.
    pub picture: Picture,
    /// What is known of memory.
    pub memories: Memories,
    /// A text that is being entered.
    pub input: Option<Input>,
    /// A choice that is open.
    pub menu: Option<Menu>,
    /// The help is shown, from this line on.
    pub help: Option<usize>,
    /// What was searched for.
    pub search: String,
    /// What was said last.
    pub message: Option<String>,
    /// The open branches of the call tree.
    pub branches: Branches,
    /// Where in the flame graph one is.
    pub flame: Flame,
    /// The time between pictures.
    pub refresh: Duration,
    /// Looks a second that are asked for; `None` is as many as there can be.
    pub rate: Option<f64>,
    cursors: [Cursor; Sight::ALL.len()],
    /// Which lines of a thread's stack are on the screen.
    stack: Cursor,
}

impl Sight {
    /// Each of them, in the order in which they follow each other.
    pub const ALL: [Sight; 6] =
        [Sight::Functions, Sight::Tree, Sight::Flame, Sight::Threads, Sight::Memory, Sight::Gc];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Sight::Functions => "Functions",
            Sight::Tree => "Tree",
            Sight::Flame => "Flame",
            Sight::Threads => "Threads",
            Sight::Memory => "Memory",
            Sight::Gc => "GC",
        }
    }

    fn place(self) -> usize {
        Sight::ALL.iter().position(|it| *it == self).unwrap_or(0)
    }

    fn step(self, by: usize) -> Sight {
        let all = Sight::ALL;
        all.get((self.place() + by) % all.len()).copied().unwrap_or(self)
    }
}

impl App {
    /// The state at the start.
    pub fn new(query: Query, rate: Option<f64>, refresh: Duration) -> App {
        App {
            sight: Sight::Functions,
            size: (80, 24),
            picture: Picture { query: query.clone(), ..Picture::default() },
            query,
            memories: Memories::default(),
            input: None,
            menu: None,
            help: None,
            search: String::new(),
            message: None,
            branches: Branches::default(),
            flame: Flame::default(),
            refresh,
            rate,
            cursors: Default::default(),
            stack: Cursor::default(),
        }
    }

    /// Takes note of what happened.
    pub fn update(&mut self, event: Event) -> Option<Action> {
        match event {
            Event::Key(key) => return self.key(key),
            Event::Resize(width, height) => {
                self.size = (width, height);
                self.follow();
            }
            Event::Picture(picture) => {
                self.picture = *picture;
                self.branches.arrange(&self.picture.limbs);
                self.follow();
            }
            Event::Memory(memory) => {
                // A display that is held shows what it showed.
                if !self.is_paused() {
                    self.memories.add(*memory);
                    self.follow();
                }
            }
            Event::Say(text) => self.message = Some(text),
        }
        None
    }

    /// The display is held.
    pub fn is_paused(&self) -> bool {
        self.query.at.is_some()
    }

    /// Where in the list that is shown one is.
    pub fn cursor(&self) -> Cursor {
        match self.shows_stack() {
            true => self.stack,
            false => self.cursors.get(self.sight.place()).copied().unwrap_or_default(),
        }
    }

    /// How many lines of a list there is room for.
    pub fn height(&self) -> usize {
        let body = self.size.1.saturating_sub(HEAD + FOOT);
        let head = match self.sight {
            Sight::Functions | Sight::Tree | Sight::Threads => 1,
            Sight::Flame => 1,
            Sight::Memory => MEMORY_HEAD,
            Sight::Gc => GC_HEAD,
        };
        usize::from(body.saturating_sub(head)).max(1)
    }

    /// Whether the stack of a thread is shown instead of the list of them.
    pub fn shows_stack(&self) -> bool {
        self.sight == Sight::Threads && self.query.stack_of.is_some()
    }

    /// What tells the lines of the list that is shown from each other.
    pub fn keys(&self) -> Vec<u64> {
        let picture = &self.picture;
        match self.sight {
            _ if self.shows_stack() => (0..picture.stack.len() as u64).collect(),
            Sight::Functions => {
                let key = |label: usize| picture.labels.get(label).map_or(0, |label| label.key);
                picture.functions.iter().map(|function| key(function.label)).collect()
            }
            Sight::Tree => self.branches.keys.clone(),
            Sight::Flame => Vec::new(),
            Sight::Threads => picture.threads.iter().map(|thread| thread.track.0.into()).collect(),
            Sight::Memory => (0..self.memories.lines().len() as u64).collect(),
            Sight::Gc => (0..picture.gc.iter().map(|gc| gc.last.len() as u64).sum()).collect(),
        }
    }

    /// What is selected, in words.
    pub fn selected(&self) -> Option<String> {
        let (picture, line) = (&self.picture, self.cursor().line);
        let text = match self.sight {
            _ if self.shows_stack() => picture.stack.get(line)?.clone(),
            Sight::Functions => picture.label(picture.functions.get(line)?.label).to_owned(),
            Sight::Tree | Sight::Flame => {
                picture.label(picture.limbs.get(self.selected_limb()?)?.label).to_owned()
            }
            Sight::Threads => picture.threads.get(line)?.name.clone(),
            Sight::Memory => self.memories.text(line)?,
            Sight::Gc => picture.gc.iter().flat_map(|gc| &gc.last).nth(line)?.trigger.clone(),
        };
        Some(text).filter(|text| !text.is_empty())
    }

    fn key(&mut self, key: Key) -> Option<Action> {
        self.message = None;
        if self.input.is_some() {
            self.enter(key);
            return None;
        }
        if let Some(menu) = &mut self.menu {
            let answer = menu.key(key);
            if answer != Answer::Open {
                self.menu = None;
            }
            let Answer::Chosen(choice) = answer else { return None };
            return self.choose(choice);
        }
        let command = keys::meaning(key, self.sight)?;
        if let Some(line) = self.help {
            self.help = self.helped(command, line);
            let ends = matches!(command, Command::Quit) && key != Key::Char('q');
            return ends.then_some(Action::Quit);
        }
        self.obey(command)
    }

    /// Which line of the help is shown after a command; `None` closes it.
    fn helped(&self, command: Command, line: usize) -> Option<usize> {
        let page = usize::from(self.size.1).saturating_sub(2).max(1);
        let last = (keys::KEYS.len() + 2).saturating_sub(page);
        match command {
            Command::Down => Some((line + 1).min(last)),
            Command::PageDown => Some((line + page).min(last)),
            Command::Up => Some(line.saturating_sub(1)),
            Command::PageUp => Some(line.saturating_sub(page)),
            Command::First => Some(0),
            Command::Last => Some(last),
            _ => None,
        }
    }

    fn obey(&mut self, command: Command) -> Option<Action> {
        match command {
            Command::Quit => return Some(Action::Quit),
            Command::Redraw => return Some(Action::Redraw),
            Command::Suspend => return Some(Action::Suspend),
            Command::RateUp => return self.turn(|rate| RATES.into_iter().find(|it| *it > rate)),
            Command::RateDown => return self.turn(|rate| RATES.into_iter().rev().find(|it| *it < rate)),
            Command::Help => self.help = Some(0),
            Command::Next => self.show(self.sight.step(1)),
            Command::Previous => self.show(self.sight.step(Sight::ALL.len() - 1)),
            Command::Show(sight) => self.show(sight),
            Command::Up => self.step(-1),
            Command::Down => self.step(1),
            Command::PageUp => self.step(-(self.height() as isize)),
            Command::PageDown => self.step(self.height() as isize),
            Command::First => self.step(isize::MIN),
            Command::Last => self.step(isize::MAX),
            Command::Left => self.left(),
            Command::Right => self.right(),
            Command::Open => self.open(),
            Command::Back => self.back(),
            Command::Hottest => self.open_hottest(),
            Command::Search => self.ask(Purpose::Search, self.search.clone()),
            Command::NextMatch => self.find(true),
            Command::PreviousMatch => self.find(false),
            Command::Filter if self.sight == Sight::Threads => {
                self.ask(Purpose::Threads, self.query.options.only_thread.clone().unwrap_or_default());
            }
            Command::Filter => {
                self.ask(Purpose::Filter, self.query.options.include.first().cloned().unwrap_or_default());
            }
            Command::Clear => self.clear(),
            Command::Sort if self.sight == Sight::Threads => {
                self.menu = Some(Menu::thread_columns(self.query.thread_column));
            }
            Command::Sort => {
                self.menu = Some(Menu::columns(self.query.column, self.query.compared().is_some()));
            }
            Command::SortLeft => self.sort_beside(false),
            Command::SortRight => self.sort_beside(true),
            Command::Invert => self.query.inverted = !self.query.inverted,
            Command::By => self.query.options.by = next(&By::ALL, self.query.options.by),
            Command::Mode => self.query.options.mode = next(&Mode::ALL, self.query.options.mode),
            Command::Idle => self.query.options.idle = !self.query.options.idle,
            Command::Thread => self.next_thread(),
            Command::AllThreads => self.query.options.only_thread = None,
            Command::Pause => {
                self.query.at = if self.is_paused() { None } else { Some(self.picture.at) };
            }
            Command::Reset => {
                self.query.since = self.picture.at;
                self.query.mark = None;
                self.query.compares = false;
                self.message = Some("what was before does not count any more".into());
            }
            Command::Mark => {
                self.query.mark = Some(self.picture.at);
                self.memories.mark();
                self.message = Some("marked; d compares with the time before".into());
            }
            Command::Compare => self.compare(),
            Command::Copy => {
                let text = self.selected()?;
                self.message = Some(format!("copied {text}"));
                return Some(Action::Copy(text));
            }
            Command::Write => self.menu = Some(Menu::formats()),
            Command::Faster => self.pace(|now| REFRESH.into_iter().rev().find(|it| *it < now)),
            Command::Slower => self.pace(|now| REFRESH.into_iter().find(|it| *it > now)),
        }
        None
    }

    /// Asks for a text.
    fn ask(&mut self, purpose: Purpose, text: String) {
        self.input = Some(Input { purpose, text });
    }

    /// Takes a key of a text.
    fn enter(&mut self, key: Key) {
        let Some(input) = &mut self.input else { return };
        let purpose = input.purpose;
        let text = match input.key(key) {
            Answer::Open => return,
            Answer::Closed => {
                self.input = None;
                return;
            }
            Answer::Chosen(text) => text,
        };
        self.input = None;
        let pattern = Some(text.clone()).filter(|text| !text.is_empty());
        let options = match purpose {
            Purpose::Search => {
                self.search = text;
                return self.find(true);
            }
            Purpose::Filter => {
                ViewOptions { include: pattern.into_iter().collect(), ..self.query.options.clone() }
            }
            Purpose::Threads => ViewOptions { only_thread: pattern, ..self.query.options.clone() },
        };
        match Query::refusal(&options) {
            // What was entered is not lost.
            Some(why) => {
                self.message = Some(why);
                self.ask(purpose, text);
            }
            None => self.query.options = options,
        }
    }

    fn choose(&mut self, choice: Choice) -> Option<Action> {
        match choice {
            Choice::Column(column) => self.query.column = column,
            Choice::ThreadColumn(column) => self.query.thread_column = column,
            Choice::Format(name) => return Some(Action::Write(name)),
        }
        None
    }

    fn show(&mut self, sight: Sight) {
        self.sight = sight;
        self.follow();
    }

    /// Undoes the innermost thing alone.
    fn clear(&mut self) {
        if self.shows_stack() || self.sight == Sight::Flame && self.flame.zoom.is_some() {
            return self.back();
        }
        let options = &mut self.query.options;
        if !self.search.is_empty() {
            self.search.clear();
        } else if self.sight == Sight::Threads && options.only_thread.is_some() {
            options.only_thread = None;
        } else if !options.include.is_empty() {
            options.include.clear();
        } else if options.only_thread.is_some() {
            options.only_thread = None;
        } else if self.query.compares {
            self.query.compares = false;
        }
    }

    fn compare(&mut self) {
        if self.query.mark.is_none() {
            self.message = Some("nothing is marked yet: m marks this moment".into());
            return;
        }
        self.query.compares = !self.query.compares;
        if self.query.compares {
            self.query.column = Column::Change;
        }
    }

    fn sort_beside(&mut self, right: bool) {
        let query = &mut self.query;
        if self.sight == Sight::Threads {
            query.thread_column = beside(&ThreadColumn::ALL, query.thread_column, right);
        } else {
            query.column = beside(&Column::ALL, query.column, right);
            if query.column == Column::Change && query.compared().is_none() {
                query.column = beside(&Column::ALL, query.column, right);
            }
        }
    }

    /// Looks at the next thread alone; behind the last one, at all of them.
    fn next_thread(&mut self) {
        let exactly = |name: &String| format!("^{}$", regex::escape(name));
        let alone = self.query.options.only_thread.as_deref();
        let patterns: Vec<String> = self.picture.names.iter().map(exactly).collect();
        let now = patterns.iter().position(|pattern| Some(pattern.as_str()) == alone);
        let next = now.map_or(0, |now| now + 1);
        self.query.options.only_thread = patterns.into_iter().nth(next);
    }

    fn turn(&mut self, next: impl Fn(f64) -> Option<f64>) -> Option<Action> {
        let rate = next(self.rate.unwrap_or(f64::MAX))?;
        self.rate = Some(rate);
        self.message = Some(format!("{rate} looks a second"));
        Some(Action::Rate(rate))
    }

    fn pace(&mut self, next: impl Fn(Duration) -> Option<Duration>) {
        self.refresh = next(self.refresh).unwrap_or(self.refresh);
        self.query.present = PRESENT.max(Nanos(self.refresh.as_nanos() as u64));
        self.message = Some(format!("a new picture every {:?}", self.refresh));
    }

    fn step(&mut self, by: isize) {
        if self.sight == Sight::Flame {
            return self.climb(by);
        }
        let (keys, height) = (self.keys(), self.height());
        self.place_cursor(|cursor| cursor.step(by, &keys, height));
    }

    /// Keeps everything where it belongs after the picture or the screen has changed.
    fn follow(&mut self) {
        let (keys, height) = (self.keys(), self.height());
        self.place_cursor(|cursor| cursor.follow(&keys, height));
        self.keep_flame();
    }

    fn place_cursor(&mut self, place: impl FnOnce(&mut Cursor)) {
        if self.shows_stack() {
            place(&mut self.stack);
        } else if let Some(cursor) = self.cursors.get_mut(self.sight.place()) {
            place(cursor);
        }
    }

    fn open(&mut self) {
        match self.sight {
            Sight::Tree => self.toggle(),
            Sight::Flame => self.zoom(),
            Sight::Threads if !self.shows_stack() => {
                let line = self.cursor().line;
                self.query.stack_of = self.picture.threads.get(line).map(|thread| thread.track);
                self.stack = Cursor::default();
                // The stack comes with the next picture.
                self.picture.stack.clear();
            }
            _ => {}
        }
    }

    fn back(&mut self) {
        match self.sight {
            Sight::Threads => self.query.stack_of = None,
            Sight::Flame => self.unzoom(),
            _ => {}
        }
        self.follow();
    }

    /// The moment from which on shares are counted.
    pub fn since(&self) -> At {
        self.picture.query.since
    }
}

/// The next one of a table, round and round.
fn next<T: Copy + PartialEq>(all: &[T], now: T) -> T {
    let place = all.iter().position(|it| *it == now).map_or(0, |place| (place + 1) % all.len());
    all.get(place).copied().unwrap_or(now)
}

/// The one beside, as far as there is one.
fn beside<T: Copy + PartialEq>(all: &[T], now: T, right: bool) -> T {
    let place = all.iter().position(|it| *it == now).unwrap_or(0);
    let place = if right { place + 1 } else { place.saturating_sub(1) };
    all.get(place).copied().unwrap_or(now)
}
