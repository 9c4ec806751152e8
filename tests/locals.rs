//! The values that `dump --locals` shows are those that the target has, in its own words.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::BTreeMap;

use serde_json::Value;
use support::{Target, pitviper, pythons};

/// The locals of the function that is parked, by name.
fn locals(target: &Target) -> BTreeMap<String, String> {
    let pid = target.pid().to_string();
    let output = pitviper(&["dump", "--json", "--locals", "--pid", &pid]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let dump: Value = serde_json::from_slice(&output.stdout).unwrap();
    let frames = dump["threads"][0]["frames"].as_array().unwrap();
    let parked = frames.iter().find(|frame| frame["name"] == "local_variable_lookup").expect("it is parked");
    let locals = parked["locals"].as_array().expect("locals").iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    locals.map(|local| (text(&local["name"]), text(&local["value"]))).collect()
}

#[test]
fn values_are_what_the_target_says_of_them() {
    for python in pythons() {
        let mut target = support::start(python, include_str!("programs/locals.py"));
        let expected: BTreeMap<String, Option<String>> = serde_json::from_str(&target.line()).unwrap();
        let seen = locals(&target);
        for (name, expected) in &expected {
            let value = seen.get(name).unwrap_or_else(|| panic!("{}: no {name} in {seen:?}", python.name));
            match expected {
                Some(start) if start.ends_with(" at") => {
                    let rest =
                        value.strip_prefix(start.as_str()).unwrap_or_else(|| panic!("{name}: {value}"));
                    assert!(
                        rest.starts_with(" 0x") && rest.ends_with('>'),
                        "{}: {name}: {value}",
                        python.name
                    );
                }
                Some(expected) => assert_eq!(value, expected, "{}: {name}", python.name),
                None => {}
            }
        }
        assert!(!seen.contains_key("unset"), "{}: {seen:?}", python.name);
        assert_eq!(seen.len(), expected.len(), "{}: {:?}", python.name, seen.keys());
    }
}

#[test]
fn locals_are_shown_only_where_they_were_asked_for() {
    let python = &pythons()[0];
    let mut target = support::start(python, include_str!("programs/locals.py"));
    target.line();
    let pid = target.pid().to_string();
    let without = String::from_utf8(pitviper(&["dump", "--pid", &pid]).stdout).unwrap();
    assert!(!without.contains("3.1415"), "{without}");
    let with = String::from_utf8(pitviper(&["dump", "-l", "--pid", &pid]).stdout).unwrap();
    assert!(with.contains("        local4 = 3.1415\n"), "{with}");
    assert!(!with.contains("hunter2") && !with.contains("t0ken"), "{with}");
    let more = String::from_utf8(pitviper(&["dump", "-ll", "--pid", &pid]).stdout).unwrap();
    assert!(more.contains(&"x".repeat(255)) && !with.contains(&"x".repeat(128)), "{more}");
}
