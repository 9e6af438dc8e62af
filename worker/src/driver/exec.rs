//! Runs a program with its arguments, without a shell.

use std::{
    ffi::OsStr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use common::job::Command;

use super::{
    Driver, RunSpec, Running, StartError,
    launch::{Launcher, Program},
};
use crate::output::Output;

/// Runs a program with its arguments.
pub(super) struct ExecDriver {
    launcher: Launcher,
}

impl ExecDriver {
    pub(super) const fn new(launcher: Launcher) -> Self {
        Self { launcher }
    }
}

#[async_trait]
impl Driver for ExecDriver {
    async fn start(&self, spec: &RunSpec, output: Arc<Output>) -> Result<Box<dyn Running>, StartError> {
        let Command::Exec(exec) = &spec.job.driver else {
            return Err(StartError::refused("the exec driver was given a job without a program"));
        };
        let Some((name, args)) = exec.argv.split_first() else {
            return Err(StartError::refused(
                "the job names no program; use, for example, [\"/usr/bin/rsync\", \"-a\"]",
            ));
        };
        let path = locate(name, exec.environment.dir.as_deref(), self.launcher.search_path())?;
        let program = Program { path, args: args.iter().map(Into::into).collect() };
        self.launcher.launch(program, spec, output).await
    }
}

/// The program's absolute path. Only with one is a start cheap; see [`Launcher`].
fn locate(name: &str, dir: Option<&str>, search: &OsStr) -> Result<PathBuf, StartError> {
    let path = Path::new(name);
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    if name.contains('/') {
        return dir.map(|dir| Path::new(dir).join(path)).ok_or_else(|| {
            StartError::refused(format!(
                "program {name:?} is a relative path and the job names no directory: give an absolute path or \"dir\""
            ))
        });
    }
    std::env::split_paths(search)
        // An empty entry would mean wherever the worker happens to be.
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(|path| is_program(path))
        .ok_or_else(|| {
            let search = super::error::shown(search);
            StartError::refused(format!("program {name:?} is not in this worker's PATH ({search})"))
        })
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_its_path_or_in_the_search_path() {
        let found =
            |name, dir| locate(name, dir, OsStr::new("relative::/nowhere:/bin")).map_err(|e| e.to_string());
        assert_eq!(found("/opt/x", None), Ok("/opt/x".into()));
        assert_eq!(found("bin/x", Some("/srv")), Ok("/srv/bin/x".into()));
        assert_eq!(found("sh", None), Ok("/bin/sh".into()));
        assert!(found("bin/x", None).unwrap_err().contains("relative path"));
        let missing = found("no-such-program", None).unwrap_err();
        assert!(missing.contains("no-such-program") && missing.contains("/bin"), "{missing}");
    }
}
