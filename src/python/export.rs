//! Whose memory memoryviews show: the objects that export it.

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

use crate::layout::{Field, Layout, Missing, fields};
use crate::memory::{Addr, Memory};

use super::class::{ClassId, Classes};
use super::instance::word;

/// The most objects that are remembered to export memory.
const MAX_EXPORTERS: usize = 1 << 16;
/// `_Py_MEMORYVIEW_RELEASED`, Include/cpython/memoryobject.h.
const RELEASED: u64 = 1;
/// No view is longer.
const MAX_LENGTH: u64 = 1 << 44;

fields! {
    /// `PyMemoryViewObject`, Include/memoryobject.h.
    struct ViewFields in "memoryview" {
        view: usize,
        /// Python 2 releases none.
        flags: Option<Field<i32>>,
    }
}
fields! {
    /// `Py_buffer`, Include/pybuffer.h.
    struct BufferFields in "buffer" { obj: Field<Addr>, len: Field<u64> }
}

/// How memoryviews say it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exports {
    view: ViewFields,
    buffer: BufferFields,
}

/// An object whose memory memoryviews show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exporter {
    /// Where it is.
    pub at: Addr,
    /// How many memoryviews show memory of its.
    pub views: u64,
    /// How many bytes the one shows that shows most.
    pub bytes: u64,
}

/// The exporters that were met, by address: how many views of each, and the bytes of the longest.
#[derive(Debug, Default)]
pub(super) struct Exporters(FxHashMap<Addr, (u64, u64)>);

impl Exports {
    /// Binds what the layout says of memoryviews.
    pub(super) fn bind(layout: &Layout) -> Result<Exports, Missing> {
        Ok(Exports { view: ViewFields::bind(layout)?, buffer: BufferFields::bind(layout)? })
    }

    /// Takes in a memoryview, by its first bytes, and says how many bytes it shows; nothing of one that was released, which still has
    /// the address of what it showed.
    pub(super) fn add(&self, view: &[u8], exporters: &mut Exporters) -> Option<u64> {
        if self.view.flags.is_some_and(|flags| word(view, flags.offset()) & RELEASED != 0) {
            return None;
        }
        let field = |offset: u64| word(view, self.view.view as u64 + offset);
        let length = Some(field(self.buffer.len.offset())).filter(|length| *length < MAX_LENGTH).unwrap_or(0);
        let at = Addr(field(self.buffer.obj.offset()));
        if !at.is_null() && (exporters.0.len() < MAX_EXPORTERS || exporters.0.contains_key(&at)) {
            let (views, longest) = exporters.0.entry(at).or_default();
            *views += 1;
            *longest = (*longest).max(length);
        }
        Some(length)
    }
}

impl Exporters {
    /// All of them with their types, those that show most first.
    pub(super) fn all(self, memory: &dyn Memory, classes: &mut Classes) -> Vec<(Exporter, ClassId)> {
        let mut all: Vec<(Exporter, ClassId)> = Vec::with_capacity(self.0.len());
        for (at, (views, bytes)) in self.0 {
            let class = classes.type_of(memory, at).ok().and_then(|class| classes.id(memory, class));
            all.extend(class.map(|class| (Exporter { at, views, bytes }, class)));
        }
        all.sort_by_key(|(exporter, _)| (Reverse(exporter.bytes), exporter.at));
        all
    }
}
