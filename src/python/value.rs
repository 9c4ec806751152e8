//! Values of the target in words: bounded in length, depth and reads, and without what names call secret.

use crate::layout::{Field, Layout, Missing, fields};
use crate::memory::{Addr, Memory, Word};

use super::Unread;
use super::dict::Dicts;
use super::number::Numbers;
use super::object::{Objects, TypeFlag};
use super::secret::{MASK, is_secret};
use super::text::{MAX_CHARACTERS, Text};

/// How deep containers are followed; cycles end there too.
const MAX_DEPTH: usize = 6;
/// A dictionary or set with more places than this is not opened.
const MAX_PLACES: u64 = 1 << 16;
/// `tp_name` of what stands in a set where something was removed.
const DUMMY: &str = "<dummy key> type";

fields! {
    /// `PyVarObject`, Include/object.h.
    struct VarFields in "var" {
        ob_size: Field<i64>,
    }
}

fields! {
    /// `PyListObject`, Include/cpython/listobject.h.
    struct ListFields in "list" {
        item: Field<Addr>,
    }
}

fields! {
    /// `PyTupleObject`, Include/cpython/tupleobject.h.
    struct TupleFields in "tuple" {
        item: Field<Addr>,
    }
}

fields! {
    /// `PySetObject`, Include/cpython/setobject.h.
    struct SetFields in "set" {
        table: Field<Addr>,
        mask: Field<u64>,
        used: Field<u64>,
        entry_key: usize,
        entry_size: usize,
    }
}

fields! {
    /// `PyDictObject`, Include/cpython/dictobject.h.
    struct DictFields in "dict" {
        used: Field<u64>,
    }
}

fields! {
    /// `PyObject`, Include/object.h.
    struct ObjectFields in "object" {
        size: usize,
    }
}

fields! {
    /// `PyInterpreterState`, Include/internal/pycore_interp.h (Include/pystate.h before 3.8).
    struct InterpreterFields in "interp" {
        sysdict: Field<Addr>,
    }
}

/// How the target keeps values.
#[derive(Debug, Clone, Copy)]
pub struct Values {
    objects: Objects,
    numbers: Numbers,
    text: Text,
    dicts: Dicts,
    var: VarFields,
    list: ListFields,
    tuple: TupleFields,
    set: SetFields,
    dict: DictFields,
    object: ObjectFields,
    interpreter: InterpreterFields,
    /// Whether bytes are what is called `str`.
    bytes_are_text: bool,
}

/// Words that grow up to a limit.
struct Words {
    text: String,
    left: usize,
}

impl Values {
    /// Binds what the layout says of values.
    pub fn bind(layout: &Layout) -> Result<Values, Missing> {
        Ok(Values {
            objects: Objects::bind(layout)?,
            numbers: Numbers::bind(layout)?,
            text: Text::bind(layout)?,
            dicts: Dicts::bind(layout)?,
            var: VarFields::bind(layout)?,
            list: ListFields::bind(layout)?,
            tuple: TupleFields::bind(layout)?,
            set: SetFields::bind(layout)?,
            dict: DictFields::bind(layout)?,
            object: ObjectFields::bind(layout)?,
            interpreter: InterpreterFields::bind(layout)?,
            bytes_are_text: layout.fact::<String>("text.kind")? == "py2",
        })
    }

    /// Takes in what an interpreter says of its build that no layout knows.
    pub fn learn(&mut self, memory: &dyn Memory, interpreter: Addr) {
        if self.text.wants_maxunicode()
            && let Ok(sys) = self.interpreter.sysdict.read(memory, interpreter)
            && let Ok(Some(most)) = self.dicts.get(memory, sys, "maxunicode", MAX_PLACES)
            && let Ok(most) = self.objects.int(memory, most)
        {
            self.text.set_maxunicode(most);
        }
    }

    /// A value in at most `limit` characters and what marks that there is more.
    pub fn words(&self, memory: &dyn Memory, value: Addr, limit: usize) -> String {
        let mut words = Words { text: String::new(), left: limit };
        self.write(memory, value, 0, &mut words);
        words.text
    }

    fn write(&self, memory: &dyn Memory, value: Addr, depth: usize, words: &mut Words) {
        if self.try_write(memory, value, depth, words).is_err() {
            words.push(&format!("<unreadable at {value}>"));
        }
    }

    fn try_write(
        &self,
        memory: &dyn Memory,
        value: Addr,
        depth: usize,
        words: &mut Words,
    ) -> Result<(), Unread> {
        let class = self.objects.type_of(memory, value)?;
        let name = self.objects.type_name(memory, class)?;
        let flags = self.objects.flags(memory, class)?;
        match name.as_str() {
            "NoneType" => words.push("None"),
            "bool" => words.push(if self.objects.int(memory, value)? == 0 { "False" } else { "True" }),
            "ellipsis" => words.push("Ellipsis"),
            "float" => words.push(&self.numbers.float(memory, value)?),
            "set" => self.set(memory, value, depth, ("{", "}"), words)?,
            "frozenset" => self.set(memory, value, depth, ("frozenset({", "})"), words)?,
            "int" if flags.has(TypeFlag::Int) => words.push(&self.objects.int(memory, value)?.to_string()),
            "int" | "long" => words.push(&self.numbers.int(memory, value)?),
            "list" => self.list(memory, value, depth, words)?,
            "tuple" => self.tuple(memory, value, depth, words)?,
            "dict" => self.dict(memory, value, depth, words)?,
            "str" | "unicode" if flags.has(TypeFlag::Unicode) || self.bytes_are_text => {
                words.quote("", self.text.read(memory, value)?.chars());
            }
            "bytes" => self.bytes(memory, value, words)?,
            _ => match self.scalar(memory, value, &name)? {
                Some(number) => words.push(&number),
                None => words.push(&format!("<{name} at {value}>")),
            },
        }
        Ok(())
    }

    /// A scalar of numpy's, which stands behind the head of its object.
    fn scalar(&self, memory: &dyn Memory, value: Addr, name: &str) -> Result<Option<String>, Unread> {
        let Some(kind) = name.strip_prefix("numpy.") else { return Ok(None) };
        let at = value.plus(self.object.size as u64);
        Ok(Some(match kind {
            "bool" | "bool_" => if memory.get::<u8>(at)? == 0 { "False" } else { "True" }.to_owned(),
            "int8" => memory.get::<i8>(at)?.to_string(),
            "uint8" => memory.get::<u8>(at)?.to_string(),
            "int16" => memory.get::<i16>(at)?.to_string(),
            "uint16" => memory.get::<u16>(at)?.to_string(),
            "int32" => memory.get::<i32>(at)?.to_string(),
            "uint32" => memory.get::<u32>(at)?.to_string(),
            "int64" | "longlong" => memory.get::<i64>(at)?.to_string(),
            "uint64" | "ulonglong" => memory.get::<u64>(at)?.to_string(),
            "float32" => f32::from_bits(memory.get::<u32>(at)?).to_string(),
            "float64" => super::number::float(memory.get::<f64>(at)?),
            _ => return Ok(None),
        }))
    }

    fn bytes(&self, memory: &dyn Memory, value: Addr, words: &mut Words) -> Result<(), Unread> {
        let length = self.text.bytes_length(memory, value)?;
        if length > MAX_CHARACTERS as u64 {
            words.push(&format!("<bytes of {length} bytes>"));
            return Ok(());
        }
        let bytes = self.text.bytes(memory, value, MAX_CHARACTERS)?;
        words.quote("b", bytes.into_iter().map(char::from));
        Ok(())
    }

    fn list(&self, memory: &dyn Memory, value: Addr, depth: usize, words: &mut Words) -> Result<(), Unread> {
        let length = self.length(memory, value)?;
        let items = self.list.item.read(memory, value)?;
        self.items(memory, (items, length), depth, ("[", "]"), words)
    }

    fn tuple(&self, memory: &dyn Memory, value: Addr, depth: usize, words: &mut Words) -> Result<(), Unread> {
        let length = self.length(memory, value)?;
        let close = if length == 1 { ",)" } else { ")" };
        self.items(memory, (self.tuple.item.of(value), length), depth, ("(", close), words)
    }

    fn length(&self, memory: &dyn Memory, value: Addr) -> Result<u64, Unread> {
        u64::try_from(self.var.ob_size.read(memory, value)?).map_err(|_| Unread::Garbage("a length"))
    }

    /// Values side by side. Each takes at least a character and what stands between, so a limit of words is one of reads.
    fn items(
        &self,
        memory: &dyn Memory,
        (at, length): (Addr, u64),
        depth: usize,
        (open, close): (&str, &str),
        words: &mut Words,
    ) -> Result<(), Unread> {
        words.push(open);
        for place in 0..length {
            if !words.goes_on(place > 0, depth) {
                break;
            }
            let item: Addr = memory.get(at.plus(place * Addr::SIZE as u64))?;
            self.write(memory, item, depth + 1, words);
        }
        words.end(close);
        Ok(())
    }

    fn dict(&self, memory: &dyn Memory, value: Addr, depth: usize, words: &mut Words) -> Result<(), Unread> {
        let used = self.dict.used.read(memory, value)?;
        let Ok(pairs) = self.dicts.pairs(memory, value, MAX_PLACES) else {
            words.push(&format!("<dict of {used} items>"));
            return Ok(());
        };
        words.push("{");
        for (place, (key, item)) in pairs.into_iter().enumerate() {
            if !words.goes_on(place > 0, depth) {
                break;
            }
            self.write(memory, key, depth + 1, words);
            words.push(": ");
            if self.is_secret(memory, key) {
                words.push(MASK);
            } else {
                self.write(memory, item, depth + 1, words);
            }
        }
        words.end("}");
        Ok(())
    }

    /// Whether a key is a string that names a secret.
    fn is_secret(&self, memory: &dyn Memory, key: Addr) -> bool {
        let named = |class| self.objects.type_name(memory, class).ok();
        let class = self.objects.type_of(memory, key).ok().and_then(named);
        matches!(class.as_deref(), Some("str" | "unicode" | "bytes"))
            && self.text.read(memory, key).is_ok_and(|name| is_secret(&name))
    }

    fn set(
        &self,
        memory: &dyn Memory,
        value: Addr,
        depth: usize,
        (open, close): (&str, &str),
        words: &mut Words,
    ) -> Result<(), Unread> {
        let used = self.set.used.read(memory, value)?;
        let places = self.set.mask.read(memory, value)?.saturating_add(1);
        if used == 0 {
            words.push(if open == "{" { "set()" } else { "frozenset()" });
            return Ok(());
        }
        if places > MAX_PLACES {
            words.push(&format!("<set of {used} items>"));
            return Ok(());
        }
        let table =
            memory.bytes(self.set.table.read(memory, value)?, places as usize * self.set.entry_size)?;
        let keys = table.chunks_exact(self.set.entry_size).filter_map(|entry| {
            Addr::from_bytes(entry.get(self.set.entry_key..self.set.entry_key + Addr::SIZE)?).non_null()
        });
        words.push(open);
        let mut shown = 0;
        for key in keys {
            if self.is_dummy(memory, key) {
                continue;
            }
            if !words.goes_on(shown > 0, depth) {
                break;
            }
            self.write(memory, key, depth + 1, words);
            shown += 1;
        }
        words.end(close);
        Ok(())
    }

    /// What was removed from a set leaves a mark: in Python 3 an object of a type of its own, in Python 2 a certain string.
    fn is_dummy(&self, memory: &dyn Memory, key: Addr) -> bool {
        let class = self.objects.type_of(memory, key).ok();
        let name = class.and_then(|class| self.objects.type_name(memory, class).ok());
        name.as_deref() == Some(DUMMY) || self.bytes_are_text && self.text.is(memory, key, "<dummy key>")
    }
}

impl Words {
    /// Whether a container of this depth goes on, behind another item or not; if it does not, says that there is more.
    fn goes_on(&mut self, behind: bool, depth: usize) -> bool {
        let between = if behind { ", " } else { "" };
        let goes_on = depth < MAX_DEPTH && self.left > between.len();
        self.end(between);
        if !goes_on {
            self.end("...");
        }
        goes_on
    }

    /// Adds a text that is shown whole once it is begun, so the limit may be passed by its length.
    fn push(&mut self, text: &str) {
        if self.left > 0 {
            self.end(text);
        }
    }

    /// Adds what ends something, whether or not there is room.
    fn end(&mut self, text: &str) {
        self.text += text;
        self.left = self.left.saturating_sub(text.chars().count());
    }

    /// Adds characters in quotes, as many as there is room for.
    fn quote(&mut self, prefix: &str, characters: impl Iterator<Item = char>) {
        if self.left == 0 {
            return;
        }
        self.end(prefix);
        self.end("\"");
        for character in characters {
            if self.left == 0 {
                self.end("...");
                break;
            }
            match character {
                '"' => self.end("\\\""),
                '\\' => self.end("\\\\"),
                '\n' => self.end("\\n"),
                '\r' => self.end("\\r"),
                '\t' => self.end("\\t"),
                c if c.is_control() && (c as u32) < 0x100 => self.end(&format!("\\x{:02x}", c as u32)),
                c if prefix == "b" && !c.is_ascii() => self.end(&format!("\\x{:02x}", c as u32)),
                c => self.end(c.encode_utf8(&mut [0; 4])),
            }
        }
        self.end("\"");
    }
}
