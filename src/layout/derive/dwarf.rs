//! The types of a program as its DWARF tells them: structs by name, members by path, sizes, enumerators.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use gimli::{AttributeValue, EndianSlice, LittleEndian, UnitOffset, constants as dw};
use object::{Object, ObjectSection};

/// Anonymous structs in structs, typedefs of typedefs: nothing of CPython nests deeper.
const MAX_DEPTH: usize = 32;

type Bytes<'d> = EndianSlice<'d, LittleEndian>;
type Unit<'d> = gimli::Unit<Bytes<'d>>;

/// The DWARF sections of a file, decompressed.
#[derive(Debug)]
pub struct Sections<'f>(gimli::DwarfSections<Cow<'f, [u8]>>);

/// All types of a program that have a name.
#[derive(Debug)]
pub struct Types<'d> {
    dwarf: gimli::Dwarf<Bytes<'d>>,
    units: Vec<Unit<'d>>,
    typedefs: HashMap<&'d [u8], Vec<Entry>>,
    /// Structs and unions that are complete, by tag.
    tags: HashMap<&'d [u8], Vec<Entry>>,
    enumerators: BTreeMap<String, i64>,
    members: RefCell<HashMap<Entry, Rc<Vec<Member<'d>>>>>,
    definitions: RefCell<HashMap<String, Rc<Vec<Entry>>>>,
}

/// A path that leads to something, and what its definitions say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What the first definition says.
    pub value: i64,
    /// What others say that differ: units of a program can be built apart.
    pub others: Vec<i64>,
}

/// A member of a struct, and its own members, all with their positions from the start of the outermost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its position, in bytes.
    pub position: u64,
    /// Its members, if it is a struct.
    pub fields: Vec<(String, u64)>,
}

/// DWARF that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BadDwarf {
    /// The file has none.
    #[error("it has no .debug_info")]
    None,
    /// A section cannot be decompressed.
    #[error("section {section}: {reason}")]
    Section {
        /// Which section.
        section: &'static str,
        /// What is wrong.
        reason: object::Error,
    },
    /// Its entries are broken.
    #[error(transparent)]
    Entries(#[from] gimli::Error),
}

/// A debugging information entry: which unit, and where in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Entry {
    unit: usize,
    at: UnitOffset,
}

#[derive(Debug, Clone)]
struct Member<'d> {
    /// `None` for an anonymous struct or union, whose members count as members of the outer one.
    name: Option<&'d [u8]>,
    /// In bytes; of a bit field, the byte that its first bit lies in.
    offset: u64,
    /// First bit, from the start of the struct that it stands in, and number of bits.
    bits: Option<(u64, u64)>,
    kind: Option<Entry>,
}

/// Where a path has led so far.
struct Place {
    offset: u64,
    bits: Option<(u64, u64)>,
    kind: Option<Entry>,
}

impl<'f> Sections<'f> {
    /// Reads and decompresses the sections of `file`.
    pub fn load(file: &object::File<'f>) -> Result<Sections<'f>, BadDwarf> {
        if file.section_by_name(".debug_info").is_none() {
            return Err(BadDwarf::None);
        }
        let load = |id: gimli::SectionId| match file.section_by_name(id.name()) {
            Some(section) => {
                section.uncompressed_data().map_err(|reason| BadDwarf::Section { section: id.name(), reason })
            }
            None => Ok(Cow::Borrowed(&[][..])),
        };
        Ok(Sections(gimli::DwarfSections::load(load)?))
    }
}

impl<'d> Types<'d> {
    /// Goes through all units once and notes the names; `wanted` are the beginnings of enumerators' names.
    pub fn index(sections: &'d Sections<'_>, wanted: &[&str]) -> Result<Types<'d>, BadDwarf> {
        let dwarf = sections.0.borrow(|section| EndianSlice::new(section, LittleEndian));
        let mut types = Types {
            dwarf,
            units: Vec::new(),
            typedefs: HashMap::new(),
            tags: HashMap::new(),
            enumerators: BTreeMap::new(),
            members: RefCell::default(),
            definitions: RefCell::default(),
        };
        let mut headers = types.dwarf.units();
        while let Some(header) = headers.next()? {
            let unit = types.dwarf.unit(header)?;
            types.units.push(unit);
        }
        for unit in 0..types.units.len() {
            types.index_unit(unit, wanted)?;
        }
        Ok(types)
    }

    fn index_unit(&mut self, index: usize, wanted: &[&str]) -> Result<(), BadDwarf> {
        let unit = &self.units[index];
        let mut entries = unit.header.entries_raw(&unit.abbreviations, None)?;
        // Enumerators of the enumeration that was met last; they lie one level below it.
        let mut in_enumeration = false;
        while !entries.is_empty() {
            let (at, depth) = (entries.next_offset(), entries.next_depth());
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            let tag = abbreviation.tag();
            let named = match (depth, tag) {
                (1, _) => {
                    in_enumeration = tag == dw::DW_TAG_enumeration_type;
                    matches!(tag, dw::DW_TAG_typedef | dw::DW_TAG_structure_type | dw::DW_TAG_union_type)
                }
                (2, dw::DW_TAG_enumerator) => in_enumeration,
                _ => false,
            };
            if !named {
                entries.skip_attributes(abbreviation.attributes())?;
                continue;
            }
            let (mut name, mut value, mut declared) = (None, None, false);
            for spec in abbreviation.attributes() {
                let attribute = entries.read_attribute(*spec)?;
                match attribute.name() {
                    dw::DW_AT_name => name = self.dwarf.attr_string(unit, attribute.value()).ok(),
                    dw::DW_AT_const_value => value = signed(&attribute.value()),
                    dw::DW_AT_declaration => declared = attribute.value() == AttributeValue::Flag(true),
                    _ => {}
                }
            }
            let Some(name) = name else { continue };
            let entry = Entry { unit: index, at };
            match tag {
                dw::DW_TAG_typedef => self.typedefs.entry(name.slice()).or_default().push(entry),
                dw::DW_TAG_enumerator => {
                    let name = String::from_utf8_lossy(name.slice());
                    if let Some(value) =
                        value.filter(|_| wanted.iter().any(|prefix| name.starts_with(prefix)))
                    {
                        self.enumerators.entry(name.into_owned()).or_insert(value);
                    }
                }
                _ if declared => {}
                _ => self.tags.entry(name.slice()).or_default().push(entry),
            }
        }
        Ok(())
    }

    /// The enumerators whose names begin as was asked.
    pub fn enumerators(&self) -> &BTreeMap<String, i64> {
        &self.enumerators
    }

    /// What a path of [`super::keys`] leads to, if it leads anywhere.
    pub fn find(&self, path: &str) -> Result<Option<Found>, BadDwarf> {
        let mut values = Vec::new();
        let (name, rest) = match path.split_once(['.', '#']) {
            Some((name, rest)) => (name, rest),
            None => return Ok(None),
        };
        for &entry in self.definitions(name)?.iter() {
            let value = if path.as_bytes().get(name.len()) == Some(&b'#') {
                self.size(Some(entry), 0)?
            } else {
                self.follow(entry, rest)?
            };
            values.extend(value.and_then(|value| i64::try_from(value).ok()));
        }
        let mut values = values.into_iter();
        let Some(value) = values.next() else { return Ok(None) };
        let mut others: Vec<i64> = values.filter(|other| *other != value).collect();
        others.dedup();
        Ok(Some(Found { value, others }))
    }

    /// The members of a struct, each with its offset, and the members of those that are structs themselves.
    pub fn groups(&self, name: &str) -> Result<Vec<Group>, BadDwarf> {
        let mut groups = Vec::new();
        let Some(&entry) = self.definitions(name)?.first() else { return Ok(groups) };
        for member in self.members(entry)?.iter() {
            let Some(name) = member.name else { continue };
            let mut fields = Vec::new();
            if let Some(kind) = self.plain(member.kind)? {
                for field in self.members(kind)?.iter() {
                    let Some(name) = field.name else { continue };
                    let position = member.offset.saturating_add(field.offset);
                    fields.push((String::from_utf8_lossy(name).into_owned(), position));
                }
            }
            groups.push(Group {
                name: String::from_utf8_lossy(name).into_owned(),
                position: member.offset,
                fields,
            });
        }
        Ok(groups)
    }

    /// The complete definitions of a type, one of each that differ in size or members.
    fn definitions(&self, name: &str) -> Result<Rc<Vec<Entry>>, BadDwarf> {
        if let Some(known) = self.definitions.borrow().get(name) {
            return Ok(Rc::clone(known));
        }
        let mut all = Vec::new();
        if let Some(tag) = name.strip_prefix("struct ") {
            all.extend(self.tags.get(tag.as_bytes()).into_iter().flatten().copied());
        } else {
            for &typedef in self.typedefs.get(name.as_bytes()).into_iter().flatten() {
                let Some(entry) = self.plain(Some(typedef))? else { continue };
                all.push(entry);
            }
            // Where a unit only declares the struct that the typedef names, another one defines it.
            let mut complete = Vec::new();
            for entry in all {
                match self.declared(entry)? {
                    Some(tag) => complete.extend(self.tags.get(tag).into_iter().flatten().copied()),
                    None => complete.push(entry),
                }
            }
            all = complete;
        }
        let mut shapes = Vec::new();
        let mut different = Vec::new();
        for entry in all {
            let members = self.members(entry)?;
            let shape: Vec<_> =
                members.iter().map(|member| (member.name, member.offset, member.bits)).collect();
            let shape = (self.size(Some(entry), 0)?, shape);
            if !shapes.contains(&shape) {
                shapes.push(shape);
                different.push(entry);
            }
        }
        let different = Rc::new(different);
        self.definitions.borrow_mut().insert(name.to_owned(), Rc::clone(&different));
        Ok(different)
    }

    /// The tag of a struct that is only declared here.
    fn declared(&self, entry: Entry) -> Result<Option<&'d [u8]>, BadDwarf> {
        let unit = &self.units[entry.unit];
        let die = unit.entry(entry.at)?;
        if die.attr_value(dw::DW_AT_declaration) != Some(AttributeValue::Flag(true)) {
            return Ok(None);
        }
        let Some(name) = die.attr_value(dw::DW_AT_name) else { return Ok(None) };
        Ok(Some(self.dwarf.attr_string(unit, name)?.slice()))
    }

    /// Goes along `a.b[0].c@what` from a struct.
    fn follow(&self, start: Entry, path: &str) -> Result<Option<u64>, BadDwarf> {
        let (path, what) = path.split_once('@').unwrap_or((path, ""));
        let mut place = Place { offset: 0, bits: None, kind: Some(start) };
        for step in path.split('.') {
            let (name, element) = step.strip_suffix("[0]").map_or((step, false), |name| (name, true));
            let Some(kind) = self.plain(place.kind)? else { return Ok(None) };
            let Some((offset, bits, kind)) = self.member(kind, name.as_bytes(), 0)? else { return Ok(None) };
            place = Place { offset: place.offset.saturating_add(offset), bits, kind };
            if element {
                place.kind = match self.array(place.kind)? {
                    Some((element, _)) => element,
                    None => return Ok(None),
                };
            }
        }
        Ok(match what {
            "size" => self.size(place.kind, 0)?,
            "count" => self.array(place.kind)?.map(|(_, count)| count),
            "bit" => place.bits.map(|(bit, _)| bit),
            "bits" => place.bits.map(|(_, bits)| bits),
            _ => Some(place.offset),
        })
    }

    /// A member by name, also inside anonymous structs and unions: offset, bits, type.
    #[expect(clippy::type_complexity, reason = "three things that are only said once")]
    fn member(
        &self,
        of: Entry,
        name: &[u8],
        depth: usize,
    ) -> Result<Option<(u64, Option<(u64, u64)>, Option<Entry>)>, BadDwarf> {
        for member in self.members(of)?.iter() {
            if member.name == Some(name) {
                return Ok(Some((member.offset, member.bits, member.kind)));
            }
            if member.name.is_some() || depth == MAX_DEPTH {
                continue;
            }
            let Some(inner) = self.plain(member.kind)? else { continue };
            if let Some((offset, bits, kind)) = self.member(inner, name, depth + 1)? {
                let bits =
                    bits.map(|(bit, count)| (member.offset.saturating_mul(8).saturating_add(bit), count));
                return Ok(Some((member.offset.saturating_add(offset), bits, kind)));
            }
        }
        Ok(None)
    }

    fn members(&self, of: Entry) -> Result<Rc<Vec<Member<'d>>>, BadDwarf> {
        if let Some(known) = self.members.borrow().get(&of) {
            return Ok(Rc::clone(known));
        }
        let unit = &self.units[of.unit];
        let mut entries = unit.header.entries_raw(&unit.abbreviations, Some(of.at))?;
        let mut members = Vec::new();
        while !entries.is_empty() {
            let depth = entries.next_depth();
            if depth <= 0 && entries.next_offset() != of.at {
                break;
            }
            let Some(abbreviation) = entries.read_abbreviation()? else { continue };
            if depth == 0 && !abbreviation.has_children() {
                break;
            }
            if depth != 1 || abbreviation.tag() != dw::DW_TAG_member {
                entries.skip_attributes(abbreviation.attributes())?;
                continue;
            }
            let mut member = Member { name: None, offset: 0, bits: None, kind: None };
            let (mut size, mut bit_size, mut bit, mut from_top) = (None, None, None, None);
            for spec in abbreviation.attributes() {
                let attribute = entries.read_attribute(*spec)?;
                let value = attribute.value();
                match attribute.name() {
                    dw::DW_AT_name => member.name = Some(self.dwarf.attr_string(unit, value)?.slice()),
                    dw::DW_AT_data_member_location => member.offset = value.udata_value().unwrap_or(0),
                    dw::DW_AT_byte_size => size = value.udata_value(),
                    dw::DW_AT_bit_size => bit_size = value.udata_value(),
                    dw::DW_AT_data_bit_offset => bit = value.udata_value(),
                    dw::DW_AT_bit_offset => from_top = value.udata_value(),
                    dw::DW_AT_type => member.kind = self.reference(of.unit, value),
                    _ => {}
                }
            }
            if let Some(bits) = bit_size {
                // DWARF 2 and 3 count from the most significant bit of the storage unit.
                let storage = size.or(self.size(member.kind, 0)?).unwrap_or(0).saturating_mul(8);
                let byte = member.offset.saturating_mul(8);
                let old = from_top
                    .and_then(|top| byte.saturating_add(storage).checked_sub(top.saturating_add(bits)));
                let bit = bit.or(old).unwrap_or(byte);
                (member.offset, member.bits) = (bit / 8, Some((bit, bits)));
            }
            members.push(member);
        }
        let members = Rc::new(members);
        self.members.borrow_mut().insert(of, Rc::clone(&members));
        Ok(members)
    }

    fn reference(&self, unit: usize, value: AttributeValue<Bytes<'d>>) -> Option<Entry> {
        match value {
            AttributeValue::UnitRef(at) => Some(Entry { unit, at }),
            AttributeValue::DebugInfoRef(offset) => {
                let after =
                    |unit: &Unit<'_>| unit.header.debug_info_offset().is_some_and(|start| start <= offset);
                let unit = self.units.partition_point(after).checked_sub(1)?;
                let at = offset.to_unit_offset(&self.units[unit].header)?;
                Some(Entry { unit, at })
            }
            _ => None,
        }
    }

    fn target(&self, of: Entry) -> Result<Option<Entry>, BadDwarf> {
        let die = self.units[of.unit].entry(of.at)?;
        Ok(die.attr_value(dw::DW_AT_type).and_then(|value| self.reference(of.unit, value)))
    }

    /// The type behind typedefs and qualifiers.
    fn plain(&self, kind: Option<Entry>) -> Result<Option<Entry>, BadDwarf> {
        let mut kind = kind;
        for _ in 0..MAX_DEPTH {
            let Some(entry) = kind else { return Ok(None) };
            match self.units[entry.unit].entry(entry.at)?.tag() {
                dw::DW_TAG_typedef
                | dw::DW_TAG_const_type
                | dw::DW_TAG_volatile_type
                | dw::DW_TAG_restrict_type
                | dw::DW_TAG_atomic_type => kind = self.target(entry)?,
                _ => return Ok(Some(entry)),
            }
        }
        Ok(None)
    }

    fn size(&self, kind: Option<Entry>, depth: usize) -> Result<Option<u64>, BadDwarf> {
        let Some(entry) = self.plain(kind)? else { return Ok(None) };
        let unit = &self.units[entry.unit];
        let die = unit.entry(entry.at)?;
        if let Some(size) = die.attr_value(dw::DW_AT_byte_size).and_then(|value| value.udata_value()) {
            return Ok(Some(size));
        }
        match die.tag() {
            dw::DW_TAG_pointer_type => Ok(Some(u64::from(unit.encoding().address_size))),
            dw::DW_TAG_array_type if depth < MAX_DEPTH => {
                let Some((element, count)) = self.array(Some(entry))? else { return Ok(None) };
                Ok(self.size(element, depth + 1)?.and_then(|size| size.checked_mul(count)))
            }
            _ => Ok(None),
        }
    }

    /// Element type and length of an array; of one with several dimensions, all elements together.
    fn array(&self, kind: Option<Entry>) -> Result<Option<(Option<Entry>, u64)>, BadDwarf> {
        let Some(entry) = self.plain(kind)? else { return Ok(None) };
        let unit = &self.units[entry.unit];
        let mut entries = unit.header.entries_at_offset(&unit.abbreviations, entry.at)?;
        let mut count = 1_u64;
        let mut element = None;
        while entries.next_entry()? {
            let Some(die) = entries.current() else { break };
            match (die.depth(), die.tag()) {
                (0, dw::DW_TAG_array_type) => {
                    let target = die.attr_value(dw::DW_AT_type);
                    element = target.and_then(|value| self.reference(entry.unit, value));
                }
                (0, _) => return Ok(None),
                (1, dw::DW_TAG_subrange_type) => {
                    let number = |name| die.attr_value(name).and_then(|value| value.udata_value());
                    let length = number(dw::DW_AT_count)
                        .or_else(|| number(dw::DW_AT_upper_bound).and_then(|last| last.checked_add(1)));
                    count = count.saturating_mul(length.unwrap_or(0));
                }
                _ => {}
            }
            if entries.next_depth() <= 0 {
                break;
            }
        }
        Ok(Some((element, count)))
    }
}

/// A constant that may be negative: then it has a form with a sign, while those of fixed size have none.
fn signed(value: &AttributeValue<Bytes<'_>>) -> Option<i64> {
    match value {
        AttributeValue::Sdata(number) => Some(*number),
        _ => value.udata_value().map(u64::cast_signed),
    }
}
