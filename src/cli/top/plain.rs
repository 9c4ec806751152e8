//! What is printed where there is no terminal, or where one table is all that is wanted.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::Plan;
use super::session::Session;
use crate::cli::failure::Exit;
use crate::cli::observe::Signals;
use crate::cli::open::Context;
use crate::cli::{export, summary};
use crate::model::{At, Nanos};
use crate::target::Child;
use crate::tui::picture::share;
use crate::tui::{Picture, Query, Vitals};

/// How often it is looked whether it is time to print.
const BEAT: Duration = Duration::from_millis(50);
/// The time that one table is of.
const WINDOW: Duration = Duration::from_secs(1);
/// How many functions a table has.
const FUNCTIONS: usize = 40;

/// Prints a table after each interval until the end, or after the only one.
pub(super) fn show(
    plan: &Plan<'_>,
    mut session: Session<'_>,
    signals: &Signals,
    mut child: Option<&mut Child>,
) -> anyhow::Result<Exit> {
    let once = plan.args.once;
    let window = plan.args.observe.duration.map_or(WINDOW, |interval| interval.0);
    let interval = if once { window } else { plan.refresh };
    let (mut began, mut printed) = (Instant::now(), At(0));
    loop {
        session.wait(BEAT.min(interval));
        session.collect()?;
        let over = session.is_over(plan, signals, child.as_deref_mut()) || session.has_ended();
        let due = began.elapsed() >= interval;
        if over || once && due {
            session.run_out()?;
        }
        if over && !session.has_seen_anything() {
            return session.end(child.is_some());
        }
        if over || due {
            let now = session.now();
            print(plan, &mut session, now.since(printed))?;
            (began, printed) = (Instant::now(), now);
        }
        if over || once && due {
            return session.end(child.is_some());
        }
    }
}

/// Prints what the last `present` was like.
fn print(plan: &Plan<'_>, session: &mut Session<'_>, present: Nanos) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let query = Query { present, ..plan.query() };
    if plan.json {
        let options = query.options.clone();
        return session
            .as_recording(options.clone(), |recording| summary::json(recording, &options, &[], &mut out));
    }
    let vitals = session.vitals();
    let picture = Picture::of(session.recording(), &query, &vitals)?;
    table(&picture, &mut out)?;
    Ok(out.flush()?)
}

/// Prints a table of a recording: of all of it, or of the time up to a moment of it.
pub(super) fn of_file(context: &Context, plan: &Plan<'_>, file: &Path) -> anyhow::Result<Exit> {
    let (file, moment) = export::named(file);
    let recording = export::open(context, &file)?;
    let at = moment.map(|at| At(at.0.as_nanos() as u64).min(recording.end()));
    let options = plan.args.view.options_or(&recording)?;
    let mut out = io::stdout().lock();
    if plan.json {
        return summary::json(&recording, &options, &[], &mut out).map(|()| Exit::Done);
    }
    let query = Query { options, at, ..plan.query() };
    let present = at.map_or_else(|| Nanos(recording.end().0), |_| query.present);
    let query = Query { present, ..query };
    let picture = Picture::of(&recording, &query, &Vitals::default())?;
    table(&picture, &mut out)?;
    Ok(Exit::Done)
}

/// Prints a picture: who, how well, and the functions and threads that were met, those of the most time first.
fn table(picture: &Picture, out: &mut impl Write) -> io::Result<()> {
    let account = &picture.account;
    writeln!(out, "{}  {}  {:.1} s", picture.title, picture.python, Nanos(picture.at.0).as_secs_f64())?;
    let rate = |rate: Option<f64>| rate.map_or_else(|| "max".to_owned(), |rate| format!("{rate:.0}"));
    writeln!(
        out,
        "{} of {} looks/s, {} missed, {:.2} % torn, {} errors",
        rate(picture.vitals.rate.or(account.rate_achieved)),
        rate(account.rate_asked),
        account.missed,
        account.partial_share() * 100.0,
        account.errors,
    )?;
    writeln!(out, "\n    own   total  {}", picture.query.options.by.name())?;
    let now = picture.functions.iter().filter(|function| function.now.total > 0);
    for function in now.clone().take(FUNCTIONS) {
        let share = |part: u64| 100.0 * share(part, picture.whole.now);
        let (own, total) = (share(function.now.own), share(function.now.total));
        writeln!(out, "{own:5.1} % {total:5.1} %  {}", picture.label(function.label))?;
    }
    match now.count().saturating_sub(FUNCTIONS) {
        0 => {}
        more => writeln!(out, "and {more} more")?,
    }
    writeln!(out, "\n    cpu     gil  thread, and what it is doing")?;
    for thread in &picture.threads {
        let cpu = thread.cpu.map_or_else(|| "      -".to_owned(), |cpu| format!("{:5.1} %", cpu * 100.0));
        let doing = if thread.wait.is_empty() { thread.state } else { &thread.wait };
        writeln!(out, "{cpu} {:5.1} %  {}: {doing} in {}", thread.gil * 100.0, thread.name, thread.top)?;
    }
    writeln!(out)
}
