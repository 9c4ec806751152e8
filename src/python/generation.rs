//! In which of the collector's generations objects are, of a process that holds still: no list can be walked while it changes.

use rustc_hash::FxHashMap;

use crate::layout::{Field, Layout, Missing, fields};
use crate::memory::{Addr, Memory};
use crate::target::Located;

use super::collector::GENERATIONS;
use super::gc::Collectors;

/// What the fact `gc.lists` says where there are as many lists as generations.
const LISTS: &str = "generations";

fields! {
    /// `PyGC_Head`.
    struct HeadFields in "gc_head" {
        size: usize,
        next: Field<Addr>,
    }
}

/// Objects by generation: the last one is the permanent one.
pub type ByGeneration = [u64; GENERATIONS + 1];

/// The objects that are not in the oldest generation: as a rule these are few.
#[derive(Debug, Default)]
pub struct Generations(FxHashMap<u64, u8>);

impl Generations {
    /// Walks the lists of a process, or of a copy of it. `None` where its collectors have none, and while one collects: then
    /// objects are on their way from one list to another.
    pub fn read(memory: &dyn Memory, located: &Located) -> Result<Option<Generations>, Missing> {
        let layout: &Layout = &located.chosen.layout;
        if layout.fact::<String>("gc.lists")? != LISTS {
            return Ok(None);
        }
        let head = HeadFields::bind(layout)?.size as u64;
        let mut collectors = Collectors::bind(located)?;
        if collectors.read(memory).iter().any(|state| state.collecting != Some(false)) {
            return Ok(None);
        }
        let mut found = Generations::default();
        let walked = collectors.members(memory, |generation, at| {
            found.0.insert(at.plus(head).0, generation as u8);
        });
        Ok(walked.map(|()| found))
    }

    /// In which generation a tracked object is.
    pub fn of(&self, object: Addr) -> usize {
        self.0.get(&object.0).map_or(GENERATIONS - 1, |generation| usize::from(*generation))
    }
}
