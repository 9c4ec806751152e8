//! Pythons that no layout was made for: an unknown patch works, an unknown minor version describes itself or is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::{PARK, Python, Target, install, pitviper, python};

/// What `_Py_DebugOffsets` begins with (Include/internal/pycore_debug_offsets.h).
const COOKIE: &[u8] = b"xdebugpy";
/// Where the version stands in it.
const VERSION: usize = 8;
/// Where `interpreter_state.imports_modules` stands in that of 3.15.
const MODULES: usize = 96;

/// A copy of an interpreter that says other things of itself than the original does.
struct Changed {
    file: PathBuf,
}

impl Changed {
    /// Copies a Python beside itself and changes words of its `_Py_DebugOffsets`: position and new value.
    fn new(python: &Python, name: &str, words: &[(usize, u64)]) -> Changed {
        let file = python.exe().with_file_name(format!("pitviper-test-{}-{name}", std::process::id()));
        let mut bytes = std::fs::read(python.exe()).unwrap();
        let found: Vec<usize> =
            (0..bytes.len() - COOKIE.len()).filter(|at| bytes[*at..].starts_with(COOKIE)).collect();
        // The cookie stands in the code that checks it, too; the table is where a version of 3.x follows.
        let table = found.into_iter().find(|at| bytes[at + VERSION + 3] == 3 && bytes[at + VERSION + 4] == 0);
        let table = table.expect("a table of offsets");
        for (position, value) in words {
            bytes[table + position..table + position + 8].copy_from_slice(&value.to_le_bytes());
        }
        let beside = file.with_extension("tmp");
        std::fs::write(&beside, bytes).unwrap();
        install(&beside, &file);
        std::fs::remove_file(beside).unwrap();
        Changed { file }
    }

    /// Starts a parked program in it.
    fn start(&self, python: &Python) -> Target {
        let inside = match python.root() {
            Some(root) => Path::new("/").join(self.file.strip_prefix(root).unwrap()),
            None => self.file.clone(),
        };
        let (program, _) = python.place(PARK);
        let mut command = Command::new(&python.command[0]);
        command.args(&python.command[1..python.command.len() - 1]).arg(inside).arg(program);
        command.env("PYTHONHOME", "/usr");
        Target::spawn(command)
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

fn dump(target: &Target) -> (Option<i32>, String, String) {
    let output = pitviper(&["dump", "--pid", &target.pid().to_string()]);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn an_unknown_patch_of_a_known_minor_version_works() {
    let Some(python) = python("3.15-debian") else { return };
    let changed = Changed::new(python, "patch", &[(VERSION, 0x030f_63f0)]);
    let (code, stacks, said) = dump(&changed.start(python));
    assert_eq!(code, Some(0), "{said}");
    assert!(stacks.contains("Python 3.15.99") && stacks.contains("<module>"), "{stacks}");
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn an_unknown_minor_version_works_with_a_warning_where_it_describes_itself_truly() {
    let Some(python) = python("3.15-debian") else { return };
    let changed = Changed::new(python, "minor", &[(VERSION, 0x0310_00f0)]);
    let target = changed.start(python);
    let (code, stacks, said) = dump(&target);
    assert_eq!(code, Some(0), "{said}");
    assert!(stacks.contains("Python 3.16.0") && stacks.contains("<module>"), "{stacks}");
    assert!(said.contains("warning: Python 3.16.0 is newer than any layout"), "{said}");
    let check = pitviper(&["layout", "check", "--pid", &target.pid().to_string()]);
    let check = String::from_utf8(check.stdout).unwrap();
    assert!(check.contains("this minor version is unknown"), "{check}");
}

#[test]
fn an_unknown_minor_version_is_refused_where_a_self_check_fails() {
    let Some(python) = python("3.15-debian") else { return };
    let changed = Changed::new(python, "lies", &[(VERSION, 0x0310_00f0), (MODULES, 7600)]);
    let (code, stacks, said) = dump(&changed.start(python));
    assert_eq!((code, stacks.as_str()), (Some(5), ""), "{said}");
    assert!(said.contains("self-check failed: sys.modules is a dict"), "{said}");
    assert!(said.contains("3.16.0") && said.contains("hint: ") && said.contains("layout derive"), "{said}");
}

#[test]
fn a_layout_that_does_not_hold_is_refused_and_one_from_a_directory_overrides() {
    let Some(python) = python("3.11") else { return };
    let dir = tempfile::tempdir().unwrap();
    let own = include_str!("../layouts/3.11.toml");
    let target = support::start(python, PARK);
    let pid = target.pid().to_string();
    let arguments = ["layout", "check", "--pid", &pid, "--layouts", dir.path().to_str().unwrap()];

    std::fs::write(dir.path().join("3.11.toml"), own).unwrap();
    let output = pitviper(&arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let broken = own.replace("threads_head = 16", "threads_head = 8");
    assert_ne!(own, broken);
    std::fs::write(dir.path().join("3.11.toml"), broken).unwrap();
    let output = pitviper(&arguments);
    assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stdout));

    std::fs::write(dir.path().join("3.11.toml"), "[meta]\nformat = 1\npython = 3").unwrap();
    let output = pitviper(&arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("layout file 3.11"), "{said}");
}
