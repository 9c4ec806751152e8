//! Lines of source files, as the process that runs them finds the files; `--source` keeps them.
//!
//! Design constraints: a target says itself what its files are called, and we may be able to read more than whoever started us
//! should see. So nothing is read but regular files that are called as Python's are, and no link is followed to one.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::Process;

/// What files of source are called.
const ENDINGS: [&str; 2] = [".py", ".pyw"];
/// The most bytes of a file that are read.
const MAX_BYTES: u64 = 4 << 20;
/// The most files that are kept in mind.
const MAX_FILES: usize = 64;
/// The most characters of a line that are kept.
const MAX_CHARS: usize = 300;

/// The source files of one process.
#[derive(Debug)]
pub struct Sources {
    /// The process's directory in `/proc`.
    proc: PathBuf,
    files: HashMap<String, Vec<String>>,
}

impl Sources {
    /// Those of a process; nothing is read before it is asked for.
    pub fn of(process: &Process) -> Sources {
        Sources::below(process.proc().of(process.pid()))
    }

    fn below(proc: PathBuf) -> Sources {
        Sources { proc, files: HashMap::new() }
    }

    /// A line of a file, counted from 1, without the space around it; `None` where it is empty or cannot be read.
    pub fn line(&mut self, path: &str, line: u32) -> Option<String> {
        if !ENDINGS.iter().any(|ending| path.ends_with(ending)) {
            return None;
        }
        if !self.files.contains_key(path) {
            if self.files.len() >= MAX_FILES {
                self.files.clear();
            }
            let place = match path.strip_prefix('/') {
                Some(absolute) => self.proc.join("root").join(absolute),
                None => self.proc.join("cwd").join(path),
            };
            self.files.insert(path.to_owned(), lines(&place).unwrap_or_default());
        }
        let text = self.files.get(path)?.get(usize::try_from(line).ok()?.checked_sub(1)?)?;
        Some(text.clone()).filter(|text| !text.is_empty())
    }
}

fn lines(path: &Path) -> Option<Vec<String>> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let mut bytes = Vec::new();
    file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    Some(text.lines().map(|line| line.trim().chars().take(MAX_CHARS).collect()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_the_process_finds_its_file() {
        let proc = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = proc.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("root/srv/app.py", "def f():\n    return 1  \n\n");
        write("cwd/app.py", "here()\n");
        write("root/etc/shadow", "secret\n");
        std::os::unix::fs::symlink("../etc/shadow", proc.path().join("root/srv/link.py")).unwrap();
        let mut sources = Sources::below(proc.path().to_owned());
        let mut check = |path, line, expected: Option<&str>| {
            assert_eq!(sources.line(path, line).as_deref(), expected, "{path}:{line}");
        };
        check("/srv/app.py", 1, Some("def f():"));
        check("/srv/app.py", 2, Some("return 1"));
        check("/srv/app.py", 3, None);
        check("/srv/app.py", 0, None);
        check("/srv/app.py", 99, None);
        check("app.py", 1, Some("here()"));
        check("/srv/gone.py", 1, None);
        check("/srv/link.py", 1, None);
        check("/etc/shadow", 1, None);
        check("<string>", 1, None);
    }

    #[test]
    fn a_long_line_is_cut_and_many_files_are_not_kept() {
        let proc = tempfile::tempdir().unwrap();
        std::fs::create_dir(proc.path().join("cwd")).unwrap();
        for n in 0..2 * MAX_FILES {
            std::fs::write(proc.path().join(format!("cwd/f{n}.py")), "é".repeat(2 * MAX_CHARS)).unwrap();
        }
        let mut sources = Sources::below(proc.path().to_owned());
        for n in 0..2 * MAX_FILES {
            let line = sources.line(&format!("f{n}.py"), 1).unwrap();
            assert_eq!(line.chars().count(), MAX_CHARS);
        }
        assert!(sources.files.len() <= MAX_FILES);
    }
}
