//! What the numbers of a minor version's instructions are called, specialised ones included.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Version;

/// The tables within this program, by minor version: those of all whose instructions are read as they run. A test holds that
/// none on disk is left out.
const EMBEDDED: &[((u8, u8), &str)] = &[
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
}

/// The names of all instructions of one minor version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opcodes {
    names: BTreeMap<u8, String>,
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
}

fn parse(text: &str) -> Result<Opcodes, toml::de::Error> {
    let File { names, specialized } = toml::from_str(text)?;
    let small = |(name, number): (String, u32)| Some((u8::try_from(number).ok()?, name));
    Ok(Opcodes { names: names.into_iter().chain(specialized).filter_map(small).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_names_plain_and_specialised_instructions() {
        for ((major, minor), text) in EMBEDDED {
            let opcodes = parse(text).unwrap_or_else(|error| panic!("{major}.{minor}: {error}"));
            let names: Vec<&str> = (0..=u8::MAX).filter_map(|opcode| opcodes.name(opcode)).collect();
            assert!(names.contains(&"RESUME") && names.contains(&"BINARY_OP_ADD_INT"), "{major}.{minor}");
            assert_eq!(Some(opcodes), Opcodes::of(Version::release(*major, *minor, 0)));
        }
        assert_eq!(Opcodes::of(Version::release(3, 10, 0)), None);
    }
}
