//! Which function of a process stands at a line of a file: for what names lines and no functions, as `tracemalloc` does.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::layout::{Layout, Missing};
use crate::memory::{Addr, Memory};

use super::code::{Code, Codes};

/// The most functions that are looked through.
const MAX_FUNCTIONS: usize = 1 << 16;

/// The functions of a process.
#[derive(Debug)]
pub struct Functions {
    codes: Codes,
    places: Vec<Addr>,
}

impl Functions {
    /// Those whose code objects a census found.
    pub fn new(layout: &Layout, mut places: Vec<Addr>) -> Result<Functions, Missing> {
        places.truncate(MAX_FUNCTIONS);
        Ok(Functions { codes: Codes::bind(layout)?, places })
    }

    /// The functions that stand at these lines of these files, as far as there are any.
    pub fn at<'l>(
        &mut self,
        memory: &dyn Memory,
        lines: impl Iterator<Item = (&'l str, u32)>,
    ) -> FxHashMap<(&'l str, u32), Code> {
        let wanted: Vec<(&str, u32)> = lines.collect();
        let mut by_file: FxHashMap<&str, Vec<(&Code, FxHashSet<u32>)>> =
            wanted.iter().map(|(file, _)| (*file, Vec::new())).collect();
        for at in &self.places {
            // What was freed meanwhile is no function any more.
            let _ = self.codes.learn(memory, *at);
        }
        for code in self.places.iter().filter_map(|at| self.codes.get(self.codes.last_at(*at)?)) {
            if let Some(functions) = by_file.get_mut(code.filename.as_str()) {
                functions.push((code, code.lines().into_iter().collect()));
            }
        }
        let innermost = |file: &str, line: u32| {
            let within = by_file.get(file)?.iter().filter(|(_, lines)| lines.contains(&line));
            // What a comprehension or a lambda asks for is put down to the function that it is written in.
            let innermost = within.max_by_key(|(code, _)| (!code.name.starts_with('<'), code.first_line));
            innermost.map(|(code, _)| (*code).clone())
        };
        wanted.iter().filter_map(|(file, line)| Some(((*file, *line), innermost(file, *line)?))).collect()
    }
}
