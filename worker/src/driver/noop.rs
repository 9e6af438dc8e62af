//! Does nothing, for tests and for load.

use std::sync::Arc;

use async_trait::async_trait;
use common::job::{Command, Noop};
use nix::sys::signal::Signal;

use super::{Driver, Exit, RunSpec, Running, StartError, StopSignal, idle};
use crate::output::Output;

/// Does nothing, for as long as it is told to.
pub(super) struct NoopDriver;

struct Nothing {
    noop: Noop,
    output: Arc<Output>,
}

#[async_trait]
impl Driver for NoopDriver {
    async fn start(&self, spec: &RunSpec, output: Arc<Output>) -> Result<Box<dyn Running>, StartError> {
        let Command::Noop(noop) = spec.job.driver else {
            return Err(StartError::new("the noop driver was given a job that does something"));
        };
        output.begin();
        Ok(Box::new(Nothing { noop, output }))
    }
}

#[async_trait]
impl Running for Nothing {
    async fn wait(self: Box<Self>, stop: StopSignal) -> Exit {
        let Self { noop, output } = *self;
        let lasts = async {
            if let Some(span) = noop.lasts {
                tokio::time::sleep(span.0).await;
            }
        };
        match idle::until_stopped(lasts, stop, &output).await {
            Some(()) => Exit::code(noop.exit),
            None => Exit::signal(Signal::SIGTERM as i32),
        }
    }
}
