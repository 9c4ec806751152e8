//! What was said before: strings, files, frames and stacks get an id and a definition once.

use rustc_hash::FxHashMap;

use crate::model::{Define, Event, File, FileId, FileKind, Frame, FrameId, Stack, StackId, StringId};

/// Tables that give equal things the same id, and say each thing to the channel before its id is used.
#[derive(Debug, Default)]
pub struct Interner {
    strings: FxHashMap<Box<str>, StringId>,
    files: FxHashMap<StringId, FileId>,
    frames: FxHashMap<Frame, FrameId>,
    stacks: FxHashMap<Stack, StackId>,
}

impl Interner {
    /// The id of a string.
    pub fn string(&mut self, text: &str, out: &mut Vec<Event>) -> StringId {
        if let Some(id) = self.strings.get(text) {
            return *id;
        }
        let id = StringId(self.strings.len() as u32);
        self.strings.insert(text.into(), id);
        out.push(Event::Define(Define::String(id, text.into())));
        id
    }

    /// The id of a source file.
    pub fn file(&mut self, path: &str, out: &mut Vec<Event>) -> FileId {
        let path_id = self.string(path, out);
        if let Some(id) = self.files.get(&path_id) {
            return *id;
        }
        let id = FileId(self.files.len() as u32);
        self.files.insert(path_id, id);
        let file = File { path: path_id, kind: kind(path), distribution: None };
        out.push(Event::Define(Define::File(id, file)));
        id
    }

    /// The id of a frame.
    pub fn frame(&mut self, frame: Frame, out: &mut Vec<Event>) -> FrameId {
        if let Some(id) = self.frames.get(&frame) {
            return *id;
        }
        let id = FrameId(self.frames.len() as u32);
        self.frames.insert(frame, id);
        out.push(Event::Define(Define::Frame(id, frame)));
        id
    }

    /// The id of a frame on top of a stack.
    pub fn stack(&mut self, parent: Option<StackId>, frame: FrameId, out: &mut Vec<Event>) -> StackId {
        let stack = Stack { parent, frame };
        if let Some(id) = self.stacks.get(&stack) {
            return *id;
        }
        let id = StackId(self.stacks.len() as u32);
        self.stacks.insert(stack, id);
        out.push(Event::Define(Define::Stack(id, stack)));
        id
    }
}

/// Whose code a file holds, as far as its path says.
fn kind(path: &str) -> FileKind {
    let within = |folder: &str| path.contains(folder);
    if path.starts_with('<') {
        FileKind::Synthetic
    } else if within("/site-packages/") || within("/dist-packages/") {
        FileKind::Installed
    } else if library(path) {
        FileKind::Standard
    } else {
        FileKind::Own
    }
}

/// Whether a path lies in a folder `lib/pythonX.Y` (or `lib/pythonX.Yt`), which is where the standard library lies.
fn library(path: &str) -> bool {
    path.split("/python").skip(1).any(|rest| {
        let (version, inside) = rest.split_once('/').unwrap_or((rest, ""));
        let numbers = version.trim_end_matches('t').split_once('.');
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        !inside.is_empty() && numbers.is_some_and(|(major, minor)| is_number(major) && is_number(minor))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_things_are_said_once_and_before_their_id_is_used() {
        let (mut interner, mut out) = (Interner::default(), Vec::new());
        let name = interner.string("work", &mut out);
        let file = interner.file("/app/shop.py", &mut out);
        let frame = Frame {
            kind: crate::model::FrameKind::Python,
            name,
            qualname: None,
            file,
            line: Some(7),
            end_line: None,
            column: None,
            end_column: None,
            first_line: Some(5),
        };
        let id = interner.frame(frame, &mut out);
        let outer = interner.stack(None, id, &mut out);
        let inner = interner.stack(Some(outer), id, &mut out);
        assert_ne!(outer, inner);
        let said = out.len();
        assert_eq!(said, 6, "two strings, a file, a frame, two stacks: {out:?}");
        assert_eq!(interner.frame(frame, &mut out), id);
        assert_eq!(interner.stack(Some(outer), id, &mut out), inner);
        assert_eq!(interner.file("/app/shop.py", &mut out), file);
        assert_eq!(out.len(), said);
    }

    #[track_caller]
    fn check(path: &str, expected: FileKind) {
        assert_eq!(kind(path), expected, "{path}");
    }

    #[test]
    fn a_path_says_whose_code_it_is() {
        check("/usr/lib/python3.11/json/decoder.py", FileKind::Standard);
        check("/root/.pyenv/versions/2.7.18/lib/python2.7/threading.py", FileKind::Standard);
        check("/opt/3.13t/lib/python3.13t/queue.py", FileKind::Standard);
        check("/usr/lib/python3/dist-packages/yaml/__init__.py", FileKind::Installed);
        check("/venv/lib/python3.12/site-packages/flask/app.py", FileKind::Installed);
        check("<frozen importlib._bootstrap>", FileKind::Synthetic);
        check("<string>", FileKind::Synthetic);
        check("/home/me/python/shop.py", FileKind::Own);
        check("/home/me/python-project/shop.py", FileKind::Own);
        check("shop.py", FileKind::Own);
    }
}
