//! Where views are written to: which format each output has, and a file that appears whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use flate2::{Compression, GzBuilder};

use super::failure::{Exit, Failure};
use super::open::Context as Command;
use crate::format::{self, Format, FormatError};
use crate::recording::{Recording, View, ViewOptions};

/// Recordings tell what runs on a machine: they are for their owner alone.
const MODE: u32 = 0o600;

/// What writes the content of a file.
type Content<'c> = &'c dyn Fn(&mut dyn Write) -> io::Result<()>;

/// A view to be written.
#[derive(Debug, Clone)]
pub struct Output {
    path: PathBuf,
    format: &'static Format,
    /// It is the recording, which is written while it is made.
    streams: bool,
}

/// The outputs that were asked for. A format that is named must be meant for one file.
pub fn plan(paths: &[PathBuf], format: Option<&str>) -> anyhow::Result<Vec<Output>> {
    if format.is_some() && paths.len() > 1 {
        let message = format!("one --format for {} outputs", paths.len());
        return Err(Failure::new(Exit::Usage, message)
            .hint("let each name say its format: -o a.svg -o b.json")
            .into());
    }
    let mut outputs: Vec<Output> = Vec::new();
    for path in paths {
        let name = path.to_string_lossy();
        let format = match format {
            Some(format) => format::by_name(format).and_then(|format| format::packs(format, &name)),
            None if name == "-" => {
                return Err(Failure::new(Exit::Usage, "standard output needs a format")
                    .hint(format!("add -f with one of {}", format::names()))
                    .into());
            }
            None => format::by_file(&name),
        };
        let format = format.map_err(failure)?;
        if outputs.iter().any(|output| output.path == *path) {
            return Err(Failure::new(Exit::Usage, format!("{name} is named twice"))
                .hint("each output needs a name of its own")
                .into());
        }
        // What is written in place is read back for the other outputs: a pipe or a device cannot be.
        let file = fs::metadata(path).map_or(name != "-", |there| there.is_file());
        let streams = format.name == "pit" && file && !outputs.iter().any(|output| output.streams);
        outputs.push(Output { path: path.clone(), format, streams });
    }
    Ok(outputs)
}

/// The name that a file gets where none was asked for: it tells process and time.
pub fn default_name(pid: i32, extension: &str) -> PathBuf {
    let now = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S").to_string();
    format!("pitviper-{pid}-{now}{extension}").into()
}

/// Refuses a file that cannot be written, before there is anything to lose.
pub fn probe(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    let refuse = |why: String, hint: String| -> anyhow::Result<()> {
        Err(Failure::new(Exit::Failed, format!("cannot write {shown}: {why}")).hint(hint).into())
    };
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => {
            return refuse("it is a directory".into(), format!("name a file in it: -o {shown}/profile.svg"));
        }
        // What is no file is written to as it is. Opening a pipe would wait for its reader, so it is not tried.
        Ok(there) if !there.is_file() => return Ok(()),
        _ if path.as_os_str() == "-" => return Ok(()),
        _ => {}
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !directory.is_dir() {
        let name = directory.display();
        return refuse(format!("there is no directory {name}"), format!("mkdir -p {name}"));
    }
    let beside = beside(path)?;
    match new(&beside) {
        Ok(_) => Ok(fs::remove_file(&beside)?),
        Err(error) => refuse(error.to_string(), "write it elsewhere: -o /DIRECTORY/FILE".into()),
    }
}

/// The name under which a file is written before it gets its own.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    // What is left of a process that had our number and died.
    let _ = fs::remove_file(&beside);
    Ok(beside)
}

/// What the user is told of a format that there is not.
fn failure(error: FormatError) -> Failure {
    let message = error.to_string();
    match error {
        FormatError::Unknown { .. } => {
            Failure::new(Exit::Usage, message).hint("or let the file's name say it: -o profile.svg")
        }
        FormatError::UnknownFile { .. } => {
            Failure::new(Exit::Usage, message).hint(format!("or name it: -f with one of {}", format::names()))
        }
        FormatError::Packed { .. } => Failure::new(Exit::Usage, message).hint("-o profile.pit"),
    }
}

impl Output {
    /// Where it goes; `-` is standard output.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it goes to standard output.
    pub fn is_stdout(&self) -> bool {
        self.path.as_os_str() == "-"
    }

    /// The file of the recording itself, which is written in place while it is made. There is one at most.
    pub fn recording(&self) -> Option<&Path> {
        self.streams.then_some(&self.path)
    }

    /// What a person does with it.
    pub fn opens_with(&self) -> &'static str {
        self.format.opens_with
    }

    /// Writes a view of a recording there.
    pub fn write(&self, recording: &Recording, options: &ViewOptions) -> anyhow::Result<()> {
        let view = View::new(recording, options)?;
        self.put(&|out| (self.format.write)(&view, out))
    }

    /// Writes there whatever `write` writes.
    pub fn put(&self, write: Content<'_>) -> anyhow::Result<()> {
        let writing = || format!("writing {}", self.path.display());
        if self.is_stdout() {
            let mut out = io::stdout().lock();
            write(&mut out)?;
            return Ok(out.flush()?);
        }
        match fs::metadata(&self.path) {
            // A device or a pipe is written to as it is; there is nothing to put in its place.
            Ok(there) if !there.is_file() && !there.is_dir() => {
                let file = OpenOptions::new().write(true).open(&self.path).with_context(writing)?;
                self.write_to(write, file).with_context(writing)
            }
            _ => self.replace(write).with_context(writing),
        }
    }

    /// Writes a new file beside the old one, then gives it its name.
    fn replace(&self, write: Content<'_>) -> io::Result<()> {
        let beside = beside(&self.path)?;
        let written = new(&beside).and_then(|file| self.write_to(write, file));
        let written = written.and_then(|()| fs::rename(&beside, &self.path));
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        written
    }

    fn write_to(&self, write: Content<'_>, file: File) -> io::Result<()> {
        let mut out = BufWriter::new(file);
        if self.path.extension().is_some_and(|extension| extension == "gz") {
            // No name and no time inside: equal recordings give equal bytes.
            let mut packed = GzBuilder::new().mtime(0).write(&mut out, Compression::default());
            write(&mut packed)?;
            packed.finish()?;
        } else {
            write(&mut out)?;
        }
        out.flush()
    }
}

/// Writes every output but the one that was written while it was recorded. One that fails does not keep the rest from being
/// written: says which there are now, and what went wrong first.
pub fn write_all(
    command: &Command,
    recording: &Recording,
    view: &ViewOptions,
    outputs: &[Output],
) -> (Vec<Output>, anyhow::Result<()>) {
    let (mut written, mut result) = (Vec::new(), Ok(()));
    for output in outputs {
        let wrote = if output.recording().is_some() { Ok(()) } else { output.write(recording, view) };
        match wrote {
            Ok(()) => written.push(output.clone()),
            Err(error) if result.is_ok() => result = Err(error),
            Err(error) => {
                super::complain(command.paint(), &error);
            }
        }
    }
    (written, result)
}

/// Makes the file that a recording is written to in place, and read back from.
///
/// A file of that name is replaced and not written into: as root we would otherwise follow anybody's link.
pub fn create(path: &Path) -> io::Result<File> {
    match fs::symlink_metadata(path) {
        Ok(there) if !there.is_dir() => fs::remove_file(path)?,
        _ => {}
    }
    new(path)
}

/// Makes a file that was not there, and gives it to whom we act for.
fn new(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(MODE).open(path)?;
    // Only root can give a file away, and only what root made is to be given.
    if let Some((user, group)) = invoker().filter(|_| file.metadata().is_ok_and(|made| made.uid() == 0)) {
        fchown(&file, Some(user), Some(group))?;
    }
    Ok(file)
}

/// The user and group who called sudo.
fn invoker() -> Option<(u32, u32)> {
    let id = |name| std::env::var(name).ok()?.parse().ok();
    Some((id("SUDO_UID")?, id("SUDO_GID")?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};

    use super::*;
    use crate::recording::Meta;

    fn one(path: &Path) -> Output {
        plan(&[path.to_owned()], None).unwrap().remove(0)
    }

    fn write(path: &Path) -> anyhow::Result<()> {
        one(path).write(&Recording::new(Meta::default()), &ViewOptions::default())
    }

    #[test]
    fn a_file_appears_whole_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.svg");
        fs::write(&path, "old").unwrap();
        write(&path).unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains("no samples"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_cannot_be_written_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        assert!(write(&dir.path().join("none").join("x.svg")).is_err());
        let taken = dir.path().join("x.svg");
        fs::create_dir(&taken).unwrap();
        assert!(write(&taken).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_packed_file_unpacks_to_the_plain_one_and_has_no_time_in_it() {
        use std::io::Read;
        let dir = tempfile::tempdir().unwrap();
        let (plain, packed) = (dir.path().join("x.json"), dir.path().join("x.json.gz"));
        write(&plain).unwrap();
        write(&packed).unwrap();
        let bytes = fs::read(&packed).unwrap();
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, fs::read(&plain).unwrap());
        assert_eq!(bytes.get(3..8), Some(&[0, 0, 0, 0, 0][..]), "no name, no time");
    }

    #[test]
    fn a_device_is_written_to_and_stays_a_device() {
        plan(&["/dev/null".into()], Some("svg")).unwrap()[0]
            .write(&Recording::default(), &ViewOptions::default())
            .unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }

    #[test]
    fn a_recording_does_not_follow_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (victim, link) = (dir.path().join("victim"), dir.path().join("x.pit"));
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        create(&link).unwrap().write_all(b"new").unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(fs::read_to_string(&link).unwrap(), "new");
    }

    #[test]
    fn only_one_recording_is_written_in_place() {
        let outputs = plan(&["a.pit".into(), "b.pit".into(), "c.svg".into()], None).unwrap();
        assert_eq!(
            outputs.iter().map(|output| output.recording().is_some()).collect::<Vec<_>>(),
            [true, false, false]
        );
        assert!(plan(&["-".into()], Some("pit")).unwrap()[0].recording().is_none());
    }

    #[test]
    fn outputs_without_a_format_are_refused_with_the_formats_that_there_are() {
        for (path, format) in
            [("x.png", None), ("-", None), ("x.svg", Some("png")), ("x.pit.gz", Some("pit"))]
        {
            let error = plan(&[path.into()], format).unwrap_err();
            let failure = error.downcast_ref::<Failure>().unwrap();
            assert_eq!(failure.exit, Exit::Usage, "{path}");
            let said = format!("{} {}", failure.message, failure.hint.clone().unwrap_or_default());
            assert!(said.contains("flamegraph") || path.ends_with("gz"), "{said}");
        }
        assert!(plan(&["a".into(), "b".into()], Some("svg")).is_err());
    }
}
