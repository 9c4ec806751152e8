//! Arrays of numpy: of which shape and type each is, and whether the memory of its elements is its own.

use crate::layout::{Layout, Missing, fields};
use crate::memory::{Addr, Memory};

use super::extent::MAX_PART;
use super::instance::word;
use super::object::Objects;

/// The most dimensions of an array (`NPY_MAXDIMS`: 32 until numpy 1.26, 64 since 2.0).
const MAX_DIMENSIONS: usize = 64;
/// Bytes of the largest element.
const MAX_ITEM: u64 = 1 << 31;
/// What the elements of an array of objects are called.
const OBJECTS: &str = "object_";
/// `NPY_ARRAY_OWNDATA`.
const OWNS: u64 = 4;
// No layout has these: a layout tells of a build of CPython, and one CPython loads any of the numpys that serve it.
/// `PyArrayObject_fields` behind its header, numpy/_core/include/numpy/ndarraytypes.h: the same since numpy 1.7.
const DATA: u64 = 0;
const DIMENSION_COUNT: u64 = 8;
const DIMENSIONS: u64 = 16;
const BASE: u64 = 32;
const DESCRIPTION: u64 = 40;
const FLAGS: u64 = 48;
const ARRAY: usize = 56;
/// `PyArray_Descr` behind its header, the same file. Bytes of an element are an int here until numpy 1.26 …
const SCALAR: u64 = 0;
const INT_SIZE: u64 = 16;
/// … and a word here since 2.0, for flags have taken the place of the int. An element may have none.
const WORD_SIZE: u64 = 24;
/// Which of the two it is, this says: the alignment since 2.0, where numpy 1 has the address of names or nothing.
const ALIGNMENT: u64 = 32;
const TYPE: usize = 40;
/// No element is aligned to more bytes: those of the widest vectors.
const MAX_ALIGNMENT: u64 = 64;

fields! {
    /// `PyObject`, Include/object.h.
    struct ObjectFields in "object" { size: usize }
}

/// How arrays are read.
#[derive(Debug, Clone, Copy)]
pub struct Arrays {
    header: usize,
    objects: Objects,
}

/// An array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    /// Where the object is.
    pub at: Addr,
    /// Where its first element is.
    pub data: Addr,
    /// Where it keeps its shape.
    pub dimensions: Addr,
    /// How many elements it has in each dimension.
    pub shape: Vec<u64>,
    /// What its elements are: `float64`.
    pub dtype: String,
    /// Bytes of all its elements.
    pub bytes: u64,
    /// Whether addresses of objects stand in it.
    pub pointers: bool,
    /// Whether that memory is its own; otherwise it is a view of another's.
    pub owns: bool,
    /// The object whose memory a view looks at.
    pub base: Option<Addr>,
}

impl Arrays {
    /// Binds what the layout says of objects.
    pub fn bind(layout: &Layout) -> Result<Arrays, Missing> {
        Ok(Arrays { header: ObjectFields::bind(layout)?.size, objects: Objects::bind(layout)? })
    }

    /// The array at an address, of which `object` are the first bytes.
    pub fn read(&self, memory: &dyn Memory, at: Addr, object: &[u8]) -> Option<Array> {
        let fields = object.get(self.header..).filter(|fields| fields.len() >= ARRAY)?;
        let address = |offset| Addr(word(fields, offset));
        let dimensions = word(fields, DIMENSION_COUNT) as u32 as usize;
        if dimensions > MAX_DIMENSIONS {
            return None;
        }
        let mut room = [0; MAX_DIMENSIONS * 8];
        let room = &mut room[..dimensions * 8];
        memory.read(address(DIMENSIONS), room).ok().or((dimensions == 0).then_some(()))?;
        let shape: Vec<u64> =
            room.as_chunks::<8>().0.iter().map(|length| u64::from_le_bytes(*length)).collect();
        let (dtype, item) = self.element(memory, address(DESCRIPTION))?;
        let bytes = shape.iter().try_fold(item, |bytes, length| bytes.checked_mul(*length))?;
        let bytes = Some(bytes).filter(|bytes| *bytes < MAX_PART)?;
        Some(Array {
            at,
            data: address(DATA),
            dimensions: address(DIMENSIONS),
            shape,
            bytes,
            pointers: dtype == OBJECTS,
            dtype,
            owns: word(fields, FLAGS) & OWNS != 0,
            base: address(BASE).non_null(),
        })
    }

    /// The name of what elements are, and how many bytes one has.
    fn element(&self, memory: &dyn Memory, description: Addr) -> Option<(String, u64)> {
        let mut fields = [0; TYPE];
        memory.read(description.plus(self.header as u64), &mut fields).ok()?;
        let name = self.objects.type_name(memory, Addr(word(&fields, SCALAR))).ok()?;
        let item = match word(&fields, ALIGNMENT) {
            1..=MAX_ALIGNMENT => word(&fields, WORD_SIZE),
            _ => u64::from(word(&fields, INT_SIZE) as u32),
        };
        let name = name.strip_prefix("numpy.").unwrap_or(&name).to_owned();
        (item <= MAX_ITEM).then_some((name, item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Catalogue;
    use crate::memory::Tape;

    const AT: u64 = 0x10000;
    /// Names are read by the piece.
    const NAME_ROOM: usize = 4096;

    /// Reads an array of these lengths whose description has these words behind its type, kinds and number.
    #[track_caller]
    fn check(lengths: &[u64], description: [u64; 3], expected: Option<u64>) {
        let layout = Catalogue::load(None).unwrap().named("3.11").unwrap().layout.clone();
        let bytes = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let mut tape = Tape::default();
        tape.put(Addr(AT), &bytes(lengths));
        tape.put(Addr(2 * AT), &bytes(&[&[1, 0, 3 * AT, 0][..], &description].concat()));
        tape.put(Addr(3 * AT), &bytes(&[1, 3 * AT, 0, 4 * AT]));
        let mut name = b"numpy.float64".to_vec();
        name.resize(NAME_ROOM, 0);
        tape.put(Addr(4 * AT), &name);
        let object = bytes(&[1, 0, 5 * AT, lengths.len() as u64, AT, 0, 0, 2 * AT, OWNS]);
        let array = Arrays::bind(&layout).unwrap().read(&tape, Addr(AT), &object);
        assert_eq!(array.map(|array| array.bytes), expected);
    }

    #[test]
    fn elements_are_as_long_as_numpy_1_says_or_numpy_2() {
        check(&[2, 3], [8 | 8 << 32, 0, 0], Some(48));
        check(&[2, 3], [8 | 8 << 32, 0, 0x7F00_0000_1000], Some(48));
        check(&[2, 3], [16, 8, 8], Some(48));
        check(&[7], [16, 0, 1], Some(0));
        check(&[], [0, 8, 8], Some(8));
    }

    #[test]
    fn what_no_memory_has_room_for_is_no_array() {
        check(&[1 << 40, 1 << 40], [0, 8, 8], None);
        check(&[MAX_PART / 8], [0, 8, 8], None);
        check(&[1], [0, MAX_ITEM + 1, 8], None);
        check(&[1; MAX_DIMENSIONS + 1], [0, 8, 8], None);
        check(&[1; MAX_DIMENSIONS], [0, 8, 8], Some(8));
    }
}
