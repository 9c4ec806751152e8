//! The usual objects: most of a heap is of a few types whose objects keep nothing elsewhere, and need but be counted.
//!
//! Design constraint: what is said of an object here is what [`Instances::find`] says of it, only sooner. Whatever is not plain at
//! first sight is left to that.

use super::class::{Class, ClassId, Kind};
use super::extent::Lone;
use super::instance::{Instance, Instances};
use super::pools::Holds;

/// How many types are known by heart; two whose addresses are alike take turns.
const ROWS: usize = 256;
/// Most types begin at a multiple of this.
const ALIGN: u64 = 16;

/// Types that were met, whose objects need but be counted.
#[derive(Debug)]
pub(super) struct Usuals {
    rows: Box<[Usual; ROWS]>,
}

/// Such a type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usual {
    /// Where it is; 0 where there is none.
    address: u64,
    pub(super) class: ClassId,
    /// How many bytes of a block lie before the object.
    pub(super) at: usize,
    pub(super) gc: bool,
    pub(super) kind: Kind,
    pub(super) basicsize: u64,
    pub(super) lone: Lone,
    /// Whether an object of it may hold addresses of others.
    pub(super) leads: bool,
}

impl Usuals {
    /// None is known.
    pub(super) fn new() -> Usuals {
        Usuals { rows: Box::new([Usual::NONE; ROWS]) }
    }

    /// Learns a type by heart.
    pub(super) fn learn(&mut self, id: ClassId, class: &Class, lone: Lone, instances: &Instances) {
        self.rows[row(class.address.0)] = Usual {
            address: class.address.0,
            class: id,
            at: instances.before(class.gc, false),
            gc: class.gc,
            kind: class.kind,
            basicsize: class.basicsize,
            lone,
            leads: class.gc || !class.kind.is_bare(),
        };
    }

    /// The object that fills a block of `size` bytes, where it is plain that it is one of a known type.
    #[inline]
    pub(super) fn find(
        &self,
        instances: &Instances,
        (block, size, holds): (&[u8], u64, Holds),
    ) -> Option<(&Usual, Instance)> {
        let (plain, collected) = match holds {
            Holds::Anything => (true, true),
            Holds::Plain => (true, false),
            Holds::Collected => (false, true),
            Holds::Raw | Holds::PreHeader => return None,
        };
        let usual = match self.at(instances.type_word(block)) {
            Some(usual) if usual.at == 0 => usual,
            _ => {
                self.at(instances.type_word(block.get(instances.before(true, false)..)?)).filter(|usual| {
                    // What would be an object without a collector's head is looked at first.
                    usual.at > 0 && (holds != Holds::Anything || instances.is_linked(block))
                })?
            }
        };
        let allowed = if usual.gc { collected } else { plain };
        let found = instances.plain(usual, block, size)?;
        allowed.then_some((usual, found))
    }

    #[inline]
    fn at(&self, address: u64) -> Option<&Usual> {
        Some(&self.rows[row(address)]).filter(|usual| usual.address == address && address != 0)
    }
}

impl Usual {
    const NONE: Usual = Usual {
        address: 0,
        class: ClassId::NONE,
        at: 0,
        gc: false,
        kind: Kind::Other,
        basicsize: 0,
        lone: Lone::Unknown,
        leads: true,
    };
}

/// Where a type is kept.
fn row(address: u64) -> usize {
    (address / ALIGN) as usize % ROWS
}
