//! Where a build of CPython keeps things, as data: sections of named offsets, and facts that no offset can say.

pub mod field;
pub mod build;
pub mod file;
pub mod catalogue;
pub mod select;
pub mod told;
pub mod opcodes;
pub mod derive;

pub use build::{Arch, Fingerprint, NoVersion, Version};
pub use catalogue::Catalogue;
pub use field::{Bind, Field, Struct, fields};
pub use select::{Chosen, Refusal, Told, Why};

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The offsets and facts of one build.
///
/// A layout is a table of names. Readers do not look into it while they walk: each binds the fields that it needs once
/// (see [`fields!`]), which checks that they exist and fit, and then holds plain offsets.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layout {
    /// Its name: that of its file, without `.toml`.
    pub name: String,
    sections: BTreeMap<String, BTreeMap<String, i64>>,
    facts: BTreeMap<String, Fact>,
}

/// What DWARF cannot say of a build.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// A word, such as `locations`.
    Text(String),
    /// A number.
    Number(i64),
    /// Several numbers.
    Numbers(Vec<i64>),
    /// Yes or no.
    Truth(bool),
}

/// A layout lacks something that a reader needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// No such offset.
    #[error("layout {layout} has no {section}.{key}")]
    Key {
        /// Which layout.
        layout: String,
        /// In which section.
        section: String,
        /// Which key.
        key: String,
    },
    /// An offset that no field can have.
    #[error("layout {layout} has {section}.{key} = {value}, which no field can have")]
    Absurd {
        /// Which layout.
        layout: String,
        /// In which section.
        section: String,
        /// Which key.
        key: String,
        /// Its value.
        value: i64,
    },
    /// No such fact, or one of another kind than the reader takes.
    #[error("layout {layout} does not say {fact}")]
    Fact {
        /// Which layout.
        layout: String,
        /// Which fact.
        fact: String,
    },
}

impl Layout {
    /// A layout without any offset.
    pub fn new(name: impl Into<String>) -> Layout {
        Layout { name: name.into(), ..Layout::default() }
    }

    /// Puts an offset in; returns the one that stood there.
    pub fn set(&mut self, section: &str, key: &str, value: i64) -> Option<i64> {
        self.sections.entry(section.into()).or_default().insert(key.into(), value)
    }

    /// Puts all offsets and facts of another one in.
    pub fn lay(&mut self, over: &Layout) {
        for (section, keys) in &over.sections {
            // Not key by key: this is a tenth of what attaching takes.
            match self.sections.get_mut(section) {
                Some(under) => under.extend(keys.iter().map(|(key, value)| (key.clone(), *value))),
                None => drop(self.sections.insert(section.clone(), keys.clone())),
            }
        }
        self.facts.extend(over.facts.iter().map(|(name, fact)| (name.clone(), fact.clone())));
    }

    /// Takes an offset out.
    pub fn remove(&mut self, section: &str, key: &str) -> Option<i64> {
        self.sections.get_mut(section)?.remove(key)
    }

    /// Puts a fact in; returns the one that stood there.
    pub fn set_fact(&mut self, name: &str, fact: Fact) -> Option<Fact> {
        self.facts.insert(name.into(), fact)
    }

    /// An offset, a size or a bit position, as it stands in the table.
    pub fn key(&self, section: &str, key: &str) -> Option<i64> {
        self.sections.get(section)?.get(key).copied()
    }

    /// All offsets, in order: section, key, value.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &str, i64)> {
        self.sections.iter().flat_map(|(section, keys)| {
            keys.iter().map(move |(key, value)| (section.as_str(), key.as_str(), *value))
        })
    }

    /// All facts, in order of their names.
    pub fn facts(&self) -> impl Iterator<Item = (&str, &Fact)> {
        self.facts.iter().map(|(name, fact)| (name.as_str(), fact))
    }

    /// A fact of the kind that the reader takes.
    pub fn fact<T: FromFact>(&self, name: &str) -> Result<T, Missing> {
        self.facts
            .get(name)
            .and_then(T::from_fact)
            .ok_or_else(|| Missing::Fact { layout: self.name.clone(), fact: name.into() })
    }

    /// A fact that is one of a few words, each of which names a variant of `T`.
    pub fn choice<T: FromStr>(&self, name: &str) -> Result<T, Missing> {
        let missing = || Missing::Fact { layout: self.name.clone(), fact: name.into() };
        self.fact::<String>(name)?.parse().map_err(|_| missing())
    }
}

/// What a [`Fact`] can be taken as.
pub trait FromFact: Sized {
    /// The fact, if it is of this kind.
    fn from_fact(fact: &Fact) -> Option<Self>;
}

impl FromFact for String {
    fn from_fact(fact: &Fact) -> Option<String> {
        match fact {
            Fact::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
}

impl FromFact for bool {
    fn from_fact(fact: &Fact) -> Option<bool> {
        match fact {
            Fact::Truth(truth) => Some(*truth),
            _ => None,
        }
    }
}

impl FromFact for i64 {
    fn from_fact(fact: &Fact) -> Option<i64> {
        match fact {
            Fact::Number(number) => Some(*number),
            _ => None,
        }
    }
}

impl FromFact for u64 {
    fn from_fact(fact: &Fact) -> Option<u64> {
        i64::from_fact(fact).map(i64::cast_unsigned)
    }
}

impl FromFact for Vec<i64> {
    fn from_fact(fact: &Fact) -> Option<Vec<i64>> {
        match fact {
            Fact::Numbers(numbers) => Some(numbers.clone()),
            _ => None,
        }
    }
}

impl fmt::Display for Fact {
    /// As TOML writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fact::Text(text) => write!(f, "{text:?}"),
            Fact::Number(number) => write!(f, "{number}"),
            Fact::Numbers(numbers) => write!(f, "{numbers:?}"),
            Fact::Truth(truth) => write!(f, "{truth}"),
        }
    }
}
