//! What DWARF cannot say: layouts/facts.toml, resolved for one build.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Value;

use crate::layout::Fact;
use crate::layout::file::{minor, read_fact};

const TEXT: &str = include_str!("../../../layouts/facts.toml");

/// A fact as it holds for one build.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// Its name.
    pub name: String,
    /// What holds.
    pub fact: Fact,
    /// The evidence.
    pub why: String,
}

/// The hand-written source of facts is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("layouts/facts.toml: {0}")]
pub struct BadFacts(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// For people.
    #[serde(rename = "means")]
    _means: String,
    why: String,
    from: BTreeMap<String, Value>,
}

/// All facts that hold for a minor version, by name.
pub fn resolve(python: (u8, u8), free_threaded: bool) -> Result<Vec<Resolved>, BadFacts> {
    resolve_in(TEXT, python, free_threaded)
}

fn resolve_in(text: &str, python: (u8, u8), free_threaded: bool) -> Result<Vec<Resolved>, BadFacts> {
    let entries: BTreeMap<String, Entry> =
        toml::from_str(text).map_err(|error| BadFacts(error.to_string().trim_end().to_owned()))?;
    let mut facts = Vec::new();
    for (name, entry) in entries {
        let mut best = None;
        for (from, value) in &entry.from {
            let only_threaded = from.ends_with('t');
            let from = minor(from.trim_end_matches('t'))
                .ok_or_else(|| BadFacts(format!("{name}: {from:?} is no minor version")))?;
            // What speaks of free-threaded builds alone goes before what speaks of all.
            let rank = Some((only_threaded, from));
            let holds = from <= python && (free_threaded || !only_threaded);
            if holds && rank > best.as_ref().map(|(rank, _)| *rank) {
                best = rank.map(|rank| (rank, value));
            }
        }
        let Some((_, value)) = best else { continue };
        let fact = read_fact(value).ok_or_else(|| BadFacts(format!("{name}: a value is no fact")))?;
        facts.push(Resolved { name, fact, why: entry.why });
    }
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(python: (u8, u8), free_threaded: bool, expected: Option<i64>) {
        let text =
            "[\"a.b\"]\nmeans = \"m\"\nwhy = \"w\"\nfrom = { \"3.6\" = 1, \"3.10\" = 2, \"3.9t\" = 3 }\n";
        let facts = resolve_in(text, python, free_threaded).expect("these are facts");
        assert_eq!(facts.first().map(|fact| fact.fact.clone()), expected.map(Fact::Number));
    }

    #[test]
    fn a_fact_holds_from_the_version_that_brought_it() {
        check((2, 7), false, None);
        check((3, 6), false, Some(1));
        check((3, 9), false, Some(1));
        check((3, 10), false, Some(2));
        check((3, 15), false, Some(2));
        check((3, 8), true, Some(1));
        check((3, 10), true, Some(3));
    }

    #[test]
    fn every_fact_has_a_value_for_every_python() {
        for python in [(2, 7), (3, 6), (3, 9), (3, 15)] {
            let facts = resolve(python, false).expect("layouts/facts.toml is well-formed");
            let entries: BTreeMap<String, Entry> = toml::from_str(TEXT).expect("it was read just now");
            assert_eq!(facts.len(), entries.len());
            for fact in facts {
                assert_eq!(fact.name.split('.').count(), 2, "{} has two parts", fact.name);
                assert!(
                    !fact.why.is_empty() && !fact.why.contains('\n'),
                    "{} says why on one line",
                    fact.name
                );
            }
        }
    }

    #[test]
    fn facts_of_one_name_are_of_one_kind() {
        let entries: BTreeMap<String, Entry> = toml::from_str(TEXT).expect("the facts are TOML");
        for (name, entry) in entries {
            let mut kinds: Vec<_> = entry.from.values().map(Value::type_str).collect();
            kinds.dedup();
            assert_eq!(kinds.len(), 1, "{name}");
        }
    }
}
