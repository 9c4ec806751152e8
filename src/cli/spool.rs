//! Where a recording streams to while it is made, and how it is kept when something else could not be written.

use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::failure::{Exit, Failure};
use super::output::{self, Output};
use crate::recording::{self, Recording};

/// A recording in the making.
#[derive(Debug)]
pub struct Spool {
    file: File,
    /// Its own name, where one was asked for; without one it has none and vanishes with us.
    name: Option<PathBuf>,
    /// The process that it is of.
    pid: i32,
}

impl Spool {
    /// Opens the recording under the name that was asked for, else one that has no name.
    pub fn open(outputs: &[Output], pid: i32) -> anyhow::Result<Spool> {
        let name = outputs.iter().find_map(Output::recording).map(Path::to_owned);
        let file = match &name {
            Some(name) => output::create(name).with_context(|| format!("creating {}", name.display()))?,
            None => tempfile::tempfile()
                .with_context(|| format!("making room for the recording in {}", temporary().display()))?,
        };
        Ok(Spool { file, name, pid })
    }

    /// What is written to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Reads what is written so far.
    pub fn read(&self) -> anyhow::Result<Recording> {
        let reading = || format!("reading {} back", self.shown());
        match &self.name {
            Some(name) => recording::open(name).with_context(reading),
            None => {
                let recording = recording::read(BufReader::new(self.rewound().with_context(reading)?));
                (&self.file).seek(SeekFrom::End(0)).with_context(reading)?;
                recording.with_context(reading)
            }
        }
    }

    /// Leaves nothing behind.
    pub fn discard(&self) {
        if let Some(name) = &self.name {
            let _ = std::fs::remove_file(name);
        }
    }

    /// It could not be written to its end. What was recorded up to then is read back all the same, and said to be where it is.
    pub fn cut_short(&self, error: &io::Error, written: &[Output]) -> Failure {
        let failure = Failure::new(Exit::Failed, format!("writing {}: {error}", self.shown()));
        let named = written.iter().map(|output| output.path().display().to_string());
        let files: Vec<String> =
            self.name.iter().map(|name| name.display().to_string()).chain(named).collect();
        let room = "for more room: -o FILE.pit on another disk, or TMPDIR=DIR where none is asked for";
        if files.is_empty() {
            return failure.hint(room);
        }
        failure.hint(format!("what was recorded up to then is in {}\n{room}", files.join(", ")))
    }

    /// Something that was to be made of it could not be written: it stays where it is, or gets a name now.
    pub fn keep(&self, error: &anyhow::Error) -> Failure {
        let failure = Failure::new(Exit::Failed, format!("{error:#}"));
        match self.name.clone().or_else(|| self.copy()) {
            Some(name) => {
                let name = name.display();
                failure.hint(format!("the recording is in {name}: pitviper export {name} -o OUT"))
            }
            None => failure.hint("the recording could not be kept either: there is no room for it"),
        }
    }

    /// Copies what has no name to where there is room: here, or where temporary files are.
    fn copy(&self) -> Option<PathBuf> {
        let name = output::default_name(self.pid, ".pit");
        [PathBuf::new(), temporary()].into_iter().map(|dir| dir.join(&name)).find(|path| {
            let copied = output::create(path).and_then(|mut copy| {
                io::copy(&mut self.rewound()?, &mut copy)?;
                Ok(())
            });
            if copied.is_err() {
                let _ = std::fs::remove_file(path);
            }
            copied.is_ok()
        })
    }

    /// The file at its first byte. It shares its place with the one that is written to.
    fn rewound(&self) -> io::Result<File> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(file)
    }

    fn shown(&self) -> String {
        match &self.name {
            Some(name) => name.display().to_string(),
            None => format!("the recording in {}", temporary().display()),
        }
    }

    /// What we were doing when writing to it failed.
    pub fn writing(&self) -> String {
        format!("writing {}", self.shown())
    }
}

fn temporary() -> PathBuf {
    std::env::temp_dir()
}
