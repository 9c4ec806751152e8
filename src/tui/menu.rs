//! What can be open above a view: a line of text that is entered, or a choice.

use super::keys::Key;
use super::query::{Column, ThreadColumn};

/// The longest text that can be entered.
const MAX_TEXT: usize = 200;

/// What a text that is entered is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It is searched for.
    Search,
    /// It is a pattern that stacks must match.
    Filter,
    /// It is a pattern that threads must match.
    Threads,
}

/// A text that is entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// What for.
    pub purpose: Purpose,
    /// What there is of it.
    pub text: String,
}

/// What became of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T> {
    /// It goes on.
    Open,
    /// It is over, and nothing was chosen.
    Closed,
    /// It is over, and this was chosen.
    Chosen(T),
}

/// What can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// A column to sort functions by.
    Column(Column),
    /// A column to sort threads by.
    ThreadColumn(ThreadColumn),
    /// A format to write, by its name.
    Format(&'static str),
}

/// A choice that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Menu {
    /// What is chosen.
    pub title: &'static str,
    /// What there is, each with the key that chooses it.
    pub items: Vec<(char, String, Choice)>,
    /// Which one is selected.
    pub line: usize,
}

impl Purpose {
    /// What stands before the text.
    pub fn prompt(self) -> &'static str {
        match self {
            Purpose::Search => "search: ",
            Purpose::Filter => "keep stacks that match: ",
            Purpose::Threads => "keep threads that match: ",
        }
    }
}

impl Input {
    /// Takes a key: every character is text.
    pub fn key(&mut self, key: Key) -> Answer<String> {
        match key {
            Key::Char(c) if self.text.chars().count() < MAX_TEXT => self.text.push(c),
            Key::Backspace => {
                self.text.pop();
            }
            Key::Ctrl('u') => self.text.clear(),
            Key::Esc | Key::Ctrl('c') => return Answer::Closed,
            Key::Enter => return Answer::Chosen(std::mem::take(&mut self.text)),
            _ => {}
        }
        Answer::Open
    }
}

impl Menu {
    /// The columns of the list of functions.
    pub fn columns(now: Column, compares: bool) -> Menu {
        let shown = Column::ALL.into_iter().filter(|column| compares || *column != Column::Change);
        Menu::new("sort by", shown.map(|it| (it.name(), Choice::Column(it), it == now)), |n, _| digit(n))
    }

    /// The columns of the list of threads.
    pub fn thread_columns(now: ThreadColumn) -> Menu {
        let all = ThreadColumn::ALL.into_iter();
        Menu::new("sort by", all.map(|it| (it.name(), Choice::ThreadColumn(it), it == now)), |n, _| digit(n))
    }

    /// The formats that can be written.
    pub fn formats() -> Menu {
        let formats = ["pit", "speedscope", "flamegraph"];
        let items = formats.map(|name| (name, Choice::Format(name), name == "pit"));
        Menu::new("write", items.into_iter(), |_, name| name.chars().next().unwrap_or('?'))
    }

    fn new(
        title: &'static str,
        items: impl Iterator<Item = (&'static str, Choice, bool)>,
        key: fn(usize, &str) -> char,
    ) -> Menu {
        let mut line = 0;
        let items = items.enumerate().map(|(place, (name, choice, now))| {
            line = if now { place } else { line };
            (key(place, name), name.to_owned(), choice)
        });
        let items = items.collect();
        Menu { title, items, line }
    }

    /// Takes a key.
    pub fn key(&mut self, key: Key) -> Answer<Choice> {
        let last = self.items.len().saturating_sub(1);
        match key {
            Key::Up | Key::Char('k') => self.line = self.line.saturating_sub(1),
            Key::Down | Key::Char('j') | Key::Tab => self.line = (self.line + 1).min(last),
            Key::Esc | Key::Ctrl('c') | Key::Char('q') => return Answer::Closed,
            Key::Enter => {
                return self.items.get(self.line).map_or(Answer::Closed, |item| Answer::Chosen(item.2));
            }
            Key::Char(c) => {
                if let Some(item) = self.items.iter().find(|item| item.0 == c) {
                    return Answer::Chosen(item.2);
                }
            }
            _ => {}
        }
        Answer::Open
    }
}

fn digit(place: usize) -> char {
    u32::try_from(place + 1).ok().and_then(|n| char::from_digit(n, 10)).unwrap_or('?')
}
