//! `--by distribution`: installed files bear the name of what they came with, as the recording keeps it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use pitviper::recording::{self, Recording};
use support::{pitviper, pythons, start};

const DISTRIBUTIONS: &str = include_str!("programs/distributions.py");

/// The distribution of each function that was met.
fn met(recording: &Recording) -> BTreeMap<String, Option<String>> {
    let frames = recording.frames.iter().map(|frame| {
        let file = recording.file(frame.file).unwrap();
        let distribution = file.distribution.map(|name| recording.string(name).to_owned());
        (recording.string(frame.name).to_owned(), distribution)
    });
    frames.collect()
}

#[test]
fn the_time_is_told_by_the_distribution_that_an_installed_file_came_with() {
    for python in pythons() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("distributions.pit");
        let mut target = start(python, DISTRIBUTIONS);
        let site = target.line();
        let pid = target.pid().to_string();
        let attach = pitviper(&[
            "attach",
            "--by",
            "distribution",
            "-r",
            "500",
            "-d",
            "0.4",
            "-p",
            &pid,
            "-o",
            file.to_str().unwrap(),
        ]);
        let said = String::from_utf8_lossy(&attach.stderr).into_owned();
        assert!(attach.status.success(), "{}: {said}", python.name);
        let met = met(&recording::open(&file).unwrap());
        let expected = [
            ("tools_work", "Shop-Tools"),
            ("one_work", "one"),
            ("two_work", "two"),
            ("old_work", "old-fashioned"),
        ];
        for (function, distribution) in expected {
            let found = met.get(function).cloned().unwrap_or_else(|| panic!("{}: {met:?}", python.name));
            assert_eq!(found.as_deref(), Some(distribution), "{}: {function}", python.name);
            assert!(
                said.lines().any(|line| line.ends_with(&format!("%  {distribution}"))),
                "{}: {said}",
                python.name
            );
        }
        assert_eq!(met["<module>"], None, "{}", python.name);
        let export = pitviper(&["export", file.to_str().unwrap(), "-f", "folded", "--by", "distribution"]);
        let folded = String::from_utf8(export.stdout).unwrap();
        assert!(
            folded.lines().any(|line| line.starts_with("(standard library);(own code);Shop-Tools ")),
            "{}: {folded}",
            python.name
        );
        let export = pitviper(&["export", file.to_str().unwrap(), "-f", "folded", "--by", "module"]);
        let folded = String::from_utf8(export.stdout).unwrap();
        assert!(folded.lines().any(|line| line.contains(";shared.one ")), "{}: {folded}", python.name);
        drop(target);
        let root = python.root().unwrap_or(Path::new("/"));
        let made = site.strip_suffix("/lib/python/site-packages").and_then(|path| path.strip_prefix('/'));
        std::fs::remove_dir_all(root.join(made.expect(&site))).unwrap();
    }
}
