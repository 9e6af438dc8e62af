//! Runs a text with a shell: `/bin/sh -c TEXT`, or the shell that the job names.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use common::job::Command;

use super::{
    Driver, RunSpec, Running, StartError,
    process::launch::{Launcher, Program},
};
use crate::output::Output;

/// Runs a text with a shell.
pub(super) struct ShellDriver {
    launcher: Launcher,
}

impl ShellDriver {
    pub(super) const fn new(launcher: Launcher) -> Self {
        Self { launcher }
    }
}

#[async_trait]
impl Driver for ShellDriver {
    async fn start(&self, spec: &RunSpec, output: Arc<Output>) -> Result<Box<dyn Running>, StartError> {
        let Command::Shell(shell) = &spec.job.driver else {
            return Err(StartError::new("the shell driver was given a job without a shell command"));
        };
        let path = shell.shell.as_ref().map_or_else(|| self.launcher.shell().to_owned(), PathBuf::from);
        let (args, environment) =
            (vec!["-c".into(), shell.command.clone().into()], shell.environment.clone());
        let program = Program { path, args, environment };
        self.launcher.launch(program, spec, output).await
    }
}
