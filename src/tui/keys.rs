//! What each key does: the one table from which the footer, the help, the documentation and the tests are made.

use super::app::Sight;

/// A key, as a terminal tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// A character, with shift as it may be.
    Char(char),
    /// A letter, with Ctrl.
    Ctrl(char),
    /// Enter.
    Enter,
    /// Esc.
    Esc,
    /// Backspace.
    Backspace,
    /// Tab.
    Tab,
    /// Tab with shift.
    BackTab,
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Arrow left.
    Left,
    /// Arrow right.
    Right,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// Home.
    Home,
    /// End.
    End,
    /// A function key.
    F(u8),
}

/// What a key means while no text is entered and no menu is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Leave.
    Quit,
    /// Show the help.
    Help,
    /// The next view.
    Next,
    /// The view before this one.
    Previous,
    /// This view.
    Show(Sight),
    /// Up by a line.
    Up,
    /// Down by a line.
    Down,
    /// Up by a page.
    PageUp,
    /// Down by a page.
    PageDown,
    /// To the first line.
    First,
    /// To the last line.
    Last,
    /// Left: close a branch, or go to the frame before.
    Left,
    /// Right: open a branch, or go to the frame behind.
    Right,
    /// Open what is selected.
    Open,
    /// Back from what was opened.
    Back,
    /// Open the branch that spends most, to its end.
    Hottest,
    /// Search for text.
    Search,
    /// The next match.
    NextMatch,
    /// The match before.
    PreviousMatch,
    /// Keep what a pattern matches.
    Filter,
    /// Undo the innermost of what was asked for.
    Clear,
    /// Choose the column to sort by.
    Sort,
    /// Sort by the column to the left.
    SortLeft,
    /// Sort by the column to the right.
    SortRight,
    /// Turn the order round.
    Invert,
    /// Choose what counts as one row.
    By,
    /// Choose which time counts.
    Mode,
    /// Show threads that wait, or leave them out.
    Idle,
    /// Show the next thread alone.
    Thread,
    /// Show all threads.
    AllThreads,
    /// Hold the display, or let it go on.
    Pause,
    /// Begin anew.
    Reset,
    /// Mark this moment.
    Mark,
    /// Compare with the time before the mark.
    Compare,
    /// Write a file.
    Write,
    /// Copy what is selected.
    Copy,
    /// Draw more often.
    Faster,
    /// Draw less often.
    Slower,
    /// Look more often.
    RateUp,
    /// Look less often.
    RateDown,
    /// Draw everything anew.
    Redraw,
    /// Go into the background.
    Suspend,
}

/// Which views a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    /// Any.
    Everywhere,
    /// These.
    In(&'static [Sight]),
}

/// Keys that mean one thing.
#[derive(Debug, Clone, Copy)]
pub struct Binding {
    /// The keys; the first is the one that is shown.
    pub keys: &'static [Key],
    /// What they mean.
    pub command: Command,
    /// Where.
    pub place: Where,
    /// What the footer calls it; nothing where the footer leaves it out.
    pub short: &'static str,
    /// What the help says.
    pub help: &'static str,
}

const fn all(keys: &'static [Key], command: Command, short: &'static str, help: &'static str) -> Binding {
    Binding { keys, command, place: Where::Everywhere, short, help }
}

const fn only(
    place: &'static [Sight],
    keys: &'static [Key],
    command: Command,
    short: &'static str,
    help: &'static str,
) -> Binding {
    Binding { keys, command, place: Where::In(place), short, help }
}

const STACKS: &[Sight] = &[Sight::Functions, Sight::Tree, Sight::Flame];
const LISTS: &[Sight] = &[Sight::Functions, Sight::Threads];

/// Every key. What stands first is shown first where there is not room for all.
pub const KEYS: &[Binding] = &[
    all(&[Key::Char('q'), Key::Ctrl('c')], Command::Quit, "quit", "leave; a program started by top goes on"),
    all(&[Key::Char('?'), Key::Char('h'), Key::F(1)], Command::Help, "help", "this page"),
    all(&[Key::Tab], Command::Next, "view", "the next view"),
    all(&[Key::BackTab], Command::Previous, "", "the view before"),
    all(&[Key::Char('1')], Command::Show(Sight::Functions), "", "functions"),
    all(&[Key::Char('2')], Command::Show(Sight::Tree), "", "call tree"),
    all(&[Key::Char('3')], Command::Show(Sight::Flame), "", "flame graph, the root on top"),
    all(&[Key::Char('4')], Command::Show(Sight::Threads), "", "threads"),
    all(&[Key::Char('5')], Command::Show(Sight::Memory), "", "memory"),
    all(&[Key::Char('6')], Command::Show(Sight::Gc), "", "garbage collector"),
    all(&[Key::Char(' '), Key::Char('p')], Command::Pause, "pause", "hold the display; sampling goes on"),
    all(&[Key::Char('/')], Command::Search, "search", "search for text"),
    all(&[Key::Char('n')], Command::NextMatch, "", "the next match"),
    all(&[Key::Char('N')], Command::PreviousMatch, "", "the match before"),
    all(
        &[Key::Char('\\'), Key::F(4)],
        Command::Filter,
        "filter",
        "keep stacks in which a regex matches; in the view of threads, threads",
    ),
    all(&[Key::Esc], Command::Clear, "", "clear the innermost: text, menu, stack, zoom, search, filter"),
    only(STACKS, &[Key::Char('l')], Command::By, "by", "rows by function, line, file, module, distribution"),
    only(
        STACKS,
        &[Key::Char('c')],
        Command::Mode,
        "clock",
        "the time that counts: wall, cpu, gil, exception",
    ),
    only(LISTS, &[Key::Char('s'), Key::F(6)], Command::Sort, "sort", "choose the column to sort by"),
    only(LISTS, &[Key::Char('<')], Command::SortLeft, "", "sort by the column to the left"),
    only(LISTS, &[Key::Char('>')], Command::SortRight, "", "sort by the column to the right"),
    only(LISTS, &[Key::Char('I')], Command::Invert, "", "turn the order round"),
    only(&[Sight::Tree], &[Key::Char('x')], Command::Hottest, "hottest", "open the branch that spends most"),
    only(&[Sight::Tree], &[Key::Enter], Command::Open, "open", "open or close a branch"),
    only(&[Sight::Flame], &[Key::Enter], Command::Open, "zoom", "zoom into the frame"),
    only(&[Sight::Threads], &[Key::Enter], Command::Open, "stack", "show the thread's stack"),
    only(
        &[Sight::Flame, Sight::Threads],
        &[Key::Backspace, Key::Char('b')],
        Command::Back,
        "back",
        "back out of the zoom or the stack",
    ),
    only(
        &[Sight::Tree, Sight::Flame],
        &[Key::Left],
        Command::Left,
        "",
        "close the branch; the frame to the left",
    ),
    only(
        &[Sight::Tree, Sight::Flame],
        &[Key::Right],
        Command::Right,
        "",
        "open the branch; the frame to the right",
    ),
    all(&[Key::Char('w')], Command::Write, "write", "write what there is: .pit, speedscope or SVG"),
    all(&[Key::Char('y')], Command::Copy, "", "copy what is selected to the clipboard of the terminal"),
    all(&[Key::Char('m')], Command::Mark, "mark", "mark this moment"),
    all(&[Key::Char('d')], Command::Compare, "diff", "compare with the time before the mark"),
    all(&[Key::Char('r')], Command::Reset, "reset", "begin anew: what was before does not count any more"),
    only(STACKS, &[Key::Char('i')], Command::Idle, "idle", "show threads that wait, or leave them out"),
    only(STACKS, &[Key::Char('t')], Command::Thread, "thread", "the next thread alone"),
    only(STACKS, &[Key::Char('T')], Command::AllThreads, "", "all threads together"),
    all(&[Key::Char('+'), Key::Char('=')], Command::Faster, "", "draw more often"),
    all(&[Key::Char('-')], Command::Slower, "", "draw less often"),
    all(&[Key::Char(']')], Command::RateUp, "", "look more often"),
    all(&[Key::Char('[')], Command::RateDown, "", "look less often"),
    all(&[Key::Up, Key::Char('k')], Command::Up, "", "up"),
    all(&[Key::Down, Key::Char('j')], Command::Down, "", "down"),
    all(&[Key::PageUp, Key::Ctrl('b'), Key::Ctrl('u')], Command::PageUp, "", "up by a page"),
    all(&[Key::PageDown, Key::Ctrl('f'), Key::Ctrl('d')], Command::PageDown, "", "down by a page"),
    all(&[Key::Home, Key::Char('g')], Command::First, "", "to the first line"),
    all(&[Key::End, Key::Char('G')], Command::Last, "", "to the last line"),
    all(&[Key::Ctrl('l')], Command::Redraw, "", "draw everything anew"),
    all(&[Key::Ctrl('z')], Command::Suspend, "", "into the background; `fg` brings it back"),
];

/// What a key means in a view.
pub fn meaning(key: Key, sight: Sight) -> Option<Command> {
    KEYS.iter().find(|it| it.is_in(sight) && it.keys.contains(&key)).map(|it| it.command)
}

impl Binding {
    /// Whether it is valid in a view.
    pub fn is_in(&self, sight: Sight) -> bool {
        match self.place {
            Where::Everywhere => true,
            Where::In(sights) => sights.contains(&sight),
        }
    }

    /// What it does, and in which views where that is not everywhere.
    pub fn sentence(&self) -> String {
        match self.place {
            Where::Everywhere => self.help.to_owned(),
            Where::In(sights) => {
                let names: Vec<&str> = sights.iter().map(|sight| sight.name()).collect();
                format!("{} ({})", self.help, names.join(", "))
            }
        }
    }

    /// Its keys in words, those that are most at hand first.
    pub fn names(&self) -> String {
        self.keys.iter().map(|key| key.name()).collect::<Vec<_>>().join(" ")
    }
}

impl Key {
    /// What people call it.
    pub fn name(self) -> String {
        match self {
            Key::Char(' ') => "Space".into(),
            Key::Char(c) => c.into(),
            Key::Ctrl(c) => format!("^{}", c.to_ascii_uppercase()),
            Key::BackTab => "S-Tab".into(),
            Key::PageUp => "PgUp".into(),
            Key::PageDown => "PgDn".into(),
            Key::F(number) => format!("F{number}"),
            other => format!("{other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_means_two_things_in_one_view() {
        for sight in Sight::ALL {
            let mut keys: Vec<Key> =
                KEYS.iter().filter(|it| it.is_in(sight)).flat_map(|it| it.keys).copied().collect();
            let all = keys.len();
            keys.sort_by_key(|key| key.name());
            keys.dedup();
            assert_eq!(keys.len(), all, "{sight:?}");
        }
    }

    #[test]
    fn every_command_can_be_had_without_a_function_key() {
        for binding in KEYS {
            assert!(binding.keys.iter().any(|key| !matches!(key, Key::F(_))), "{binding:?}");
        }
    }

    #[test]
    fn keys_mean_what_the_table_says_where_it_says_so() {
        assert_eq!(meaning(Key::Char('q'), Sight::Gc), Some(Command::Quit));
        assert_eq!(meaning(Key::Char('x'), Sight::Tree), Some(Command::Hottest));
        assert_eq!(meaning(Key::Char('x'), Sight::Gc), None);
        assert_eq!(meaning(Key::Enter, Sight::Threads), Some(Command::Open));
    }
}
