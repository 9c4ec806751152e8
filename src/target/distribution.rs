//! Which installed distribution a source file came with, as the directory that it was installed in says.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::Process;

/// The names of directories in which distributions are installed, each with what keeps it apart.
const SITES: [&str; 2] = ["/site-packages/", "/dist-packages/"];
/// The most entries of such a directory that are looked at.
const MAX_ENTRIES: usize = 1 << 14;
/// The most bytes that are read of a distribution's list of files.
const MAX_RECORD: u64 = 16 << 20;
/// The most bytes that are read of anything else that it says of itself.
const MAX_METADATA: u64 = 64 << 10;
/// The most such directories that are kept in mind.
const MAX_SITES: usize = 64;

/// What is installed for one process.
#[derive(Debug)]
pub struct Distributions {
    root: PathBuf,
    sites: HashMap<String, Site>,
}

/// One directory of installed distributions.
#[derive(Debug, Default)]
struct Site {
    distributions: Vec<Distribution>,
    /// Which of them have something of this name right below the directory.
    tops: BTreeMap<String, Vec<usize>>,
}

#[derive(Debug)]
struct Distribution {
    name: String,
    /// Where it describes itself.
    info: PathBuf,
}

impl Distributions {
    /// Those of a process; nothing is read before it is asked for.
    pub fn of(process: &Process) -> Distributions {
        Distributions::below(process.proc().of(process.pid()).join("root"))
    }

    fn below(root: PathBuf) -> Distributions {
        Distributions { root, sites: HashMap::new() }
    }

    /// The distribution that a file came with, by the file's path as the process sees it.
    pub fn name(&mut self, path: &str) -> Option<String> {
        let (at, marker) = SITES
            .iter()
            .filter_map(|marker| Some((path.rfind(marker)?, marker)))
            .max_by_key(|(at, _)| *at)?;
        let (directory, file) = (path.get(..at + marker.len() - 1)?, path.get(at + marker.len()..)?);
        if !self.sites.contains_key(directory) {
            if self.sites.len() >= MAX_SITES {
                self.sites.clear();
            }
            let inside = self.root.join(directory.strip_prefix('/')?);
            self.sites.insert(directory.to_owned(), Site::read(&inside));
        }
        self.sites.get(directory)?.owner(file).map(str::to_owned)
    }
}

impl Site {
    fn read(directory: &Path) -> Site {
        let mut site = Site::default();
        let Ok(entries) = std::fs::read_dir(directory) else { return site };
        for entry in entries.flatten().take(MAX_ENTRIES) {
            let entry_name = entry.file_name().to_string_lossy().into_owned();
            let Some(stem) =
                entry_name.strip_suffix(".dist-info").or_else(|| entry_name.strip_suffix(".egg-info"))
            else {
                continue;
            };
            let info = entry.path();
            let place = site.distributions.len();
            let told = ["METADATA", "PKG-INFO"].iter().find_map(|file| told_name(&info.join(file)));
            let name = told.or_else(|| told_name(&info));
            let name = name.unwrap_or_else(|| stem.split('-').next().unwrap_or(stem).to_owned());
            let mut tops = tops(&info);
            if tops.is_empty() {
                // Some say nothing of what they hold; most hold what they are called.
                tops.push(name.to_lowercase().replace('-', "_"));
            }
            tops.sort_unstable();
            tops.dedup();
            for top in tops {
                site.tops.entry(top).or_default().push(place);
            }
            site.distributions.push(Distribution { name, info });
        }
        site
    }

    /// Whose a file is, by its path below the directory. Where several share a package, their lists of files say it.
    fn owner(&self, file: &str) -> Option<&str> {
        let top = file.split('/').next().unwrap_or(file);
        let top = top.strip_suffix(".py").unwrap_or(top);
        let owners = self.tops.get(top)?;
        let owner = match owners.as_slice() {
            [only] => *only,
            many => {
                let holds = |place: &&usize| {
                    self.distributions
                        .get(**place)
                        .is_some_and(|it| files(&it.info).iter().any(|of| of == file))
                };
                *many.iter().find(holds)?
            }
        };
        self.distributions.get(owner).map(|distribution| distribution.name.as_str())
    }
}

/// What a distribution says that it is called.
fn told_name(metadata: &Path) -> Option<String> {
    let text = text(metadata, MAX_METADATA)?;
    let line =
        text.lines().take_while(|line| !line.is_empty()).find_map(|line| line.strip_prefix("Name:"))?;
    Some(line.trim().to_owned()).filter(|name| !name.is_empty())
}

/// The names right below the directory that a distribution says are its own.
fn tops(info: &Path) -> Vec<String> {
    if let Some(listed) = text(&info.join("top_level.txt"), MAX_METADATA) {
        return listed.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    }
    let top = |file: String| {
        let top = file.split('/').next().unwrap_or_default();
        top.strip_suffix(".py").unwrap_or(top).to_owned()
    };
    files(info).into_iter().map(top).collect()
}

/// The source files that a distribution says are its own, below the directory that it lies in.
fn files(info: &Path) -> Vec<String> {
    let wanted = |file: &&str| file.ends_with(".py") && !file.starts_with("../");
    if let Some(record) = text(&info.join("RECORD"), MAX_RECORD) {
        let path = |line: &str| -> Option<String> {
            // A path that holds a comma is quoted.
            let path = match line.strip_prefix('"') {
                Some(quoted) => quoted.split('"').next()?,
                None => line.split(',').next()?,
            };
            Some(path).filter(wanted).map(str::to_owned)
        };
        return record.lines().filter_map(path).collect();
    }
    let listed = text(&info.join("installed-files.txt"), MAX_RECORD).unwrap_or_default();
    let paths = listed.lines().filter_map(|line| line.strip_prefix("../"));
    paths.filter(wanted).map(str::to_owned).collect()
}

fn text(path: &Path, most: u64) -> Option<String> {
    let file = File::open(path).ok().filter(|file| file.metadata().is_ok_and(|meta| meta.is_file()))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_its_distributions_by_what_that_says_of_itself() {
        let root = tempfile::tempdir().unwrap();
        let site = root.path().join("venv/lib/python3.13/site-packages");
        let write = |path: &str, text: &str| {
            let path = site.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("Flask-3.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: Flask\n\nName: no\n");
        write("Flask-3.0.dist-info/RECORD", "flask/app.py,sha256=x,1\n../../../bin/flask,,\n");
        write("one-1.dist-info/RECORD", "shared/one.py,,\n\"shared/a,b.py\",,\n");
        write("two-1.dist-info/RECORD", "shared/two.py,,\n");
        write("six-1.egg-info/PKG-INFO", "Name: six\n");
        write("six-1.egg-info/top_level.txt", "six\n");
        write("Old-0.1-py2.7.egg-info", "Metadata-Version: 1.0\nName: Old-Thing\n");
        let mut distributions = Distributions::below(root.path().to_owned());
        let mut check = |file: &str, expected: Option<&str>| {
            let path = format!("/venv/lib/python3.13/site-packages/{file}");
            assert_eq!(distributions.name(&path).as_deref(), expected, "{file}");
        };
        check("flask/app.py", Some("Flask"));
        check("flask/json/tag.py", Some("Flask"));
        check("shared/one.py", Some("one"));
        check("shared/two.py", Some("two"));
        check("shared/a,b.py", Some("one"));
        check("shared/three.py", None);
        check("six.py", Some("six"));
        check("old_thing/x.py", Some("Old-Thing"));
        check("stranger.py", None);
        assert_eq!(distributions.name("/srv/app.py"), None);
        assert_eq!(distributions.name("site-packages/flask/app.py"), None);
    }
}
