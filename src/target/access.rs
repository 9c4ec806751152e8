//! What decides whether we may read a process, checked one by one as the kernel does (`__ptrace_may_access`,
//! kernel/ptrace.c), so that a refusal has a cause.
//!
//! Everything is read below a [`Proc`], so that a laid-out one tests what a machine lacks. What a cause means for a user,
//! and what mends it, is said by `cli::doctor`.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::process::{Proc, status_field};
use crate::memory::live;

/// The bit of `CAP_SYS_PTRACE` (include/uapi/linux/capability.h).
const CAP_SYS_PTRACE: u64 = 1 << 19;
/// What the first user namespace maps: every id to itself.
const ALL_IDS: [&str; 3] = ["0", "0", "4294967295"];
/// How many parents are followed from a process to us.
const MAX_ANCESTORS: usize = 256;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Whether it lets us read.
    pub verdict: Verdict,
    /// What was found.
    pub finding: Finding,
}

/// Whether something lets us read a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Good,
    /// It may not, or only in part.
    Doubtful,
    /// It does not.
    Bad,
    /// It cannot be seen from here.
    Unknown,
}

/// What was found about one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The process itself.
    Process(Existence),
    /// Our user and group ids against the target's: without privilege they must all be the same.
    User {
        /// Ours: the real ones.
        ours: Id,
        /// The target's: real, effective and saved.
        theirs: [Id; 3],
    },
    /// `CAP_SYS_PTRACE`, which overrides most of the rest.
    Capability {
        /// Whether we have it.
        have: bool,
        /// Whether something else fails without it.
        needed: bool,
    },
    /// The user namespaces; capabilities count only in one's own and those below.
    UserNamespace(Relation),
    /// Whether the kernel would dump the target's core: a program that has changed its user, or asked so, is closed.
    Dumpable(Option<bool>),
    /// Capabilities that the target may use and we may not.
    MoreCapabilities {
        /// A bit for each.
        beyond: u64,
    },
    /// The Yama security module.
    Yama {
        /// `kernel.yama.ptrace_scope`; `None` where there is no Yama.
        scope: Option<u8>,
        /// The target descends from us.
        descendant: bool,
    },
    /// A seccomp filter on ourselves.
    Seccomp {
        /// There is a filter.
        filtered: bool,
        /// It forbids `process_vm_readv`; `/proc/PID/mem` remains.
        forbids: bool,
    },
    /// AppArmor, SELinux or another module that labels processes.
    Label {
        /// Our label.
        ours: Option<String>,
        /// The target's.
        theirs: Option<String>,
    },
    /// A debugger that holds the target; it does not keep us from reading.
    Tracer(Option<i32>),
    /// The mount option `hidepid` of the proc file system.
    HidePid(Option<String>),
}

/// Whether there is a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existence {
    /// There is.
    Runs,
    /// There is none, or it is hidden.
    Missing,
    /// It has exited.
    Zombie,
    /// It is a thread of this process.
    ThreadOf(i32),
}

/// A user id and a group id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id {
    /// The user.
    pub user: u32,
    /// The group.
    pub group: u32,
}

/// How the target's user namespace lies to ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// It is ours.
    Same,
    /// It is below ours: we are in the machine's first one.
    Below,
    /// It is another one, of which ours is not known to be an ancestor.
    Other,
    /// It cannot be seen.
    Hidden,
}

/// What `/proc/PID/status` says of rights.
struct Status {
    pid: i32,
    parent: i32,
    group_leader: i32,
    zombie: bool,
    ids: [Id; 3],
    permitted: u64,
    effective: u64,
    tracer: i32,
    seccomp: u32,
}

impl Finding {
    /// What was looked at, in a word or two.
    pub fn name(&self) -> &'static str {
        match self {
            Finding::Process(_) => "process",
            Finding::User { .. } => "user",
            Finding::Capability { .. } => "CAP_SYS_PTRACE",
            Finding::UserNamespace(_) => "user namespace",
            Finding::Dumpable(_) => "dumpable",
            Finding::MoreCapabilities { .. } => "capabilities",
            Finding::Yama { .. } => "Yama",
            Finding::Seccomp { .. } => "seccomp",
            Finding::Label { .. } => "security label",
            Finding::Tracer(_) => "debugger",
            Finding::HidePid(_) => "hidepid",
        }
    }
}

/// Looks at everything that decides; without a pid at what concerns any process.
pub fn diagnose(proc: &Proc, pid: Option<i32>) -> Vec<Check> {
    let ours = Status::read(proc, "self");
    let mut checks = Vec::new();
    let theirs = pid.map(|pid| (pid, Status::read(proc, &pid.to_string())));
    if let Some((pid, status)) = &theirs {
        let existence = status.as_ref().map_or(Existence::Missing, |status| status.existence(*pid));
        let verdict = if existence == Existence::Runs { Verdict::Good } else { Verdict::Bad };
        checks.push(Check { verdict, finding: Finding::Process(existence) });
    }
    let Some(ours) = ours else { return checks };
    let theirs = theirs.and_then(|(pid, status)| Some(Theirs { pid, status: status? }));
    let relation = theirs.as_ref().map_or(Relation::Same, |theirs| relation(proc, theirs.pid));
    let have = ours.effective & CAP_SYS_PTRACE != 0;
    let privileged = have && matches!(relation, Relation::Same | Relation::Below);
    let mut rest = Vec::new();
    if let Some(theirs) = &theirs {
        rest.extend(theirs.checks(proc, &ours, relation, privileged));
    }
    rest.push(yama(proc, &ours, theirs.as_ref(), privileged));
    let needed = rest.iter().any(|check| check.verdict == Verdict::Bad && !check.overrules_privilege());
    let verdict = match (have, needed, theirs.is_some()) {
        (true, ..) | (false, false, true) => Verdict::Good,
        (false, true, _) => Verdict::Bad,
        (false, false, false) => Verdict::Doubtful,
    };
    checks.push(Check { verdict, finding: Finding::Capability { have, needed } });
    checks.extend(rest);
    checks.push(seccomp(ours.seccomp, live::forbidden()));
    checks.push(hidepid(proc, &ours, theirs.as_ref(), privileged));
    checks
}

/// The first thing that keeps us from reading a process; what only `CAP_SYS_PTRACE` would mend comes before that itself.
pub fn blame(checks: &[Check]) -> Option<&Check> {
    let bad = |check: &&Check| check.verdict == Verdict::Bad;
    let cause = |check: &&Check| !matches!(check.finding, Finding::Capability { .. });
    checks.iter().filter(bad).find(cause).or_else(|| checks.iter().find(bad))
}

/// The target, and what it says of its rights.
struct Theirs {
    pid: i32,
    status: Status,
}

impl Theirs {
    fn checks(&self, proc: &Proc, ours: &Status, relation: Relation, privileged: bool) -> Vec<Check> {
        let own = ours.ids[0];
        let theirs = self.status.ids;
        let same = theirs.iter().all(|id| *id == own);
        // Who made a namespace below has every capability in it: a rootless container is open to its user.
        let privileged = privileged || (same && relation == Relation::Below);
        let unless_privileged = |good: bool| if good || privileged { Verdict::Good } else { Verdict::Bad };
        let user = Check { verdict: unless_privileged(same), finding: Finding::User { ours: own, theirs } };

        let namespace = match relation {
            Relation::Same => Verdict::Good,
            Relation::Hidden => Verdict::Unknown,
            Relation::Below | Relation::Other => unless_privileged(false),
        };
        let namespace = Check { verdict: namespace, finding: Finding::UserNamespace(relation) };

        let dumpable = self.dumpable(proc);
        let verdict = match dumpable {
            Some(dumpable) => unless_privileged(dumpable),
            None if privileged => Verdict::Good,
            None => Verdict::Unknown,
        };
        let dumpable = Check { verdict, finding: Finding::Dumpable(dumpable) };

        let beyond = self.status.permitted & !ours.permitted;
        let more =
            Check { verdict: unless_privileged(beyond == 0), finding: Finding::MoreCapabilities { beyond } };

        let labels = label(proc, self.pid);
        let tracer = (self.status.tracer != 0).then_some(self.status.tracer);
        let verdict = if tracer.is_some() { Verdict::Doubtful } else { Verdict::Good };
        vec![user, namespace, dumpable, more, labels, Check { verdict, finding: Finding::Tracer(tracer) }]
    }

    /// The files of a process that must not be dumped belong to root. Of a process of root's this says nothing.
    fn dumpable(&self, proc: &Proc) -> Option<bool> {
        let owner = fs::metadata(proc.of(self.pid).join("status")).ok()?.uid();
        let effective = self.status.ids[1].user;
        if owner == effective { (effective != 0).then_some(true) } else { Some(false) }
    }
}

impl Check {
    /// Whether `CAP_SYS_PTRACE` would not help.
    fn overrules_privilege(&self) -> bool {
        matches!(
            self.finding,
            Finding::Yama { scope: Some(3), .. }
                | Finding::UserNamespace(Relation::Other)
                | Finding::Label { .. }
        )
    }
}

impl Status {
    fn read(proc: &Proc, name: &str) -> Option<Status> {
        let text = fs::read_to_string(proc.root().join(name).join("status")).ok()?;
        let number = |name: &str| status_field(&text, name)?.parse::<i32>().ok();
        let mask = |name: &str| u64::from_str_radix(status_field(&text, name)?, 16).ok();
        let (users, groups) = (triple(&text, "Uid")?, triple(&text, "Gid")?);
        let id = |at: usize| Some(Id { user: *users.get(at)?, group: *groups.get(at)? });
        Some(Status {
            pid: number("Pid")?,
            parent: number("PPid").unwrap_or(0),
            group_leader: number("Tgid").or(number("Pid"))?,
            zombie: status_field(&text, "State").is_some_and(|state| state.starts_with('Z'))
                && number("Threads").is_none_or(|threads| threads <= 1),
            ids: [id(0)?, id(1)?, id(2)?],
            permitted: mask("CapPrm").unwrap_or(0),
            effective: mask("CapEff").unwrap_or(0),
            tracer: number("TracerPid").unwrap_or(0),
            seccomp: number("Seccomp").and_then(|mode| mode.try_into().ok()).unwrap_or(0),
        })
    }

    fn existence(&self, pid: i32) -> Existence {
        match self.group_leader {
            leader if leader != pid => Existence::ThreadOf(leader),
            _ if self.zombie => Existence::Zombie,
            _ => Existence::Runs,
        }
    }
}

fn triple(status: &str, name: &str) -> Option<Vec<u32>> {
    let fields = status_field(status, name)?.split_ascii_whitespace();
    Some(fields.filter_map(|id| id.parse().ok()).collect())
}

/// The link says it for certain, where it may be read; the map of ids differs between most namespaces.
fn relation(proc: &Proc, pid: i32) -> Relation {
    let (own, other) = (proc.root().join("self"), proc.of(pid));
    let same = match (fs::read_link(own.join("ns/user")), fs::read_link(other.join("ns/user"))) {
        (Ok(ours), Ok(theirs)) => ours == theirs,
        _ => match (fs::read_to_string(own.join("uid_map")), fs::read_to_string(other.join("uid_map"))) {
            (Ok(ours), Ok(theirs)) => ours == theirs,
            _ => return Relation::Hidden,
        },
    };
    let first = fs::read_to_string(own.join("uid_map"))
        .is_ok_and(|map| map.split_ascii_whitespace().eq(ALL_IDS.iter().copied()));
    match (same, first) {
        (true, _) => Relation::Same,
        (false, true) => Relation::Below,
        (false, false) => Relation::Other,
    }
}

fn yama(proc: &Proc, ours: &Status, theirs: Option<&Theirs>, privileged: bool) -> Check {
    let scope = fs::read_to_string(proc.root().join("sys/kernel/yama/ptrace_scope"));
    let scope: Option<u8> = scope.ok().and_then(|text| text.trim().parse().ok());
    let descendant = theirs.is_some_and(|theirs| descends(proc, &theirs.status, ours.pid));
    let verdict = match scope {
        None | Some(0) => Verdict::Good,
        Some(1 | 2) if privileged => Verdict::Good,
        Some(1) if descendant => Verdict::Good,
        // What concerns any process does not concern those that we start.
        Some(1) if theirs.is_none() => Verdict::Doubtful,
        Some(_) => Verdict::Bad,
    };
    Check { verdict, finding: Finding::Yama { scope, descendant } }
}

fn descends(proc: &Proc, from: &Status, ancestor: i32) -> bool {
    let mut parent = from.parent;
    for _ in 0..MAX_ANCESTORS {
        if parent == ancestor {
            return true;
        }
        let Some(status) = Status::read(proc, &parent.to_string()) else { return false };
        parent = status.parent;
    }
    false
}

fn seccomp(mode: u32, forbids: bool) -> Check {
    let verdict = if forbids { Verdict::Doubtful } else { Verdict::Good };
    Check { verdict, finding: Finding::Seccomp { filtered: mode != 0, forbids } }
}

fn label(proc: &Proc, pid: i32) -> Check {
    let read = |name: &str| {
        let text = fs::read_to_string(proc.root().join(name).join("attr/current")).ok()?;
        let text = text.trim_matches(['\0', '\n', ' ']);
        (!text.is_empty()).then(|| text.to_owned())
    };
    let (ours, theirs) = (read("self"), read(&pid.to_string()));
    let free = |label: &Option<String>| label.as_ref().is_none_or(|label| label.contains("unconfined"));
    // A profile may allow it, and does so mostly among those that share it.
    let verdict =
        if ours == theirs || (free(&ours) && free(&theirs)) { Verdict::Good } else { Verdict::Doubtful };
    Check { verdict, finding: Finding::Label { ours, theirs } }
}

fn hidepid(proc: &Proc, ours: &Status, theirs: Option<&Theirs>, privileged: bool) -> Check {
    let mounts = fs::read_to_string(proc.root().join("self/mounts")).unwrap_or_default();
    let options = mounts.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        (fields.nth(2) == Some("proc")).then(|| fields.next()).flatten()
    });
    let level = options.and_then(|all| all.split(',').find_map(|option| option.strip_prefix("hidepid=")));
    let level = level.filter(|level| !matches!(*level, "0" | "off")).map(str::to_owned);
    let own = theirs.is_some_and(|theirs| theirs.status.ids[1].user == ours.ids[1].user);
    let verdict = match &level {
        None => Verdict::Good,
        Some(_) if privileged || own => Verdict::Good,
        Some(_) => Verdict::Doubtful,
    };
    Check { verdict, finding: Finding::HidePid(level) }
}
