//! What a source file is called as a module, as far as its path says it.

use std::collections::HashSet;

use super::label;

/// The files that make a directory a package.
const INIT: &str = "/__init__.py";
/// A package within a package within … is followed this far up.
const MAX_PACKAGES: usize = 16;

/// The directories that are packages, as far as their own code was met.
pub(super) fn packages<'p>(paths: impl Iterator<Item = &'p str>) -> HashSet<String> {
    paths.filter_map(|path| path.strip_suffix(INIT)).map(str::to_owned).collect()
}

/// Whether a path can be that of a module: a file, or one that was frozen into the interpreter.
pub(super) fn is_file(path: &str) -> bool {
    !path.is_empty() && (!path.starts_with('<') || path.starts_with("<frozen "))
}

/// The name of the module that a file holds: dotted, from the directory that Python finds it in.
pub(super) fn name(path: &str, packages: &HashSet<String>) -> String {
    if let Some(frozen) = path.strip_prefix("<frozen ").and_then(|rest| rest.strip_suffix('>')) {
        return frozen.to_owned();
    }
    if path.starts_with('<') {
        return path.to_owned();
    }
    let plain = [".py", ".pyc", ".pyo"].iter().find_map(|suffix| path.strip_suffix(suffix)).unwrap_or(path);
    let tail = label::library_tail(plain).unwrap_or_else(|| own_tail(plain, packages));
    let tail = tail.strip_suffix("/__init__").unwrap_or(tail);
    tail.replace('/', ".")
}

/// The part of a path that lies in packages.
fn own_tail<'p>(path: &'p str, packages: &HashSet<String>) -> &'p str {
    let mut start = path.rfind('/').map_or(0, |slash| slash + 1);
    if path.get(start..) == Some("__init__") {
        start = above(path, start);
    }
    for _ in 0..MAX_PACKAGES {
        let directory = path.get(..start.saturating_sub(1)).unwrap_or_default();
        if start == 0 || !packages.contains(directory) {
            break;
        }
        start = above(path, start);
    }
    path.get(start..).unwrap_or(path)
}

/// Where the component before the one at `start` begins.
fn above(path: &str, start: usize) -> usize {
    let directory = path.get(..start.saturating_sub(1)).unwrap_or_default();
    directory.rfind('/').map_or(0, |slash| slash + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: &str) {
        let paths = ["/srv/shop/__init__.py", "/srv/shop/views/__init__.py"];
        assert_eq!(name(path, &packages(paths.into_iter())), expected, "{path}");
    }

    #[test]
    fn modules_are_called_as_they_are_imported() {
        check("/usr/lib/python3.13/json/decoder.py", "json.decoder");
        check("/usr/lib/python3.13/json/__init__.py", "json");
        check("/root/.pyenv/versions/2.7.18/lib/python2.7/threading.py", "threading");
        check("/venv/lib/python3.12/site-packages/flask/app.py", "flask.app");
        check("/srv/shop/views/cart.py", "shop.views.cart");
        check("/srv/shop/views/__init__.py", "shop.views");
        check("/srv/manage.py", "manage");
        check("manage.py", "manage");
        check("__init__.py", "__init__");
        check("<frozen importlib._bootstrap>", "importlib._bootstrap");
        check("<string>", "<string>");
    }
}
