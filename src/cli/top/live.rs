//! The live view on a terminal: keys and pictures into the state, the state onto the screen, and what it asks for is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use crossbeam_channel::Receiver;
use signal_hook::consts::{SIGCONT, SIGTSTP};

use super::Plan;
use super::save;
use super::session::Session;
use crate::cli::failure::Exit;
use crate::cli::observe::Signals;
use crate::target::Child;
use crate::tui::memory::Memory;
use crate::tui::terminal::Screen;
use crate::tui::view::Theme;
use crate::tui::{Action, App, Event, Picture, Sight};

/// The longest that a person waits for what they did, and a signal for its answer.
const BEAT: Duration = Duration::from_millis(50);
/// The shortest time from one drawing to the next.
const LEAST: Duration = Duration::from_millis(100);
/// Taking pictures costs no more than one part in so many of a core.
const PART: u32 = 20;

/// Shows what is going on until somebody has seen enough.
pub(super) fn show(
    plan: &Plan<'_>,
    session: Session<'_>,
    signals: &Signals,
    child: Option<&mut Child>,
) -> anyhow::Result<Exit> {
    let ours = child.is_some();
    let mut live = Live::open(plan, session)?;
    let shown = live.run(plan, signals, child);
    let Live { screen, session, .. } = live;
    // What is said from here on is said on the terminal as it was before.
    drop(screen);
    let ended = session.end(ours);
    shown.and(ended)
}

struct Live<'a> {
    screen: Screen,
    session: Session<'a>,
    app: App,
    theme: Theme,
    /// Looks at memory come in here, once its view has been opened.
    memory: Option<Receiver<Memory>>,
    /// When the last picture was taken, and how long that took.
    pictured: Option<(Instant, Duration)>,
    drawn: Option<Instant>,
    /// Something is to be seen that is not on the screen yet.
    dirty: bool,
    stop: Arc<AtomicBool>,
    resumed: Arc<AtomicBool>,
}

impl<'a> Live<'a> {
    fn open(plan: &Plan<'a>, session: Session<'a>) -> anyhow::Result<Live<'a>> {
        let (stop, resumed) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        signal_hook::flag::register(SIGTSTP, Arc::clone(&stop))?;
        signal_hook::flag::register(SIGCONT, Arc::clone(&resumed))?;
        let rate = crate::cli::run::rate(plan.args.observe.rate());
        let mut app = App::new(plan.query(), rate, plan.refresh);
        let screen = Screen::open().context("taking the terminal over")?;
        let (width, height) = screen.size().context("asking the terminal for its size")?;
        app.update(Event::Resize(width, height));
        let theme = Theme { colour: plan.colour(), ascii: plan.args.ascii };
        Ok(Live {
            screen,
            session,
            app,
            theme,
            memory: None,
            pictured: None,
            drawn: None,
            dirty: true,
            stop,
            resumed,
        })
    }

    fn run(
        &mut self,
        plan: &Plan<'_>,
        signals: &Signals,
        mut child: Option<&mut Child>,
    ) -> anyhow::Result<Exit> {
        loop {
            let mut wait = BEAT;
            while let Some(event) = self.screen.next(wait).context("asking the terminal for keys")? {
                (self.dirty, wait) = (true, Duration::ZERO);
                let action = self.app.update(event);
                if action.map(|action| self.act(action)).transpose()?.unwrap_or(false) {
                    return Ok(Exit::Done);
                }
            }
            if self.session.is_over(plan, signals, child.as_deref_mut()) {
                return Ok(Exit::Done);
            }
            if self.stop.swap(false, Ordering::SeqCst) {
                self.suspend()?;
            }
            if self.resumed.swap(false, Ordering::SeqCst) {
                self.screen.come_back().context("taking the terminal over")?;
                self.dirty = true;
            }
            self.session.collect()?;
            self.look_at_memory();
            self.picture()?;
            if self.dirty && self.drawn.is_none_or(|drawn| drawn.elapsed() >= LEAST) {
                self.screen.draw(&self.app, self.theme).context("drawing")?;
                (self.dirty, self.drawn) = (false, Some(Instant::now()));
            }
        }
    }

    /// Takes in what was seen of memory, and has it looked at from when somebody wants to see it.
    fn look_at_memory(&mut self) {
        if self.memory.is_none() && self.app.sight == Sight::Memory && !self.session.has_ended() {
            let looks = self.session.look_at_memory();
            let (looks, failure) = match looks {
                Ok(looks) => (looks, None),
                Err(error) => (crossbeam_channel::never(), Some(format!("{error:#}"))),
            };
            self.memory = Some(looks);
            if let Some(why) = failure {
                let memory = Memory { unread: Some(why), ..Memory::default() };
                self.app.update(Event::Memory(Box::new(memory)));
            }
        }
        while let Some(memory) = self.memory.as_ref().and_then(|looks| looks.try_recv().ok()) {
            self.app.update(Event::Memory(Box::new(memory)));
            self.dirty |= self.app.sight == Sight::Memory;
        }
    }

    /// Takes a new picture where one is due, or where another one is asked for.
    fn picture(&mut self) -> anyhow::Result<()> {
        let query = self.app.query.clone();
        let asked = query != self.app.picture.query;
        let ended = self.session.has_ended();
        let late = self.pictured.is_none_or(|(at, cost)| at.elapsed() >= self.app.refresh.max(cost * PART));
        // What is held or has ended changes no more.
        let changes = !ended || !self.app.picture.vitals.ended;
        let due = late && changes && !self.app.is_paused();
        if !asked && !due {
            return Ok(());
        }
        let began = Instant::now();
        let vitals = self.session.vitals();
        let picture = Picture::of(self.session.recording(), &query, &vitals)?;
        self.pictured = Some((began, began.elapsed()));
        self.app.update(Event::Picture(Box::new(picture)));
        self.dirty = true;
        Ok(())
    }

    /// Does what the state asks for; whether it is over.
    fn act(&mut self, action: Action) -> anyhow::Result<bool> {
        match action {
            Action::Quit => return Ok(true),
            Action::Redraw => self.screen.clear().context("drawing")?,
            Action::Copy(text) => self.screen.copy(&text).context("copying")?,
            Action::Suspend => self.suspend()?,
            Action::Rate(rate) => self.session.set_rate(rate),
            Action::Write(name) => {
                let said = save::save(&mut self.session, &self.app.picture.query, name);
                self.app.update(Event::Say(said));
            }
        }
        Ok(false)
    }

    /// Gives the terminal back and stops, until somebody wants us to go on.
    fn suspend(&mut self) -> anyhow::Result<()> {
        self.screen.leave();
        signal_hook::low_level::emulate_default_handler(SIGTSTP)?;
        self.resumed.store(false, Ordering::SeqCst);
        self.screen.come_back().context("taking the terminal over")?;
        self.dirty = true;
        Ok(())
    }
}

impl Plan<'_> {
    fn colour(&self) -> bool {
        crate::cli::paint::Paint::of(self.color, &std::io::stdout()).is_on()
    }
}
