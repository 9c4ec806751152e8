//! `heap census` finds the arrays of numpy: what each is, and its memory once, at the one that owns it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "a skip is printed")]

mod support;

use std::process::Command;

use serde_json::Value;
use support::{Target, pitviper, pythons, wheel::wheel};

/// The program says that it is ready before numpy is loaded: what it prints then is about its arrays.
const ARRAYS: &str = concat!("import os\nos.write(1, b'ready\\n')\n", include_str!("programs/arrays.py"));

#[test]
fn arrays_have_their_shape_and_type_and_their_bytes_once() {
    for python in pythons() {
        let Some(path) = wheel(python, "numpy") else { continue };
        let (inside, outside) = python.place(ARRAYS);
        let mut command = Command::new(&python.command[0]);
        // More threads of its own than it needs would only cost time.
        command
            .args(&python.command[1..])
            .arg(inside)
            .env("PYTHONPATH", path)
            .env("OPENBLAS_NUM_THREADS", "1");
        let mut target = Target::spawn(command);
        let mut said = Vec::new();
        loop {
            match target.line().split_whitespace().collect::<Vec<_>>().as_slice() {
                ["done"] => break,
                [] => break eprintln!("{}: skipped, numpy does not load there", python.name),
                ["array", words @ ..] => said.push(words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()),
                other => panic!("{}: {other:?}", python.name),
            }
        }
        std::fs::remove_file(outside).unwrap();
        if said.is_empty() {
            continue;
        }
        let output = pitviper(&["heap", "census", "--json", "--pid", &target.pid().to_string()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let census: Value = serde_json::from_slice(&output.stdout).unwrap();
        let arrays = census["arrays"].as_array().unwrap();
        assert_eq!(said.len(), 6, "{}: {said:?}", python.name);
        for words in &said {
            let [id, bytes, owns, base, dtype, shape @ ..] = words.as_slice() else { panic!("{words:?}") };
            let seen: Vec<&Value> = arrays.iter().filter(|a| a["at"].as_u64() == id.parse().ok()).collect();
            let [seen] = seen.as_slice() else { panic!("{}: {words:?}: {seen:?}", python.name) };
            let name = &python.name;
            assert_eq!(seen["name"], "numpy.ndarray", "{name}");
            assert_eq!(seen["bytes"].to_string(), *bytes, "{name}: {words:?}");
            assert_eq!(seen["owns"], *owns == "1", "{name}: {words:?}");
            assert_eq!(seen["dtype"], *dtype, "{name}");
            let shape: Vec<u64> = shape.iter().map(|length| length.parse().unwrap()).collect();
            assert_eq!(seen["shape"], Value::from(shape), "{name}");
            if *owns == "0" {
                assert_eq!(seen["base"].to_string(), *base, "{name}: {words:?}");
            }
        }
        // What they own is in the bytes of their type, once: a mapping of its own is up to two pages longer than what was
        // asked for, and what numpy keeps itself are a few small ones.
        let owned: u64 = said.iter().filter(|a| a[2] == "1").map(|a| a[1].parse::<u64>().unwrap()).sum();
        let kept: u64 =
            arrays.iter().filter(|a| a["owns"] == true).map(|a| a["bytes"].as_u64().unwrap()).sum();
        let types = census["types"].as_array().unwrap();
        let buffers =
            types.iter().find(|of| of["name"] == "numpy.ndarray").unwrap()["buffers"].as_u64().unwrap();
        let most = kept + arrays.len() as u64 * 128 + 2 * 8192;
        assert!((owned..=most).contains(&buffers), "{}: {buffers} of {owned} to {most}", python.name);
    }
}
