//! What the numbers of a minor version's instructions are called, specialised ones included.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Version;

/// The tables within this program, by minor version. A test holds that none on disk is left out.
const EMBEDDED: &[((u8, u8), &str)] = &[
    ((2, 7), include_str!("../../layouts/opcodes/2.7.toml")),
    ((3, 6), include_str!("../../layouts/opcodes/3.6.toml")),
    ((3, 7), include_str!("../../layouts/opcodes/3.7.toml")),
    ((3, 8), include_str!("../../layouts/opcodes/3.8.toml")),
    ((3, 9), include_str!("../../layouts/opcodes/3.9.toml")),
    ((3, 10), include_str!("../../layouts/opcodes/3.10.toml")),
    ((3, 11), include_str!("../../layouts/opcodes/3.11.toml")),
    ((3, 12), include_str!("../../layouts/opcodes/3.12.toml")),
    ((3, 13), include_str!("../../layouts/opcodes/3.13.toml")),
    ((3, 14), include_str!("../../layouts/opcodes/3.14.toml")),
    ((3, 15), include_str!("../../layouts/opcodes/3.15.toml")),
];

/// A table as its file has it. Numbers above 255 are the compiler's own and never run.
#[derive(Debug, Deserialize)]
struct File {
    names: BTreeMap<String, u32>,
    #[serde(default)]
    specialized: BTreeMap<String, u32>,
    #[serde(default)]
    base: BTreeMap<String, String>,
    #[serde(default)]
    caches: BTreeMap<String, usize>,
}

/// The names of all instructions of one minor version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opcodes {
    names: BTreeMap<u8, String>,
    base: BTreeMap<String, String>,
    caches: BTreeMap<String, usize>,
}

impl Opcodes {
    /// The names for a version, where there is a table of them.
    pub fn of(version: Version) -> Option<Opcodes> {
        let minor = (version.major, version.minor);
        let (_, text) = EMBEDDED.iter().find(|(of, _)| *of == minor)?;
        parse(text).ok()
    }

    /// The name of an instruction.
    pub fn name(&self, opcode: u8) -> Option<&str> {
        self.names.get(&opcode).map(String::as_str)
    }

    /// How many code units behind an instruction of this name are for its own use; `None` where what it stands for is kept elsewhere.
    pub fn caches(&self, name: &str) -> Option<usize> {
        let plain = name.strip_prefix("INSTRUMENTED_").unwrap_or(name);
        if matches!((plain, name), ("LINE" | "INSTRUCTION", _) | (_, "ENTER_EXECUTOR")) {
            return None;
        }
        let base = self.base.get(plain).map_or(plain, String::as_str);
        Some(self.caches.get(base).copied().unwrap_or(0))
    }
}

fn parse(text: &str) -> Result<Opcodes, toml::de::Error> {
    let File { names, specialized, base, caches } = toml::from_str(text)?;
    let small = |(name, number): (String, u32)| Some((u8::try_from(number).ok()?, name));
    let names = names.into_iter().chain(specialized).filter_map(small).collect();
    Ok(Opcodes { names, base, caches })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_names_its_instructions() {
        for ((major, minor), text) in EMBEDDED {
            let opcodes = parse(text).unwrap_or_else(|error| panic!("{major}.{minor}: {error}"));
            let names: Vec<&str> = (0..=u8::MAX).filter_map(|opcode| opcodes.name(opcode)).collect();
            assert!(names.contains(&"LOAD_GLOBAL") && names.contains(&"MAKE_FUNCTION"), "{major}.{minor}");
            let specialises = (*major, *minor) >= (3, 11);
            assert_eq!(names.contains(&"BINARY_OP_ADD_INT"), specialises, "{major}.{minor}");
            assert_eq!(opcodes.caches("LOAD_GLOBAL_MODULE") > Some(0), specialises, "{major}.{minor}");
            assert_eq!(opcodes.caches("POP_TOP"), Some(0), "{major}.{minor}");
            assert_eq!(Some(opcodes), Opcodes::of(Version::release(*major, *minor, 0)));
        }
        assert_eq!(Opcodes::of(Version::release(3, 5, 0)), None);
    }

    #[test]
    fn what_stands_for_another_instruction_says_so_or_hides_it() {
        let opcodes = Opcodes::of(Version::release(3, 13, 0)).unwrap();
        assert_eq!(opcodes.caches("INSTRUMENTED_CALL"), opcodes.caches("CALL"));
        assert_eq!(opcodes.caches("INSTRUMENTED_LINE"), None);
    }
}
