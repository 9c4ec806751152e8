//! Packages from PyPI for the Pythons of the tests: each brought once into the cache, never into a Python itself.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Python;

/// Where a package lies, as the Python sees it, for its `PYTHONPATH`. Where there is none for it, the reason is printed.
pub fn wheel(python: &Python, package: &str) -> Option<PathBuf> {
    let skip = |why: &str| eprintln!("{}: skipped, no {package}: {why}", python.name);
    // A debug build takes what was built for the plain one, since 3.8.
    if python.name.ends_with('t') || python.name.ends_with('d') && python.minor() < (3, 8) {
        skip("what is asked for here is not built for this build");
        return None;
    }
    let name = format!("wheels/{package}-{}", python.version);
    let (inside, outside) = match python.root() {
        Some(root) => (Path::new("/opt").join(&name), root.join("opt").join(&name)),
        None => (cache().join(&name), cache().join(&name)),
    };
    if !outside.exists()
        && let Err(why) = install(python, package, &outside)
    {
        skip(&why);
        return None;
    }
    Some(inside)
}

fn cache() -> PathBuf {
    let set = |name| std::env::var_os(name).map(PathBuf::from);
    set("PITVIPER_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("pitviper")))
        .unwrap_or_else(|| set("HOME").expect("a home").join(".cache/pitviper"))
}

/// Copies the libraries of C++ to where a package looks for its own: a root made for Python alone has none.
fn lend(to: &Path) {
    for library in ["libstdc++.so.6", "libgcc_s.so.1"] {
        let found =
            Command::new("sh").args(["-c", &format!("ldconfig -p | grep -m1 -o '/.*/{library}'")]).output();
        let from = found.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        if let Ok(from) = from.map(PathBuf::from)
            && let Err(error) = std::fs::copy(&from, to.join(library))
        {
            eprintln!("{} cannot be lent: {error}", from.display());
        }
    }
}

/// Has some pip bring it: old Pythons have none that still talks to PyPI.
fn install(python: &Python, package: &str, to: &Path) -> Result<(), String> {
    let (major, minor) = python.minor();
    let marks = match (major, minor) {
        (2, _) => "mu",
        (_, ..8) => "m",
        _ => "",
    };
    let beside = to.with_extension(format!("{}.part", std::process::id()));
    let mut last = String::from("no pip here");
    for pip in ["python3", "python3.11", "python3.12", "python3.13"] {
        let output = Command::new(pip)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
            .args(["--only-binary=:all:", "--implementation", "cp", "--python-version", &python.version])
            .args(["--abi", &format!("cp{major}{minor}{marks}"), package, "--target"])
            .arg(&beside)
            .output();
        match output {
            Ok(output) if output.status.success() => {
                if python.root().is_some() {
                    lend(&beside.join(format!("{package}.libs")));
                }
                // Another test may have brought it meanwhile, which is as good.
                let _ = std::fs::rename(&beside, to);
                let _ = std::fs::remove_dir_all(&beside);
                return if to.exists() { Ok(()) } else { Err("it cannot be put into the cache".into()) };
            }
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                if let Some(line) = said.lines().find(|line| line.starts_with("ERROR")) {
                    last = line.to_owned();
                }
            }
            Err(_) => {}
        }
    }
    Err(last)
}
