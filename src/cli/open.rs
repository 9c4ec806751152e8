//! What every command starts from: options of all commands, the layouts, and a process that was named and found.

use std::io::{self, Write};
use std::sync::Arc;

use regex::Regex;

use super::args::{Global, Target};
use super::failure::{Exit, Failure};
use super::paint::Paint;
use super::plain;
use crate::layout::{Catalogue, Why};
use crate::python::Python;
use crate::python::check::{self, Verdict};
use crate::target::locate::locate;
use crate::target::{Located, Proc, Process};

/// What every command starts from.
#[derive(Debug)]
pub struct Context {
    /// Options of all commands.
    pub global: Global,
    /// Where processes are found.
    pub proc: Proc,
    /// The layouts that there are.
    pub catalogue: Arc<Catalogue>,
}

/// A process whose interpreter was found.
#[derive(Debug)]
pub struct Opened {
    /// The process.
    pub process: Process,
    /// Its interpreter.
    pub located: Located,
    /// The walks over it.
    pub python: Python,
}

impl Context {
    /// Reads the layouts.
    pub fn new(global: Global) -> anyhow::Result<Context> {
        let catalogue = Arc::new(Catalogue::load(global.layouts.as_deref())?);
        Ok(Context { global, proc: Proc::default(), catalogue })
    }

    /// The same for while nobody else may write on the screen.
    pub fn hushed(&self) -> Context {
        let global = Global { quiet: true, verbose: 0, ..self.global.clone() };
        Context { global, proc: self.proc.clone(), catalogue: Arc::clone(&self.catalogue) }
    }

    /// How standard error is coloured.
    pub fn paint(&self) -> Paint {
        Paint::of(self.global.color, &io::stderr())
    }

    /// Says something on standard error, unless asked to be quiet.
    pub fn say(&self, text: &str) {
        if !self.global.quiet {
            // Standard error being closed is no reason to stop.
            let _ = writeln!(io::stderr().lock(), "{}", plain::line(text));
        }
    }

    /// Says something on standard error, if asked to be verbose.
    pub fn tell(&self, text: &str) {
        if self.global.verbose > 0 {
            self.say(text);
        }
    }

    /// Finds a process's interpreter and binds its layout.
    pub fn open(&self, pid: i32) -> anyhow::Result<Opened> {
        let opened = self.open_as_it_is(pid)?;
        // Where it became this program in between, it would seem to be another one ever after.
        if opened.process.execed() { self.open_as_it_is(pid) } else { Ok(opened) }
    }

    fn open_as_it_is(&self, pid: i32) -> anyhow::Result<Opened> {
        let process = Process::open(&self.proc, pid)?;
        let located = locate(&process, &self.catalogue)?;
        let python = Python::open(&located)?;
        self.tell(&format!("process {pid}: {}", located.found_by));
        let layout = &located.chosen;
        self.tell(&format!("process {pid}: layout {} ({})", layout.layout.name, why(&layout.why)));
        if layout.why == Why::Newest {
            let version = located.fingerprint.version;
            let checks = check::run(&located, process.memory(), &process.threads());
            if let Some(failed) = checks.iter().find(|check| matches!(check.verdict, Verdict::Failed(_))) {
                let message = format!(
                    "Python {version} is newer than any layout, and a self-check failed: {}",
                    failed.name
                );
                return Err(Failure::new(Exit::NotReadable, message)
                    .hint("make a layout of this build: pitviper layout derive ELF > DIR/NAME.toml, then --layouts DIR")
                    .into());
            }
            self.say(&format!(
                "warning: Python {version} is newer than any layout; it describes itself, and every self-check passed"
            ));
        }
        Ok(Opened { process, located, python })
    }

    /// The pids that a command line names.
    pub fn pids(&self, target: &Target) -> anyhow::Result<Vec<i32>> {
        let Some(pattern) = &target.name else {
            if target.pid.is_empty() {
                return Err(Failure::new(Exit::Usage, "which process? name one by --pid or --name")
                    .hint("`pitviper ps` lists the Pythons here")
                    .into());
            }
            let mut pids: Vec<i32> = Vec::new();
            for pid in &target.pid {
                if !pids.contains(pid) {
                    pids.push(*pid);
                }
            }
            return Ok(pids);
        };
        let pattern = Regex::new(pattern).map_err(|error| {
            Failure::new(Exit::Usage, format!("--name {pattern:?} does not compile: {error}"))
        })?;
        let found: Vec<i32> =
            self.proc.pids().into_iter().filter(|pid| self.is_named(*pid, &pattern)).collect();
        if found.is_empty() {
            return Err(Failure::new(
                Exit::Gone,
                format!("no Python here has a command line that matches {pattern}"),
            )
            .hint("`pitviper ps` lists the Pythons here")
            .into());
        }
        Ok(found)
    }

    /// The one pid that a command line names, where a command looks at one alone.
    pub fn pid(&self, target: &Target) -> anyhow::Result<i32> {
        match self.pids(target)?.as_slice() {
            [pid] => Ok(*pid),
            many => {
                let many: Vec<String> = many.iter().map(i32::to_string).collect();
                Err(Failure::not_yet(&format!("several processes at once ({})", many.join(", ")))
                    .hint("name one of them by --pid")
                    .into())
            }
        }
    }

    fn is_named(&self, pid: i32, pattern: &Regex) -> bool {
        if u32::try_from(pid) == Ok(std::process::id()) {
            return false;
        }
        let Ok(process) = Process::open(&self.proc, pid) else { return false };
        pattern.is_match(&process.cmdline().join(" ")) && locate(&process, &self.catalogue).is_ok()
    }
}

/// Why a layout was chosen, in words.
pub fn why(why: &Why) -> &'static str {
    match why {
        Why::SameBuild => "made from this very build",
        Why::SameSizes => "its sizes agree with this build",
        Why::SameMinor => "the nearest of this minor version",
        Why::Newest => "this minor version is unknown; the newest one, as the target describes itself",
    }
}
