//! Every way a Python can be hidden in a process, and that it is found nevertheless.
#![allow(clippy::expect_used, clippy::print_stderr, reason = "a test fails loudly, and prints what it skips")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use pitviper::layout::Catalogue;
use pitviper::memory::{Addr, Memory};
use pitviper::target::locate::{LocateError, asyncio_debug, locate};
use pitviper::target::{Located, Proc, Process, Root};
use support::{PARK, Python, Target, install, python, pythons, start, wait_until};
use tempfile::TempDir;

fn catalogue() -> Catalogue {
    Catalogue::load(None).expect("the embedded layouts are good")
}

/// Locates a Python and follows its list of interpreters with the layout that was chosen.
#[track_caller]
fn check(pid: i32, version: &str) -> Located {
    let process = Process::open(&Proc::default(), pid).expect("it runs");
    let located = locate(&process, &catalogue()).unwrap_or_else(|error| panic!("{version}: {error}"));
    assert_eq!(located.fingerprint.version.to_string(), version);
    assert!(!interpreters(&process, &located).is_empty());
    located
}

/// The interpreters of a process, each with a thread that belongs to it.
#[track_caller]
fn interpreters(process: &Process, located: &Located) -> Vec<Addr> {
    let memory: &dyn Memory = process.memory();
    let key = |section, key| located.chosen.layout.key(section, key).expect("the layout has it") as u64;
    let head = match located.root {
        Root::Runtime(at) => at.plus(key("runtime", "interpreters_head")),
        Root::InterpHead(at) => at,
    };
    let mut found = Vec::new();
    let mut interp: Addr = memory.get(head).expect("the root is there");
    while !interp.is_null() {
        let thread: Addr = memory.get(interp.plus(key("interp", "threads_head"))).expect("it has threads");
        // A sub-interpreter that nothing runs in has none since 3.13.
        if !thread.is_null() || found.is_empty() {
            assert_eq!(memory.get(thread.plus(key("thread", "interp"))), Ok(interp));
        }
        found.push(interp);
        interp = memory.get(interp.plus(key("interp", "next"))).expect("the list goes on");
    }
    found
}

/// Why nothing was found.
#[track_caller]
fn refuse(pid: i32) -> LocateError {
    let process = Process::open(&Proc::default(), pid).expect("it runs");
    locate(&process, &catalogue()).expect_err("there is nothing to be found")
}

/// The Pythons with a shared library and headers, which a C program can be linked with.
fn linkable() -> impl Iterator<Item = (&'static Python, Prefix)> {
    pythons().iter().filter_map(|python| Some((python, Prefix::of(python)?)))
}

/// Where a Python is installed that keeps its interpreter in a shared library.
struct Prefix {
    dir: PathBuf,
    include: PathBuf,
    shared: PathBuf,
    archive: PathBuf,
}

impl Prefix {
    fn of(python: &Python) -> Option<Prefix> {
        let ask = "import sysconfig as s\nfor n in ['prefix', 'INCLUDEPY', 'LIBDIR', 'INSTSONAME', 'LIBPL', 'LIBRARY']: print(s.get_config_var(n))";
        let text = python.ask(ask)?;
        let [dir, include, lib, soname, archives, archive] =
            text.lines().collect::<Vec<_>>().try_into().ok()?;
        let prefix = Prefix {
            dir: dir.into(),
            include: include.into(),
            shared: Path::new(lib).join(soname),
            archive: Path::new(archives).join(archive),
        };
        let own = python.exe().starts_with(&prefix.dir) && prefix.shared.starts_with(&prefix.dir);
        let usable = prefix.include.join("Python.h").exists() && prefix.shared.extension()? == "0";
        (own && usable && prefix.dir != Path::new("/usr")).then_some(prefix)
    }

    /// Compiles the program that embeds Python; `linked` says how.
    fn host(&self, dir: &Path, name: &str, linked: &[&str]) -> PathBuf {
        let out = dir.join(name);
        let mut cc = Command::new("cc");
        cc.arg("-w").arg("-I").arg(&self.include).arg("-o").arg(&out);
        cc.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs/host.c")).args(linked);
        run(cc.args(["-lpthread", "-ldl", "-lutil", "-lm"]));
        out
    }

    fn shared_host(&self, dir: &Path, flags: &[&str]) -> PathBuf {
        let lib = self.shared.parent().expect("a directory").display();
        let rpath = format!("-Wl,-rpath,{lib}");
        let shared = self.shared.display().to_string();
        self.host(dir, "host", &[flags, &[shared.as_str(), rpath.as_str()]].concat())
    }
}

#[track_caller]
fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

fn host(program: &Path, prefix: &Prefix, mode: &str) -> Target {
    let mut command = Command::new(program);
    command.arg(mode).env("PYTHONHOME", &prefix.dir);
    Target::spawn(command)
}

fn temp() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    dir
}

/// Copies an executable and gives other names to what it exports or names: to those that look, it exports nothing.
#[track_caller]
fn disguise(from: &Path, to: &Path, names: &[&str]) {
    let mut bytes = fs::read(from).expect("the executable is there");
    for name in names {
        let (old, mut new) = (format!("\0{name}\0").into_bytes(), format!("\0{name}\0").into_bytes());
        let last = new.len() - 2;
        new[last] = b'~';
        let places: Vec<usize> =
            (0..bytes.len() - old.len()).filter(|at| bytes[*at..].starts_with(&old)).collect();
        assert!(!places.is_empty(), "{} does not name {name}", from.display());
        for at in places {
            bytes[at..at + new.len()].copy_from_slice(&new);
        }
    }
    let draft = to.with_extension("draft");
    fs::write(&draft, bytes).expect("it is written");
    install(&draft, to);
}

fn scripted(command: &[&str], envs: &[(&str, &str)]) -> Target {
    let mut started = Command::new(command[0]);
    started.args(&command[1..]).args(["-c", PARK]).envs(envs.iter().copied());
    Target::spawn(started)
}

/// The last of the line of first children: the process that `unshare --fork` has started.
fn descendant(pid: i32) -> i32 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().next().and_then(|child| child.parse().ok()).map_or(pid, descendant)
}

#[test]
fn every_python_is_found_as_it_is_installed() {
    for python in pythons() {
        let target = start(python, PARK);
        let located = check(target.pid(), &python.version);
        let flags = (located.fingerprint.debug, located.fingerprint.free_threaded);
        assert_eq!(flags, (python.name.ends_with('d'), python.name.ends_with('t')), "{}", python.name);
        assert_eq!(located.chosen.layout.name.ends_with('t'), located.fingerprint.free_threaded);
    }
}

#[test]
fn an_embedding_program_is_found_and_so_are_its_copies_of_the_librarys_variables() {
    for (python, prefix) in linkable() {
        for pie in ["-pie", "-no-pie"] {
            let dir = temp();
            let target = host(&prefix.shared_host(dir.path(), &["-fPIE", pie]), &prefix, "run");
            let located = check(target.pid(), &python.version);
            assert_eq!(located.module.path, prefix.shared);
            let process = Process::open(&Proc::default(), target.pid()).expect("it runs");
            let memory: &dyn Memory = process.memory();
            // The one class that is its own class: true of the variable in use, not of one that was copied from.
            let class = located.module.symbols["PyType_Type"];
            assert_eq!(memory.get(class.plus(8)), Ok(class), "{} {pie}", python.name);
            let maps = process.maps().expect("it runs");
            let holder = maps.at(class.0).map(|m| m.path.clone());
            assert_ne!(
                holder.as_deref(),
                Some(prefix.shared.as_path()),
                "nothing was copied: this test proves nothing"
            );
        }
    }
}

#[test]
fn an_embedding_program_without_any_symbol_is_found_and_all_its_interpreters_with_it() {
    for (python, prefix) in linkable() {
        let dir = temp();
        let archive = prefix.archive.display().to_string();
        let program = prefix.host(dir.path(), "quiet", &["-no-pie", &archive, "-s"]);
        let look = |has_section: bool| {
            let target = host(&program, &prefix, "sub");
            let located = check(target.pid(), &python.version);
            assert_eq!(located.module.path, program);
            let process = Process::open(&Proc::default(), target.pid()).expect("it runs");
            assert_eq!(interpreters(&process, &located).len(), 2, "{}: {}", python.name, located.found_by);
            let how = match python.minor() {
                (3, 10..) if has_section => "the section .PyRuntime",
                (3, 13..) => "the cookie of _Py_DebugOffsets",
                _ => "a scan of its data",
            };
            assert!(located.found_by.contains(how), "{}: {}", python.name, located.found_by);
        };
        look(true);
        run(Command::new("objcopy").args(["--rename-section", ".PyRuntime=.other"]).arg(&program));
        look(false);
    }
}

#[test]
fn an_installed_python_that_hides_its_names_is_found() {
    let hidden = ["_PyRuntime", "PyInterpreterState_Head", ".PyRuntime"];
    for python in pythons().iter().filter(|p| p.minor() >= (3, 10) && Prefix::of(p).is_none()) {
        let parent = python.root().map_or("/tmp".into(), |root| root.join("tmp"));
        let dir = tempfile::tempdir_in(parent).expect("a directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let snake = dir.path().join("snake");
        disguise(&python.exe(), &snake, &hidden);
        let snake = match python.root() {
            Some(root) => Path::new("/").join(snake.strip_prefix(root).expect("it lies there")),
            None => snake,
        };
        let (snake, home) =
            (snake.display().to_string(), python.ask("import sys; print(sys.prefix)").expect("it says"));
        let mut words: Vec<&str> = python.command.iter().map(String::as_str).collect();
        words.pop();
        words.push(&snake);
        let target = scripted(&words, &[("PYTHONHOME", home.trim_end())]);
        let located = check(target.pid(), &python.version);
        let how =
            if python.minor() >= (3, 13) { "the cookie of _Py_DebugOffsets" } else { "a scan of its data" };
        assert!(located.found_by.contains(how), "{}: {}", python.name, located.found_by);
    }
}

#[test]
fn a_file_that_is_gone_or_out_of_reach_is_not_needed() {
    for (python, prefix) in linkable() {
        let dir = temp();
        let (exe, lib) =
            (dir.path().join("snake"), dir.path().join(prefix.shared.file_name().expect("a name")));
        install(Path::new(&python.command[0]), &exe);
        install(&prefix.shared, &lib);
        let snake = exe.display().to_string();
        let here = dir.path().display().to_string();
        let home = prefix.dir.display().to_string();
        let target = scripted(&[&snake], &[("LD_LIBRARY_PATH", &here), ("PYTHONHOME", &home)]);
        fs::remove_file(&exe).and_then(|()| fs::remove_file(&lib)).expect("they can be deleted");
        let located = check(target.pid(), &python.version);
        assert_eq!(located.module.path, lib);
        assert!(!located.found_by.contains("scan"), "{}: {}", python.name, located.found_by);

        // Without the right to open `map_files`, all there is is the target's memory.
        let proc = bare_proc(&target, &dir.path().join("proc"), &["maps"]);
        let process = Process::open(&proc, target.pid()).expect("it runs");
        let bare = locate(&process, &catalogue()).expect("its memory is enough");
        assert_eq!((bare.root, bare.fingerprint.version), (located.root, located.fingerprint.version));
        assert!(!bare.found_by.contains("file") && !bare.found_by.contains("scan"), "{}", bare.found_by);
    }
}

/// A proc file system at `place` that shows less of a target than there is, and more where it is asked for.
fn bare_proc(target: &Target, place: &Path, also: &[&str]) -> Proc {
    let own = place.join(target.pid().to_string());
    fs::create_dir_all(&own).expect("it is ours");
    for name in ["stat", "status", "mem", "task", "comm", "cmdline"].iter().chain(also) {
        symlink(format!("/proc/{}/{name}", target.pid()), own.join(name)).expect("it is ours");
    }
    Proc::at(place)
}

#[test]
fn a_file_is_known_by_its_content_where_inodes_lie_and_a_wrong_one_is_refused() {
    let (Some(python), Some(other)) = (python("2.7"), python("3.6")) else { return };
    let (Some(prefix), Some(other)) = (Prefix::of(python), Prefix::of(other)) else { return };
    let target = start(python, PARK);
    let maps = fs::read_to_string(format!("/proc/{}/maps", target.pid())).expect("it runs");
    // overlayfs and btrfs show other devices and inodes in `maps` than in `stat`.
    let inode = regex::Regex::new(r"(?m)^(\S+ \S+ \S+ \S+) ([1-9])").expect("it compiles");
    let lying = inode.replace_all(&maps, "$1 9$2").into_owned();
    assert_ne!(lying, maps, "nothing was changed: this test proves nothing");
    let look = |maps: &str| {
        let dir = temp();
        let proc = bare_proc(&target, dir.path(), &["root"]);
        fs::write(proc.of(target.pid()).join("maps"), maps).expect("it is ours");
        let process = Process::open(&proc, target.pid()).expect("it runs");
        locate(&process, &catalogue()).expect("it is found").found_by
    };
    assert_eq!(look(&lying), "the file's symbol interp_head");
    let [right, wrong] = [&prefix.shared, &other.shared].map(|path| path.display().to_string());
    assert_eq!(look(&lying.replace(&right, &wrong)), "what the code of PyInterpreterState_Head reads");
}

#[test]
fn another_mount_and_pid_namespace_is_no_obstacle() {
    for (python, prefix) in linkable() {
        let dir = temp();
        let place = dir.path().display();
        let script = format!(
            "mount --bind {} {place} && exec env LD_LIBRARY_PATH={place}/lib {place}/bin/python -c \"$0\"",
            prefix.dir.display()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c"]).arg(script).arg(PARK);
        let target = Target::spawn(command);
        let pid = descendant(target.pid());
        let located = check(pid, &python.version);
        assert!(located.module.path.starts_with(dir.path()), "{:?}", located.module.path);
        assert!(!located.module.path.exists(), "it must be out of sight for us");
        if python.minor() < (3, 7) {
            assert_eq!(located.found_by, "the file's symbol interp_head");
        }
        let process = Process::open(&Proc::default(), pid).expect("it runs");
        assert_eq!(process.ns_pid(), 1);
        assert_eq!(process.threads().iter().map(|t| (t.tid, t.ns_tid)).collect::<Vec<_>>(), [(pid, 1)]);
    }
}

#[test]
fn a_section_is_found_below_another_root() {
    for name in ["3.14-debian", "3.14d", "3.15-debian", "3.15d"] {
        let Some(python) = python(name) else { continue };
        let mut target = start(
            python,
            &format!(
                "import sys\nprint('ready'); sys.stdout.flush()\nsys.stdin.readline()\nimport asyncio{PARK}"
            ),
        );
        let before = asyncio_debug(&Process::open(&Proc::default(), target.pid()).expect("it runs"));
        assert_eq!(before.is_some(), python.minor() >= (3, 15), "it is built in since 3.15");
        target.tell("");
        assert_eq!(target.line(), "ready");
        let located = check(target.pid(), &python.version);
        let process = Process::open(&Proc::default(), target.pid()).expect("it runs");
        let at = asyncio_debug(&process).expect("asyncio is there");
        assert_eq!(located.module.symbols.get(".AsyncioDebug"), Some(&at));
        // It begins with the size of a task, which is some hundred bytes.
        let memory: &dyn Memory = process.memory();
        assert!((64..4096).contains(&memory.get::<u64>(at).expect("it is there")));
    }
}

#[test]
fn a_python_under_its_dynamic_linker_is_found() {
    let linker = fs::read_dir("/lib64").into_iter().flatten().flatten().map(|entry| entry.path());
    let Some(linker) = linker.into_iter().find(|path| path.to_string_lossy().contains("ld-linux")) else {
        return eprintln!("skipped: no dynamic linker in /lib64");
    };
    for python in pythons().iter().filter(|p| p.root().is_none()) {
        let target = scripted(&[&linker.display().to_string(), &python.exe().display().to_string()], &[]);
        check(target.pid(), &python.version);
    }
}

#[test]
fn a_renamed_executable_in_memory_alone_is_found() {
    let Some(python) = python("3.11-debian") else { return };
    let program = "import os, sys\nfd = os.memfd_create('x', 0)\nos.write(fd, open(sys.argv[1], 'rb').read())\n\
                   os.execve('/proc/self/fd/%d' % fd, ['x', '-c', sys.argv[2]], {'PYTHONHOME': '/usr'})";
    let mut command = Command::new(python.exe());
    command.args(["-c", program]).arg(python.exe()).arg(PARK);
    let target = Target::spawn(command);
    check(target.pid(), &python.version);
}

#[test]
fn a_process_whose_first_thread_has_ended_is_found() {
    for (python, prefix) in linkable() {
        let dir = temp();
        let target = host(&prefix.shared_host(dir.path(), &[]), &prefix, "orphan");
        // The first thread may take its time to end.
        let stat = || fs::read_to_string(format!("/proc/{}/stat", target.pid())).expect("it runs");
        wait_until("the end of the first thread", || stat().contains(") Z "));
        check(target.pid(), &python.version);
    }
}

#[test]
fn sub_interpreters_are_all_in_the_list() {
    for (python, prefix) in linkable() {
        let dir = temp();
        let target = host(&prefix.shared_host(dir.path(), &[]), &prefix, "sub");
        let located = check(target.pid(), &python.version);
        let process = Process::open(&Proc::default(), target.pid()).expect("it runs");
        assert_eq!(interpreters(&process, &located).len(), 2, "{}", python.name);
    }
}

#[test]
fn a_forked_child_is_found_like_its_parent() {
    for python in pythons() {
        let mut target = start(
            python,
            &format!(
                "import os, time\nchild = os.fork()\nif not child: time.sleep(600){PARK}sys.stdout.write('x')"
            ),
        );
        let child = descendant(target.pid());
        assert_ne!(child, target.pid());
        let located = [child, target.pid()].map(|pid| check(pid, &python.version));
        assert_eq!(located[0].root, located[1].root);
        let child = nix::unistd::Pid::from_raw(child);
        nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL).expect("it is our grandchild");
        target.finish();
    }
}

#[test]
fn of_two_interpreters_the_one_that_runs_is_found() {
    let libraries: Vec<_> = linkable().collect();
    for (python, own) in &libraries {
        for (other, prefix) in &libraries {
            if own.shared == prefix.shared {
                continue;
            }
            let load = format!("import ctypes\nctypes.CDLL({:?}){PARK}", prefix.shared.display());
            let target = start(python, &load);
            let maps = fs::read_to_string(format!("/proc/{}/maps", target.pid())).expect("it runs");
            assert!(maps.contains(&prefix.shared.display().to_string()), "{} is not loaded", other.name);
            let located = check(target.pid(), &python.version);
            assert_eq!(located.module.path, own.shared);
        }
    }
}

#[test]
fn a_python_that_has_not_begun_or_has_ended_says_so() {
    for (python, prefix) in linkable() {
        let dir = temp();
        let program = prefix.shared_host(dir.path(), &[]);
        for mode in ["early", "late"] {
            let target = host(&program, &prefix, mode);
            let error = refuse(target.pid());
            // Before the start there is no text of the version yet, where no symbol has it.
            let unknown = mode == "early" && python.minor() < (3, 11);
            match error {
                LocateError::NoVersion { .. } if unknown => {}
                LocateError::NotInitialised { version, .. } if version.to_string() == python.version => {}
                other => panic!("{} {mode}: {other}", python.name),
            }
        }
    }
}

#[test]
fn what_is_not_python_is_named() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "echo ready; read line"]);
    let target = Target::spawn(shell);
    let error = refuse(target.pid());
    assert!(matches!(&error, LocateError::NotPython { exe, .. } if exe.contains("sh")), "{error}");

    let own = refuse(std::process::id() as i32);
    assert!(matches!(&own, LocateError::NotPython { exe, .. } if exe.contains("find")), "{own}");

    let dir = temp();
    let source = dir.path().join("pypy.c");
    fs::write(&source, "#include <stdio.h>\nint pypy_main_startup(void) { return 0; }\nint main(void) { puts(\"ready\"); fflush(stdout); return getchar(); }").expect("it is ours");
    run(Command::new("cc").arg("-rdynamic").arg(&source).arg("-o").arg(dir.path().join("pypy")));
    let target = Target::spawn(Command::new(dir.path().join("pypy")));
    let error = refuse(target.pid());
    assert!(matches!(error, LocateError::PyPy { .. }), "{error}");
    assert!(error.to_string().contains("PyPy, not CPython"), "{error}");
}

#[test]
fn a_thread_of_the_kernel_is_not_python() {
    let kernel = fs::read_to_string("/proc/2/comm").unwrap_or_default();
    if kernel.trim_end() != "kthreadd" {
        return eprintln!("skipped: no threads of the kernel are to be seen here");
    }
    assert!(matches!(refuse(2), LocateError::NotPython { exe, .. } if exe == "kthreadd"));
}
