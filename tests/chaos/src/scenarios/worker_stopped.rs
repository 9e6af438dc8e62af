//! A worker is stopped in the middle of long runs, and goes on a minute later. Its guard ends its runs before others
//! start them; what it says of them afterwards replaces nothing. Then another is stopped together with its guard:
//! nobody is left to end its runs, so they go on beside their successors, with older fences, until the guard goes on.

use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use super::succession::{Succession, Without};
use crate::{
    options::Options,
    trial::{Trial, Verdict},
};

// Once: a run that the guard had killed meanwhile was on record as failed, and got no next attempt.
pub(super) async fn run(options: &Options) -> Result<Verdict> {
    let stopped = options.duration(60);
    let lasts = stopped * 2 + options.lease_ttl * 2 + Duration::from_secs(60);
    let mut play = Succession::start(&options.layout(), options, lasts).await?;
    let first = play.busiest(&[])?;
    let span = stop(&mut play.trial, first, stopped, |trial, n, signal| {
        trial.cluster.workers()[n].server().signal(signal);
    })
    .await?;
    play.measure(first, "stopped", span, Without::Overlap).await?;
    // Its recovery.
    play.trial.run_for(options.lease_ttl).await;
    play.allow_overlap();
    let second = play.busiest(&[first])?;
    let span = stop(&mut play.trial, second, stopped, |trial, n, signal| {
        trial.cluster.workers()[n].signal_with_guard(signal);
    })
    .await?;
    play.measure(second, "stopped with its guard", span, Without::Anybody).await?;
    play.trial.run_for(options.lease_ttl).await;
    play.finish().await
}

async fn stop(
    trial: &mut Trial,
    n: usize,
    stopped: Duration,
    signal: impl Fn(&Trial, usize, Signal),
) -> Result<(i64, i64)> {
    let id = trial.cluster.workers()[n].id().to_owned();
    let earlier = trial.cluster.session_of(&id).await?.unwrap_or_default();
    let from_ms = trial.now_ms();
    signal(trial, n, Signal::SIGSTOP);
    trial.note(format_args!("{id} is stopped for {} s", stopped.as_secs()));
    trial.run_for(stopped).await;
    let to_ms = trial.now_ms();
    signal(trial, n, Signal::SIGCONT);
    // Stopped for longer than its lease, it begins another session.
    trial.cluster.wait_registered(&trial.cluster.workers()[n], earlier).await;
    trial.note(format_args!("{id} goes on"));
    Ok((from_ms, to_ms))
}
