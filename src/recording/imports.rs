//! Import time as a tree: what importing each module took, by itself and with all that it imported in turn.

use std::collections::HashSet;

use rustc_hash::FxHashMap;

use super::module;
use super::options::{By, ViewOptions};
use super::tables::Recording;
use super::view::{Node, Row, View, ViewError};
use crate::model::FrameKind;

/// What stands for finding modules, reading and compiling them, before their own code runs: no stack says for which one.
pub const FINDING: &str = "(finding and loading)";
/// What the code of a module is called.
pub(super) const BODY: &str = "<module>";
/// Where Python 3 keeps the code that imports; in Python 2 it is compiled, and leaves no frames.
pub(super) const MACHINERY: &str = "<frozen importlib";

/// A module that was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name, as far as its file says it.
    pub name: String,
    /// Which one imported it; always of a smaller index.
    pub parent: Option<usize>,
    /// How many import each other above it.
    pub depth: usize,
    /// What its own code took, in the unit of the view.
    pub own: u64,
    /// The same, with all that it imported.
    pub total: u64,
}

/// All modules that were imported while a recording was made.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Imports {
    modules: Vec<Module>,
}

/// Where a frame stands: below which module, and whether that is still being found and loaded.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    module: Option<usize>,
    finding: bool,
}

impl Imports {
    /// Adds up a recording, as it is looked at; threads that wait are counted too, for they hold an import up.
    pub fn of(recording: &Recording, options: &ViewOptions) -> Result<Imports, ViewError> {
        let options = ViewOptions {
            by: By::Line,
            idle: true,
            threads: false,
            full_filenames: true,
            no_line_numbers: true,
            collapse_recursion: false,
            exclude: Vec::new(),
            no_gc: true,
            ..options.clone()
        };
        let view = View::new(recording, &options)?;
        let paths = recording.files.iter().map(|file| recording.string(file.path));
        let packages = module::packages(paths);
        let visible = view.rows().iter().any(is_machinery);
        let mut imports = Imports::default();
        let mut known = FxHashMap::default();
        let mut places: Vec<Place> = Vec::with_capacity(view.nodes().len());
        for node in view.nodes() {
            let caller = node.parent.and_then(|parent| places.get(parent.index())).copied();
            places.push(match view.row(node.row) {
                Some(row) => imports.place(&mut known, &packages, (node, row), caller, visible),
                None => caller.unwrap_or_default(),
            });
        }
        for stack in view.stacks() {
            let Some(place) = places.get(stack.node.index()) else { continue };
            let module = match (place.module, place.finding) {
                (None, false) => continue,
                (Some(module), false) => module,
                (module, true) => imports.child(&mut known, module, FINDING),
            };
            if let Some(module) = imports.modules.get_mut(module) {
                module.own = module.own.saturating_add(stack.weight);
            }
        }
        imports.add_up();
        Ok(imports)
    }

    /// The modules as a tree: each before those that it imported, the slowest first.
    pub fn walk(&self) -> impl Iterator<Item = &Module> {
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); self.modules.len()];
        let mut open = Vec::new();
        for (index, module) in self.modules.iter().enumerate() {
            match module.parent.and_then(|parent| children.get_mut(parent)) {
                Some(siblings) => siblings.push(index),
                None => open.push(index),
            }
        }
        // What is taken from the end comes first.
        let slowest_last = |list: &mut Vec<usize>| {
            list.sort_by(|a, b| {
                let (a, b) = (self.modules.get(*a), self.modules.get(*b));
                let key = |module: Option<&Module>| module.map(|module| module.total);
                let name = |module: Option<&Module>| module.map(|module| module.name.clone());
                key(a).cmp(&key(b)).then_with(|| name(b).cmp(&name(a)))
            });
        };
        slowest_last(&mut open);
        std::iter::from_fn(move || {
            let index = open.pop()?;
            let mut below = children.get_mut(index).map(std::mem::take).unwrap_or_default();
            slowest_last(&mut below);
            open.append(&mut below);
            self.modules.get(index)
        })
    }

    fn place(
        &mut self,
        known: &mut FxHashMap<(Option<usize>, String), usize>,
        packages: &HashSet<String>,
        (node, row): (&Node, &Row),
        caller: Option<Place>,
        visible: bool,
    ) -> Place {
        let before = caller.unwrap_or_default();
        if row.kind != FrameKind::Python {
            return before;
        }
        if is_machinery(row) {
            return Place { finding: true, ..before };
        }
        let imported = if visible { before.finding } else { node.parent.is_some() };
        let file = row.file.as_deref().unwrap_or_default();
        if row.name == BODY && imported && module::is_file(file) {
            let name = module::name(file, packages);
            return Place { module: Some(self.child(known, before.module, &name)), finding: false };
        }
        before
    }

    fn child(
        &mut self,
        known: &mut FxHashMap<(Option<usize>, String), usize>,
        parent: Option<usize>,
        name: &str,
    ) -> usize {
        *known.entry((parent, name.to_owned())).or_insert_with(|| {
            let depth = parent.and_then(|parent| self.modules.get(parent)).map_or(0, |above| above.depth + 1);
            self.modules.push(Module { name: name.to_owned(), parent, depth, own: 0, total: 0 });
            self.modules.len() - 1
        })
    }

    /// Adds what each module took to those that imported it; what took nothing was seen by no sample of the view.
    fn add_up(&mut self) {
        for index in (0..self.modules.len()).rev() {
            let Some(module) = self.modules.get_mut(index) else { continue };
            module.total = module.total.saturating_add(module.own);
            let (parent, total) = (module.parent, module.total);
            if let Some(parent) = parent.and_then(|parent| self.modules.get_mut(parent)) {
                parent.total = parent.total.saturating_add(total);
            }
        }
    }
}

fn is_machinery(row: &Row) -> bool {
    row.file.as_deref().is_some_and(|file| file.starts_with(MACHINERY))
}
