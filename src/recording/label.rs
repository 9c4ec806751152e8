//! What people call things: a short name for each file, a name for each track and process.

use std::collections::HashMap;

use super::tables::Recording;
use crate::model::{FileKind, ProcessId, TrackId};

/// Files whose last component says nothing: their directory is what they are called by.
const NAMELESS: [&str; 2] = ["__init__.py", "__main__.py"];

/// Where distributions are installed.
const PACKAGES: [&str; 2] = ["/site-packages/", "/dist-packages/"];

/// Two files that still have one name after this many components get their whole paths.
const MAX_COMPONENTS: usize = 16;

/// A short name for each file, by its path; files with different paths have different names.
///
/// Library files are named from the directory that Python finds them in, all others by their last component, or by more
/// of them where that is not enough.
pub fn short_files(paths: &[&str]) -> Vec<String> {
    let mut kept: Vec<usize> = paths.iter().map(|path| components(path)).collect();
    loop {
        let mut named: HashMap<&str, &str> = HashMap::new();
        let mut shared: HashMap<&str, ()> = HashMap::new();
        for (path, keep) in paths.iter().zip(&kept) {
            let short = tail(path, *keep);
            if named.insert(short, path).is_some_and(|other| other != *path) {
                shared.insert(short, ());
            }
        }
        let mut changed = false;
        for (path, keep) in paths.iter().zip(&mut kept) {
            let short = tail(path, *keep);
            if shared.contains_key(short) && short.len() < path.len() {
                *keep = if *keep < MAX_COMPONENTS { *keep + 1 } else { usize::MAX };
                changed = true;
            }
        }
        if !changed {
            return paths.iter().zip(kept).map(|(path, keep)| tail(path, keep).to_owned()).collect();
        }
    }
}

/// What a track is called: `name (tid 123)`, and `name (tid 123, pid 45)` where there are several processes.
pub fn track(recording: &Recording, id: TrackId) -> String {
    let Some(track) = recording.track(id) else { return String::new() };
    let name = track.name.map_or("", |name| recording.string(name));
    let name = match name {
        "" if track.main => "main",
        "" => "thread",
        name => name,
    };
    let id = match track.native {
        Some(tid) => format!("tid {tid}"),
        None => format!("thread {:#x}", track.thread),
    };
    match recording.process(track.process) {
        Some(process) if recording.processes.len() > 1 => format!("{name} ({id}, pid {})", process.pid),
        _ => format!("{name} ({id})"),
    }
}

/// What a process is called: `process 123: python app.py`.
pub fn process(recording: &Recording, id: ProcessId) -> String {
    recording.process(id).map_or_else(String::new, |process| {
        format!("process {}: {}", process.pid, recording.string(process.command))
    })
}

/// What the code of a file is called by the distribution that it came with, or by what it is where it came with none.
pub(super) fn distribution(whose: FileKind, path: &str, name: Option<&str>) -> String {
    let name = match (name, whose) {
        (Some(name), _) => name,
        (None, FileKind::Standard) => "(standard library)",
        (None, FileKind::Synthetic) if path.starts_with("<frozen ") => "(standard library)",
        (None, FileKind::Synthetic) => "(no file)",
        (None, FileKind::Installed) => "(unknown distribution)",
        (None, FileKind::Own | FileKind::Unknown) => "(own code)",
    };
    name.to_owned()
}

/// How many components of a path to show at first.
fn components(path: &str) -> usize {
    if path.starts_with('<') {
        return usize::MAX;
    }
    match library_tail(path) {
        Some(tail) => tail.split('/').count(),
        None if NAMELESS.contains(&tail(path, 1)) => 2,
        None => 1,
    }
}

/// The part of a path that lies below one of Python's own directories.
pub(super) fn library_tail(path: &str) -> Option<&str> {
    for marker in PACKAGES {
        if let Some((_, tail)) = path.rsplit_once(marker) {
            return Some(tail);
        }
    }
    let (_, below) = path.split_once("/lib/python").or_else(|| path.split_once("/lib64/python"))?;
    let (version, tail) = below.split_once('/')?;
    version.starts_with(|c: char| c.is_ascii_digit()).then_some(tail)
}

/// The last `keep` components of a path.
fn tail(path: &str, keep: usize) -> &str {
    let start = path.rmatch_indices('/').nth(keep.saturating_sub(1)).map_or(0, |(slash, _)| slash + 1);
    path.get(start..).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(paths: &[&str], expected: &[&str]) {
        assert_eq!(short_files(paths), expected);
    }

    #[test]
    fn library_files_are_named_as_python_imports_them() {
        check(
            &[
                "/usr/lib/python3.13/json/decoder.py",
                "/usr/lib/python3.13/threading.py",
                "/venv/lib/python3.12/site-packages/flask/app.py",
                "/usr/lib/python3/dist-packages/yaml/reader.py",
            ],
            &["json/decoder.py", "threading.py", "flask/app.py", "yaml/reader.py"],
        );
    }

    #[test]
    fn own_files_are_named_by_what_says_something() {
        check(
            &["/srv/shop/app.py", "/srv/shop/__init__.py", "run.py", "<string>", "<frozen a/b>", ""],
            &["app.py", "shop/__init__.py", "run.py", "<string>", "<frozen a/b>", ""],
        );
    }

    #[test]
    fn different_files_never_share_a_name() {
        check(
            &["/a/x/util.py", "/b/x/util.py", "/b/x/util.py", "/c/y.py"],
            &["a/x/util.py", "b/x/util.py", "b/x/util.py", "y.py"],
        );
        check(&["/x/util.py", "x/util.py"], &["/x/util.py", "x/util.py"]);
        let deep = "/d".repeat(40);
        let (one, two) = (format!("/a{deep}/f.py"), format!("/b{deep}/f.py"));
        check(&[&one, &two], &[&one, &two]);
    }
}
