//! Folded stacks: a line a stack, frames from the root and a weight, as flamegraph.pl and its successors read them.

use std::io::{self, Write};

use super::text;
use crate::recording::View;
use crate::recording::tree::{Label, Step, Tree};

/// Writes the view. No stacks are no lines.
pub fn write(view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut out = io::BufWriter::new(out);
    let tree = Tree::of(view);
    let rows: Vec<String> = view.rows().iter().map(|row| frame(&row.text())).collect();
    let mut line = String::new();
    for (step, branch) in tree.walk() {
        let root;
        let text = match &branch.label {
            Label::Row(row) => rows.get(row.index()).map_or("", String::as_str),
            Label::Root(name) => {
                root = frame(name);
                &root
            }
        };
        match step {
            Step::Leave(_) => line.truncate(line.len().saturating_sub(text.len() + 1)),
            Step::Enter(_) => {
                line.push_str(text);
                line.push(';');
                if branch.seen {
                    writeln!(out, "{} {}", line.trim_end_matches(';'), text::whole(view, branch.own))?;
                }
            }
        }
    }
    out.flush()
}

/// A frame as it may stand in a line.
///
/// Semicolons part frames and line ends part stacks. A frame whose last word is a number would be read as the column
/// of a differential profile (py-spy#234), so that number is tied to the word before it;
/// and a line that begins with `#` as a comment.
pub(super) fn frame(text: &str) -> String {
    let text = text::printable(text).replace(';', ",");
    let text = text.trim();
    match text.rsplit_once(' ') {
        _ if text.is_empty() => "?".to_owned(),
        _ if text.starts_with('#') => format!("_{text}"),
        Some((words, last)) if last.parse::<f64>().is_ok() => format!("{words}_{last}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(frame(text), expected);
    }

    #[test]
    fn a_frame_cannot_be_taken_for_more_than_one() {
        check("f (a.py:3)", "f (a.py:3)");
        check("a;b (x\ny.py:3)", "a,b (x\u{fffd}y.py:3)");
        check("worker 12", "worker_12");
        check("worker 1.5", "worker_1.5");
        check("# f (a.py:3)", "_# f (a.py:3)");
        check(" ", "?");
        check("", "?");
        check("naïve счёт (ü.py:1)", "naïve счёт (ü.py:1)");
    }
}
