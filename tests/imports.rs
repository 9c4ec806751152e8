//! `export -f imports`: held against the times that the modules took themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::BTreeMap;
use std::process::Command;

use pitviper::recording::{self, Phases};
use support::{pitviper, pythons};

const IMPORTS: &str = include_str!("programs/imports.py");

/// The lines of an import tree: own and total milliseconds and the depth of each module.
fn tree(text: &str) -> BTreeMap<String, (f64, f64, usize)> {
    let lines = text.lines().skip(1);
    let parse = |line: &str| {
        let (numbers, name) = line.split_at(27);
        let mut numbers = numbers.split_whitespace().map(|number| number.parse::<f64>().expect(line));
        let depth = (name.len() - name.trim_start().len()) / 2;
        (name.trim().to_owned(), (numbers.next().unwrap(), numbers.next().unwrap(), depth))
    };
    // Of equal names at several places the first one is wanted.
    let mut found = BTreeMap::new();
    for (name, numbers) in lines.map(parse) {
        found.entry(name).or_insert(numbers);
    }
    found
}

#[test]
fn the_import_tree_says_what_each_module_took_and_who_imported_it() {
    for python in pythons() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("imports.pit");
        let (inside, outside) = python.place(IMPORTS);
        let mut command = Command::new(env!("CARGO_BIN_EXE_pitviper"));
        command.args(["run", "-q", "-r", "500", "-o", file.to_str().unwrap(), "--"]).args(&python.command);
        let output = command.arg(inside).output().unwrap();
        std::fs::remove_file(outside).unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let took: Vec<f64> = said.split_whitespace().map(|word| 1e3 * word.parse::<f64>().unwrap()).collect();
        let [outer, inner, looped] = took[..] else { panic!("{}: {said}", python.name) };
        let export = pitviper(&["export", file.to_str().unwrap(), "-f", "imports"]);
        assert!(export.status.success(), "{}", String::from_utf8_lossy(&export.stderr));
        let text = String::from_utf8(export.stdout).unwrap();
        let tree = tree(&text);
        let of = |name: &str| *tree.get(name).unwrap_or_else(|| panic!("{}: no {name}: {text}", python.name));
        // A look stands for the time since the last one, so a stretch may be off by one look at each end; outer has three ends.
        let recording = recording::open(&file).unwrap();
        let rows = recording.samples.iter().flatten();
        let longest =
            rows.map(|row| row.weight.as_secs_f64() * 1e3 / f64::from(row.count)).fold(0.0, f64::max);
        // Two milliseconds for each look that a busy machine kept us from.
        let unseen = 2.0 * recording.meta.achieved.as_ref().unwrap().missed as f64;
        let close =
            |seen: f64, truth: f64| (seen - truth).abs() <= 0.1 * truth + 20.0 + 3.0 * longest + unseen;
        let (own, total, depth) = of("slow_shop.outer");
        assert!(close(total, outer) && close(own, outer - inner), "{}: {outer} {inner}: {text}", python.name);
        let (_, seen, below) = of("slow_shop.inner");
        assert!(close(seen, inner) && below == depth + 1, "{}: {outer} {inner}: {text}", python.name);
        assert!(close(of("slow_shop").0, 250.0), "{}: {text}", python.name);
        let phases = Phases::of(&recording);
        let (importing, bytecode) =
            (phases.importing.as_secs_f64() * 1e3, phases.bytecode.as_secs_f64() * 1e3);
        // The interpreter's own start imports too, and runs bytecode.
        let least = |seen: f64, truth: f64| seen > truth || close(seen, truth);
        assert!(least(importing, outer + 250.0) && least(bytecode, looped), "{}: {phases:?}", python.name);
        let all = recording.samples.iter().flatten().map(|row| row.weight.0).sum::<u64>();
        assert_eq!(phases.named().iter().map(|(_, time)| time.0).sum::<u64>(), all, "{}", python.name);
    }
}
