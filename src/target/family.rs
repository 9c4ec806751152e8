//! Everything that descends from some processes: who has come, who became another program, and who may be a Python.
//!
//! Design constraints: the kernel tells nobody who may not trace, so we ask again and again. Between two askings a process
//! may come and go, and is missed; one that is not a Python costs three small files each time, and no look at its memory.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::process::{Proc, Process, Sight};

/// The most processes that are followed at once.
const MAX_MEMBERS: usize = 1 << 14;
/// A child that has not become a program of its own after this time will go on with ours.
const FORKED_AFTER: Duration = Duration::from_millis(5);
/// How long a new program may take until it has mapped an interpreter.
const MAPPED_WITHIN: Duration = Duration::from_secs(2);
/// How long we wait between two looks at a program that may become a Python, at least and at most.
const LEAST_PATIENCE: Duration = Duration::from_millis(1);
const MOST_PATIENCE: Duration = Duration::from_millis(50);
/// In between, a Python is found after this part of the time that it took to start.
const PATIENCE: u32 = 16;

/// Some processes and all that descend from them.
#[derive(Debug)]
pub struct Family {
    proc: Proc,
    roots: Vec<i32>,
    members: BTreeMap<i32, Member>,
    /// Whether the kernel lists the children of each thread.
    lists: bool,
    /// More came than are followed.
    pub crowded: bool,
}

#[derive(Debug)]
struct Member {
    sight: Sight,
    since: Instant,
    execed: bool,
    due: Due,
}

/// When a process is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    At(Instant),
    /// Not until it becomes another program.
    Never,
}

/// A process that may be a Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its pid.
    pub pid: i32,
    /// It was another program before.
    pub execed: bool,
}

/// What a look at a candidate showed that is no Python, or not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// An interpreter is there, and has not started yet.
    Starting,
    /// There is no interpreter: a new program may have to map it first.
    Stranger,
    /// It may not be looked at, or not be understood.
    Closed,
}

impl Family {
    /// The family of some processes; who is in it is found out at the first [`Family::poll`].
    pub fn new(proc: &Proc, roots: &[i32]) -> Family {
        let lists = proc.has_children_lists();
        let mut family = Family {
            proc: proc.clone(),
            roots: roots.to_vec(),
            members: BTreeMap::new(),
            lists,
            crowded: false,
        };
        let now = Instant::now();
        for root in roots {
            if let Some(sight) = proc.sight(*root) {
                let due = Due::At(now);
                family.members.insert(*root, Member { sight, since: now, execed: false, due });
            }
        }
        family
    }

    /// Asks for everybody anew; says who is to be looked at now. Each is [`found`](Family::found) or gets an [`answer`](Family::answer).
    pub fn poll(&mut self, now: Instant) -> Vec<Candidate> {
        let proc = &self.proc;
        self.members.retain(|pid, member| {
            let Some(sight) = proc.sight(*pid).filter(|sight| sight.start == member.sight.start) else {
                return false;
            };
            // A process on its way out has no stack any more.
            if sight.stack != member.sight.stack && sight.stack != 0 {
                *member = Member { sight, since: now, execed: true, due: Due::At(now) };
            }
            true
        });
        self.find_children(now);
        let due = |member: &Member| matches!(member.due, Due::At(at) if at <= now);
        let members = self.members.iter().filter(|(_, member)| due(member));
        members.map(|(pid, member)| Candidate { pid: *pid, execed: member.execed }).collect()
    }

    /// Takes note of a candidate that is what we look for.
    pub fn found(&mut self, process: &Process) {
        if let Some(member) = self.members.get_mut(&process.pid()) {
            // It may have become another program since it was asked for; what was found is that one.
            member.sight.stack = process.stack();
            member.due = Due::Never;
        }
    }

    /// Takes note of what a look at a candidate showed.
    pub fn answer(&mut self, pid: i32, answer: Answer, now: Instant) {
        let Some(member) = self.members.get_mut(&pid) else { return };
        let age = now.saturating_duration_since(member.since);
        let again = Due::At(now + (age / PATIENCE).clamp(LEAST_PATIENCE, MOST_PATIENCE));
        member.due = match answer {
            Answer::Starting => again,
            Answer::Stranger if age < MAPPED_WITHIN => again,
            Answer::Stranger | Answer::Closed => Due::Never,
        };
    }

    /// Everybody whom the last poll found, in ascending order.
    pub fn pids(&self) -> impl Iterator<Item = i32> {
        self.members.keys().copied()
    }

    /// Who made a process, as far as that is in the family too.
    pub fn parent(&self, pid: i32) -> Option<i32> {
        self.members.get(&pid).map(|member| member.sight.parent)
    }

    /// Whether nobody is left who could still become or start a Python, apart from those that were found: the roots have
    /// ended, and what they left behind is no Python.
    pub fn is_over(&self) -> bool {
        let root = self.roots.iter().any(|root| self.members.contains_key(root));
        !root && self.members.values().all(|member| member.due == Due::Never)
    }

    fn find_children(&mut self, now: Instant) {
        let everybody = if self.lists { Vec::new() } else { self.proc.parents() };
        let mut open: Vec<i32> = self.members.keys().copied().collect();
        while let Some(parent) = open.pop() {
            let children = if self.lists {
                self.proc.children(parent)
            } else {
                everybody.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid).collect()
            };
            for pid in children {
                if self.members.contains_key(&pid) {
                    continue;
                }
                if self.members.len() >= MAX_MEMBERS {
                    self.crowded = true;
                    return;
                }
                let Some(sight) = self.proc.sight(pid) else { continue };
                // What was forked to become another program shall not be taken for a Python in between.
                let due = if sight.forked { now + FORKED_AFTER } else { now };
                self.members.insert(pid, Member { sight, since: now, execed: false, due: Due::At(due) });
                open.push(pid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};

    use super::*;

    /// A shell that says `ready` when it has started a child, and then does what its input says.
    fn shell(script: &str) -> (std::process::Child, BufReader<std::process::ChildStdout>) {
        let mut shell = Command::new("sh");
        let mut child =
            shell.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        (child, output)
    }

    #[track_caller]
    fn descendants_are_found(lists: bool) {
        let (mut child, _output) = shell("sh -c 'echo ready; cat; exit 0'; exit 0");
        let root = child.id() as i32;
        let mut family = Family::new(&Proc::default(), &[root]);
        family.lists &= lists;
        let first = family.poll(Instant::now());
        let pids: Vec<i32> = family.pids().collect();
        assert!(pids.len() >= 2 && first.iter().any(|candidate| candidate.pid == root), "{pids:?}");
        let inner = *pids.iter().find(|pid| **pid != root).unwrap();
        assert_eq!(family.parent(inner), Some(root));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(family.poll(Instant::now()).is_empty() && family.is_over());
    }

    #[test]
    fn descendants_are_found_by_the_kernels_lists_and_without_them() {
        descendants_are_found(true);
        descendants_are_found(false);
    }

    #[test]
    fn a_stranger_is_looked_at_again_only_when_it_is_young_or_another_program() {
        let (mut child, mut output) = shell("echo ready; read line; exec cat");
        let root = child.id() as i32;
        let mut family = Family::new(&Proc::default(), &[root]);
        let young = Instant::now();
        let expected = [Candidate { pid: root, execed: false }];
        assert_eq!(family.poll(young), expected);
        family.answer(root, Answer::Stranger, young);
        assert_eq!(family.poll(young + MOST_PATIENCE), expected);
        let old = young + MAPPED_WITHIN;
        family.answer(root, Answer::Stranger, old);
        assert_eq!(family.poll(old + Duration::from_secs(3600)), []);
        assert!(!family.is_over());
        let mut input = child.stdin.take().unwrap();
        input.write_all(b"go\necho\n").unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(family.poll(old), [Candidate { pid: root, execed: true }]);
        drop(input);
        child.wait().unwrap();
    }
}
