//! Why a process could not be started, in words for the run's record.

use std::{
    ffi::OsStr,
    io::{self, BufRead as _, Read as _},
    path::Path,
};

use nix::errno::Errno;

use crate::driver::StartError;

impl StartError {
    /// What the failed start of `program` in `dir` means. The system says "not found" of a program, of its
    /// interpreter and of a directory alike; only looking again tells which.
    pub(in crate::driver) fn from_spawn(error: &io::Error, program: &Path, dir: Option<&Path>) -> Self {
        let name = program.display();
        if let Some(wrong) = dir.and_then(wrong_dir) {
            return wrong;
        }
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT | Errno::ENOTDIR) => match interpreter(program) {
                Some(interpreter) => Self::new(format!(
                    "program {name} cannot be started: its first line names {interpreter:?}, which does not exist here"
                )),
                None => Self::new(format!("program {name} does not exist on this worker")),
            },
            Some(Errno::EACCES | Errno::EPERM) => Self::new(format!(
                "program {name} cannot be executed by this worker's user: check its permissions (chmod +x) and those of {}",
                dir.map_or_else(|| "its directories".to_owned(), |dir| dir.display().to_string())
            )),
            Some(Errno::ENOEXEC) => Self::new(format!(
                "{name} is not a program for this machine; a script needs a first line like \"#!/bin/sh\""
            )),
            Some(Errno::E2BIG) => Self::new(format!(
                "the arguments and variables for {name} are too long for the system: give the text as stdin or in a file"
            )),
            Some(Errno::EAGAIN) => Self::new(format!(
                "{name} could not be started: this worker's user or machine has too many processes"
            )),
            Some(Errno::EMFILE | Errno::ENFILE) => Self::new(format!(
                "{name} could not be started: this worker or machine has too many open files (raise ulimit -n)"
            )),
            Some(Errno::ENOMEM) => {
                Self::new(format!("{name} could not be started: this machine is out of memory"))
            }
            Some(Errno::ETXTBSY) => {
                Self::new(format!("{name} could not be started: it is being written to right now"))
            }
            _ => Self::new(format!("{name} could not be started: {error}")),
        }
    }
}

/// What is wrong with a working directory as far as this worker can see.
pub(super) fn wrong_dir(dir: &Path) -> Option<StartError> {
    let name = dir.display();
    match std::fs::metadata(dir) {
        Ok(found) if !found.is_dir() => {
            Some(StartError::new(format!("working directory {name} is not a directory")))
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Some(StartError::new(format!("working directory {name} does not exist on this worker")))
        }
        // What this user may not see, the job's user may.
        _ => None,
    }
}

/// The interpreter that an existing script names.
fn interpreter(program: &Path) -> Option<String> {
    let file = std::fs::File::open(program).ok()?;
    let mut line = Vec::new();
    io::BufReader::new(file.take(256)).read_until(b'\n', &mut line).ok()?;
    let line = String::from_utf8_lossy(line.strip_prefix(b"#!")?).into_owned();
    Some(line.split_whitespace().next().unwrap_or_default().to_owned())
}

/// A word for a message, also if it is not text.
pub(in crate::driver) fn shown(word: &OsStr) -> String {
    word.to_string_lossy().into_owned()
}
