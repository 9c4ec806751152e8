//! The terminal: taken over, drawn on, asked for keys, and given back whatever happens.

use std::io::{self, Stdout, Write};
use std::os::fd::AsFd;
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event as Told, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use super::app::{App, Event};
use super::clipboard;
use super::keys::Key;
use super::view::{self, Theme};

/// Whether the terminal is ours at the moment: whoever gives it back does so once.
static OURS: AtomicBool = AtomicBool::new(false);

/// The terminal, while it is ours.
#[derive(Debug)]
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes the terminal over. A panic of this thread gives it back before it is told of; one of another thread does not
    /// write across the screen, for whoever waits for that thread will tell.
    pub fn open() -> io::Result<Screen> {
        let owner = thread::current().id();
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if thread::current().id() == owner {
                give_back();
            }
            if !OURS.load(Ordering::SeqCst) {
                before(info);
            }
        }));
        take()?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout())).inspect_err(|_| give_back())?;
        Ok(Screen { terminal })
    }

    /// Columns and lines.
    pub fn size(&self) -> io::Result<(u16, u16)> {
        self.terminal.size().map(|size| (size.width, size.height))
    }

    /// The next thing that a person did, if there is one within `timeout`. Fails where the terminal has hung up.
    pub fn next(&mut self, timeout: Duration) -> io::Result<Option<Event>> {
        wait(Duration::ZERO)?;
        if !event::poll(Duration::ZERO)? {
            wait(timeout)?;
            if !event::poll(Duration::ZERO)? {
                return Ok(None);
            }
        }
        Ok(match event::read()? {
            Told::Resize(width, height) => Some(Event::Resize(width, height)),
            Told::Key(key) if key.kind != KeyEventKind::Release => {
                named(key.code, key.modifiers).map(Event::Key)
            }
            _ => None,
        })
    }

    /// Draws the state.
    pub fn draw(&mut self, app: &App, theme: Theme) -> io::Result<()> {
        self.terminal.draw(|frame| view::draw(app, theme, frame.buffer_mut())).map(|_| ())
    }

    /// Has the terminal copy a text.
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout();
        out.write_all(clipboard::sequence(text).as_bytes())?;
        out.flush()
    }

    /// Forgets what is on the screen, so that all of it is drawn anew.
    pub fn clear(&mut self) -> io::Result<()> {
        self.terminal.clear()
    }

    /// Gives the terminal back for a while.
    pub fn leave(&mut self) {
        give_back();
    }

    /// Takes it over again.
    pub fn come_back(&mut self) -> io::Result<()> {
        give_back();
        take()?;
        self.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
        // A panic from now on is told as usual: the hook sees that the terminal is not ours.
    }
}

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    OURS.store(true, Ordering::SeqCst);
    execute!(io::stdout(), EnterAlternateScreen).inspect_err(|_| give_back())
}

/// Makes the terminal what it was before.
fn give_back() {
    if OURS.swap(false, Ordering::SeqCst) {
        // There is nobody left who could be told of an error.
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
        let _ = io::stdout().flush();
    }
}

/// Waits for input. Where nobody is there any more it must not be asked for: crossterm would read without end.
fn wait(timeout: Duration) -> io::Result<()> {
    let stdin = io::stdin();
    let mut files = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
    match poll(&mut files, timeout) {
        // A signal: perhaps the size has changed.
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    let hung_up = files.iter().filter_map(PollFd::revents).any(|found| found.intersects(gone));
    if hung_up { Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has hung up")) } else { Ok(()) }
}

/// What we call a key; `None` where nothing of ours listens to it.
fn named(code: KeyCode, modifiers: KeyModifiers) -> Option<Key> {
    Some(match code {
        KeyCode::Char(c) if modifiers.contains(KeyModifiers::CONTROL) => Key::Ctrl(c.to_ascii_lowercase()),
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Esc,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::F(number) => Key::F(number),
        _ => return None,
    })
}
