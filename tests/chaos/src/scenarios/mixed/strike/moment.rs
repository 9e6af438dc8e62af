//! Faults that have to meet a certain moment.

use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;
use test_support::wait::until;
use tokio::time::{Instant, sleep};

use super::{Extent, kill_worker, registered, session, start_again};
use crate::{
    cluster::PATIENCE,
    trial::Trial,
    truth::{Line, Mark},
};

/// Between two looks at what runs.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A run of a second that does not begin within this time is not there.
const BEGINS_WITHIN: Duration = Duration::from_secs(20);

/// Kills a worker and its guard when a run has ended that it does not know of yet, since it is stopped.
pub(super) async fn kill_before_spool(trial: &mut Trial, dice: usize, lasts: Duration) -> Result<()> {
    let Some((n, run)) = begins(trial, dice).await? else {
        trial.note("skipped: no run of a second begins");
        return Ok(());
    };
    trial.cluster.workers()[n].server().freeze().await;
    let truth = trial.truth.clone();
    let id = trial.cluster.workers()[n].id().to_owned();
    until(&format!("run {} on {id} has ended", run.run), PATIENCE, || async {
        let lines = truth.read().ok()?;
        lines.iter().any(|line| line.run == run.run && line.mark == Mark::End).then_some(())
    })
    .await;
    trial.note(format_args!("run {} of {} has ended, and {id} is killed", run.run, run.job));
    kill_worker(trial, n, lasts, Extent::Machine).await
}

/// A run of a second that has just begun, and the number of its worker: the first that the dice like.
async fn begins(trial: &Trial, dice: usize) -> Result<Option<(usize, Line)>> {
    let from = trial.truth.read()?.len();
    let begun = Instant::now();
    let liked = dice % trial.cluster.workers().len();
    while begun.elapsed() < BEGINS_WITHIN {
        let lines = trial.truth.read()?;
        let new = lines.into_iter().skip(from).filter(|line| line.mark == Mark::Start);
        for line in new.filter(|line| line.job.starts_with("second")) {
            let fresh = trial.now_ms() - line.at_ms < 500;
            let n = trial.cluster.workers().iter().position(|worker| worker.id() == line.worker);
            if let Some(n) = n.filter(|n| fresh && (*n == liked || begun.elapsed() > BEGINS_WITHIN / 4)) {
                return Ok(Some((n, line)));
            }
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(None)
}

/// Lets a worker's machine die, and stops another one as soon as etcd has ended the first one's session.
pub(super) async fn stop_caretaker(trial: &mut Trial, n: usize, lasts: Duration) -> Result<()> {
    let earlier = session(trial, n).await;
    let id = trial.cluster.workers()[n].id().to_owned();
    let count = trial.cluster.workers().len();
    trial.cluster.worker(n).kill_machine();
    until(&format!("{id}'s session has ended"), PATIENCE, || async {
        let session = trial.cluster.session_of(&id).await.ok()?;
        session.is_none().then_some(())
    })
    .await;
    let caretaker = (n + 1) % count;
    if caretaker != n {
        let other = trial.cluster.workers()[caretaker].id().to_owned();
        trial.note(format_args!("{id} is gone, and {other} is stopped"));
        trial.cluster.workers()[caretaker].server().signal(Signal::SIGSTOP);
        sleep(lasts).await;
        trial.cluster.workers()[caretaker].server().signal(Signal::SIGCONT);
    }
    start_again(trial, n, earlier).await;
    registered(trial, caretaker).await;
    Ok(())
}
