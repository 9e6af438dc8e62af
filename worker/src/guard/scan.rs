//! Looks at every process of the machine and says which belong to a worker's session, to a run, to a tree.
//!
//! A process belongs by what its environment carries since its exec (`QUORATE_SESSION`, `QUORATE_RUN`), by its group,
//! or by being a child of one that belongs, which finds what `sudo` and the like start with a cleared environment
//! while they live. A process that cleared its environment, made a session of its own *and* lost its parents is not
//! found. Zombies count as gone. Only processes that this user may look at are seen; those are the ones it may
//! signal.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, Read as _},
};

use common::id::RunId;
use nix::{
    errno::Errno,
    unistd::{Pid, getpid},
};

/// A process of the machine.
struct Process {
    pid: Pid,
    parent: Pid,
    group: Pid,
    /// The session's token is in its environment.
    marked: bool,
    /// The run in its environment, if the token is there too.
    run: Option<RunId>,
}

/// All processes of the machine at about one moment, our own left out.
#[derive(Default)]
pub(crate) struct Processes(Vec<Process>);

impl Processes {
    /// Looks at all processes; those whose environment carries `token` are the session's. Blocks for some
    /// milliseconds. An error, as when this process has no file handle left: nothing is known, which is not that there
    /// is nothing.
    pub(crate) fn look(token: &str) -> io::Result<Self> {
        let mark = format!("QUORATE_SESSION={token}");
        let own = getpid();
        let mut buffer = Vec::new();
        let mut processes = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let pid = entry?.file_name().to_str().and_then(|name| name.parse().ok()).map(Pid::from_raw);
            let Some(pid) = pid.filter(|pid| *pid != own) else { continue };
            processes.extend(Process::read(pid, mark.as_bytes(), &mut buffer)?);
        }
        Ok(Self(processes))
    }

    /// The processes of a run: those in its `group`, those that carry its id, and their descendants.
    pub(crate) fn of_run(&self, run: RunId, group: Option<Pid>) -> Vec<Pid> {
        self.descent(|process| process.run == Some(run) || Some(process.group) == group)
    }

    /// Those of a run that are not in its `group`.
    pub(crate) fn strays(&self, run: RunId, group: Option<Pid>) -> Vec<Pid> {
        let all: HashSet<Pid> = self.of_run(run, group).into_iter().collect();
        let stray = |process: &&Process| all.contains(&process.pid) && Some(process.group) != group;
        self.0.iter().filter(stray).map(|process| process.pid).collect()
    }

    /// The processes of the session and their descendants, but for what is in `kept` groups or carries a kept run.
    pub(crate) fn of_session(&self, kept: &HashMap<Pid, RunId>) -> Vec<Pid> {
        let runs: HashSet<RunId> = kept.values().copied().collect();
        let spared = |process: &Process| {
            kept.contains_key(&process.group) || process.run.is_some_and(|run| runs.contains(&run))
        };
        let spared: HashSet<Pid> = self.descent(spared).into_iter().collect();
        let mut found = self.descent(|process| process.marked && !spared.contains(&process.pid));
        found.retain(|pid| !spared.contains(pid));
        found
    }

    /// Those that `belong` and all their descendants.
    fn descent(&self, belong: impl Fn(&Process) -> bool) -> Vec<Pid> {
        let mut found: Vec<Pid> = self.0.iter().filter(|process| belong(process)).map(|p| p.pid).collect();
        let mut known: HashSet<Pid> = found.iter().copied().collect();
        let mut seen = 0;
        while seen < found.len() {
            let generation: HashSet<Pid> = found[seen..].iter().copied().collect();
            seen = found.len();
            let children = self.0.iter().filter(|process| generation.contains(&process.parent));
            found.extend(children.map(|process| process.pid).filter(|pid| known.insert(*pid)));
        }
        found
    }
}

impl Process {
    /// None: it is a zombie, or has ended meanwhile.
    fn read(pid: Pid, mark: &[u8], buffer: &mut Vec<u8>) -> io::Result<Option<Self>> {
        if !read_into(buffer, &format!("/proc/{pid}/stat"))? {
            return Ok(None);
        }
        let Some((parent, group)) = parents(buffer) else { return Ok(None) };
        let mut process = Self { pid, parent, group, marked: false, run: None };
        // Not to be read: another user's, or gone. Its group and its parent still tell.
        if read_into(buffer, &format!("/proc/{pid}/environ"))? {
            let variables = || buffer.split(|byte| *byte == 0);
            process.marked = variables().any(|variable| variable == mark);
            if process.marked {
                process.run = variables()
                    .filter_map(|variable| variable.strip_prefix(b"QUORATE_RUN="))
                    .find_map(|run| str::from_utf8(run).ok()?.parse().ok());
            }
        }
        Ok(Some(process))
    }
}

/// False: it is gone, or not ours to read. An error is one of this process, which can read no other file either.
fn read_into(buffer: &mut Vec<u8>, path: &str) -> io::Result<bool> {
    buffer.clear();
    match File::open(path).and_then(|mut file| file.read_to_end(buffer)) {
        Ok(_) => Ok(true),
        Err(error) => match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM) => Err(error),
            _ => Ok(false),
        },
    }
}

/// Parent and group from `pid (name) state parent group …`; none for a zombie. The name may contain anything.
fn parents(stat: &[u8]) -> Option<(Pid, Pid)> {
    let behind = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let mut fields = str::from_utf8(&stat[behind..]).ok()?.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let mut pid = || Some(Pid::from_raw(fields.next()?.parse().ok()?));
    Some((pid()?, pid()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32, group: i32, run: Option<RunId>) -> Process {
        let pid_of = Pid::from_raw;
        Process { pid: pid_of(pid), parent: pid_of(parent), group: pid_of(group), marked: run.is_some(), run }
    }

    fn pids(found: Vec<Pid>) -> Vec<i32> {
        let mut pids: Vec<i32> = found.into_iter().map(Pid::as_raw).collect();
        pids.sort_unstable();
        pids
    }

    #[test]
    fn the_name_of_a_process_cannot_fake_its_fields() {
        let ids = |text: &str| parents(text.as_bytes()).map(|(a, b)| (a.as_raw(), b.as_raw()));
        assert_eq!(ids("7 (sh) S 3 7 7 0 -1"), Some((3, 7)));
        assert_eq!(ids("7 (a) S 1 1 (b) R 3 9 7 0"), Some((3, 9)));
        assert_eq!(ids("7 (sh) Z 3 7 7"), None);
        assert_eq!(ids("7 (sh"), None);
        assert_eq!(ids(""), None);
    }

    #[test]
    fn a_tree_is_its_group_its_marks_and_their_descendants() {
        let run: RunId = "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b".parse().unwrap();
        let other: RunId = "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5c".parse().unwrap();
        let all = Processes(vec![
            process(30, 20, 30, None), // cleared its environment, its parent lives
            process(31, 30, 30, None),
            process(10, 2, 10, Some(run)),
            process(11, 10, 10, None),
            process(20, 1, 20, Some(run)), // left its group
            process(40, 2, 40, Some(other)),
            process(50, 1, 50, None),
        ]);
        assert_eq!(pids(all.of_run(run, Some(Pid::from_raw(10)))), [10, 11, 20, 30, 31]);
        assert_eq!(pids(all.of_run(run, None)), [10, 11, 20, 30, 31]);
        assert_eq!(pids(all.strays(run, Some(Pid::from_raw(10)))), [20, 30, 31]);
        assert_eq!(pids(all.of_session(&HashMap::new())), [10, 11, 20, 30, 31, 40]);
        let kept = HashMap::from([(Pid::from_raw(10), run)]);
        assert_eq!(pids(all.of_session(&kept)), [40]);
    }
}
