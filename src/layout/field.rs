//! Typed offsets, and a struct that was copied in one read.

use std::marker::PhantomData;

use super::{Layout, Missing};
use crate::memory::{Addr, Fault, Memory, Word};

/// No struct of CPython that we read field by field is longer (`PyInterpreterState` is the longest: 383,552 bytes in 3.12).
const MAX_OFFSET: i64 = 1 << 22;
/// A struct whose used fields span more than this is read in pieces, not at once.
const MAX_STRUCT: usize = 4096;

/// Where a value of type `T` lies in its struct.
#[derive(Debug, PartialEq, Eq)]
pub struct Field<T> {
    offset: u32,
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Field<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Field<T> {}

impl<T: Word> Field<T> {
    /// A field at `offset`.
    pub const fn at(offset: u32) -> Field<T> {
        Field { offset, kind: PhantomData }
    }

    /// Its distance from the start of the struct, in bytes.
    pub fn offset(self) -> u64 {
        u64::from(self.offset)
    }

    /// Where it lies for the struct at `base`.
    pub fn of(self, base: Addr) -> Addr {
        base.plus(self.offset())
    }

    /// Reads it alone.
    pub fn read(self, memory: &dyn Memory, base: Addr) -> Result<T, Fault> {
        memory.get(self.of(base))
    }
}

/// A struct of the target, or the part of it that is used, copied in one read: one moment, less torn than field by field.
#[derive(Debug, Clone, Copy)]
pub struct Struct<'a> {
    bytes: &'a [u8],
}

/// Room for one struct on the stack of the reader.
#[derive(Debug)]
pub struct Room([u8; MAX_STRUCT]);

impl Default for Room {
    fn default() -> Room {
        Room([0; MAX_STRUCT])
    }
}

impl<'a> Struct<'a> {
    /// Copies the first `span` bytes of the struct at `base`. A `span` comes from [`fields!`] and never from the target.
    pub fn read(
        memory: &dyn Memory,
        base: Addr,
        span: usize,
        room: &'a mut Room,
    ) -> Result<Struct<'a>, Fault> {
        let bytes = room.0.get_mut(..span).ok_or(Fault { addr: base, len: span })?;
        memory.read(base, bytes)?;
        Ok(Struct { bytes })
    }

    /// A struct whose bytes are here already.
    pub fn over(bytes: &'a [u8]) -> Struct<'a> {
        Struct { bytes }
    }

    /// The value of a field. Fields that were bound with this struct's span always fit.
    pub fn get<T: Word>(&self, field: Field<T>) -> T {
        let from = field.offset as usize;
        T::from_bytes(&self.bytes[from..from + T::SIZE])
    }

    /// The value of a field that not every version has.
    pub fn maybe<T: Word>(&self, field: Option<Field<T>>) -> Option<T> {
        field.map(|field| self.get(field))
    }
}

/// What can be bound from a layout: fields, optional fields and plain numbers.
pub trait Bind: Sized {
    /// Takes `section.key`, checks it, and widens `span` to hold it where it is a field of the struct.
    fn bind(layout: &Layout, section: &str, key: &str, span: &mut usize) -> Result<Self, Missing>;
}

impl<T: Word> Bind for Field<T> {
    fn bind(layout: &Layout, section: &str, key: &str, span: &mut usize) -> Result<Self, Missing> {
        let value = number(layout, section, key)?;
        if !(0..=MAX_OFFSET).contains(&value) {
            return Err(Missing::Absurd {
                layout: layout.name.clone(),
                section: section.into(),
                key: key.into(),
                value,
            });
        }
        *span = (*span).max(value as usize + T::SIZE);
        Ok(Field::at(value as u32))
    }
}

impl Bind for usize {
    fn bind(layout: &Layout, section: &str, key: &str, _: &mut usize) -> Result<Self, Missing> {
        let value = number(layout, section, key)?;
        usize::try_from(value).map_err(|_| Missing::Absurd {
            layout: layout.name.clone(),
            section: section.into(),
            key: key.into(),
            value,
        })
    }
}

impl Bind for i64 {
    fn bind(layout: &Layout, section: &str, key: &str, _: &mut usize) -> Result<Self, Missing> {
        number(layout, section, key)
    }
}

impl<B: Bind> Bind for Option<B> {
    fn bind(layout: &Layout, section: &str, key: &str, span: &mut usize) -> Result<Self, Missing> {
        match layout.key(section, key) {
            Some(_) => B::bind(layout, section, key, span).map(Some),
            None => Ok(None),
        }
    }
}

fn number(layout: &Layout, section: &str, key: &str) -> Result<i64, Missing> {
    layout.key(section, key).ok_or_else(|| Missing::Key {
        layout: layout.name.clone(),
        section: section.into(),
        key: key.into(),
    })
}

/// Declares a reader's view of one struct: the fields that it needs, bound from one section of a layout.
///
/// ```
/// use pitviper::layout::{Field, Layout, fields};
/// use pitviper::memory::Addr;
///
/// fields! {
///     /// `PyThreadState`, Include/cpython/pystate.h.
///     pub struct Thread in "thread" {
///         next: Field<Addr>,
///         native_thread_id: Option<Field<u64>>,
///     }
/// }
///
/// let mut layout = Layout::new("3.13");
/// assert!(Thread::bind(&layout).is_err());
/// layout.set("thread", "next", 8);
/// let thread = Thread::bind(&layout)?;
/// assert_eq!((thread.span, thread.next.offset()), (16, 8));
/// # Ok::<(), pitviper::layout::Missing>(())
/// ```
#[macro_export]
macro_rules! fields {
    ($(#[$doc:meta])* $vis:vis struct $name:ident in $section:literal {
        $($(#[$field_doc:meta])* $field:ident: $kind:ty),* $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        #[allow(missing_docs, dead_code, reason = "the fields bear CPython's own names, and not every reader needs the span")]
        $vis struct $name {
            /// How many bytes from the start of the struct hold all its fields.
            pub span: usize,
            $($(#[$field_doc])* pub $field: $kind,)*
        }

        impl $name {
            /// Binds the fields, or says which one the layout lacks.
            $vis fn bind(layout: &$crate::layout::Layout) -> Result<Self, $crate::layout::Missing> {
                let mut span = 0;
                $(let $field = <$kind as $crate::layout::Bind>::bind(layout, $section, stringify!($field).trim_start_matches("r#"), &mut span)?;)*
                Ok(Self { span, $($field,)* })
            }
        }
    };
}
pub use fields;
