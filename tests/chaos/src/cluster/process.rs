//! Processes as the kernel shows them.

use std::{
    collections::HashMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use nix::unistd::Pid;

/// A command for `program` that sees no settings of this machine but the given variables.
pub(super) fn clean(program: &Path, variables: impl IntoIterator<Item = String>) -> Vec<OsString> {
    let fixed = ["/usr/bin/env", "-i", "PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/nonexistent", "TZ=UTC"];
    // Named, so that a file of this machine is not read; it is empty.
    let mut command: Vec<OsString> =
        fixed.into_iter().chain(["QUORATE_CONFIG=/dev/null"]).map(Into::into).collect();
    command.extend(variables.into_iter().map(OsString::from));
    command.push(program.into());
    command
}

/// The processes that a process started, theirs included, and itself not.
pub fn descendants(ancestor: Pid) -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut open = vec![ancestor.as_raw()];
    while let Some(pid) = open.pop() {
        let own = children.get(&pid).cloned().unwrap_or_default();
        found.extend(own.iter().copied().map(Pid::from_raw));
        open.extend(own);
    }
    found
}

fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// What of a process is in memory now, and the most that ever was.
pub fn resident_bytes(pid: Pid) -> Option<(u64, u64)> {
    let status = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/status"))).ok()?;
    let kibibytes = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    Some((kibibytes("VmRSS:")? * 1024, kibibytes("VmHWM:")? * 1024))
}

/// What a process uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes in memory.
    pub resident_bytes: u64,
    /// Open files, sockets and the like.
    pub handles: usize,
    /// Threads.
    pub threads: usize,
}

impl Usage {
    /// Now, if the process lives.
    pub fn of(pid: Pid) -> Option<Self> {
        let count = |what: &str| Some(std::fs::read_dir(format!("/proc/{pid}/{what}")).ok()?.count());
        let (resident_bytes, _) = resident_bytes(pid)?;
        Some(Self { resident_bytes, handles: count("fd")?, threads: count("task")? })
    }
}
