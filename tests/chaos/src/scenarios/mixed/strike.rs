//! Breaks one thing, waits, mends it, and waits until it is back.

use std::time::Duration;

use anyhow::Result;
use etcd_client::{AlarmAction, AlarmType, Client};
use nix::sys::signal::Signal;
use test_support::peers::Severed;
use tokio::time::sleep;

use super::edits;
use crate::{
    nemesis::{Nemesis, Step},
    trial::Trial,
};

mod data_dir;
mod moment;

/// How wrong a clock is made.
pub(super) const SKEW_MS: i64 = 2_000;

/// How slow MongoDB is made, each way.
const SLOW: Duration = Duration::from_millis(300);

/// Between two times that etcd is told to forget.
const FORGET_EVERY: Duration = Duration::from_millis(500);

/// A member of etcd is away for so long when all are restarted.
const MEMBER_AWAY: Duration = Duration::from_secs(1);

/// A worker that was told to end has this long: its runs last, and are killed after its grace.
const ENDS_WITHIN: Duration = Duration::from_secs(90);

/// What was done, for people.
pub(super) async fn strike(trial: &mut Trial, step: &Step) -> Result<String> {
    let worker = step.dice % trial.cluster.workers().len();
    let lasts = step.lasts;
    let what = describe(step, trial.cluster.workers()[worker].id());
    trial.note(&what);
    match step.nemesis {
        Nemesis::WorkerKill => kill_worker(trial, worker, lasts, Extent::Process).await?,
        Nemesis::WorkerMachineKill => kill_worker(trial, worker, lasts, Extent::Machine).await?,
        Nemesis::ManagerKill => kill_manager(trial, step.dice, lasts).await,
        Nemesis::ManagerStop => stop_manager(trial, step.dice, lasts).await,
        Nemesis::EtcdMemberKill => {
            let n = step.dice % trial.cluster.etcd.size();
            kill_member(trial, n, lasts).await;
        }
        Nemesis::EtcdLeaderKill => {
            let n = trial.cluster.etcd.leader().await;
            kill_member(trial, n, lasts).await;
        }
        Nemesis::WorkerStop => stop_worker(trial, worker, lasts).await,
        Nemesis::EtcdLeaderStop => stop_leader(trial, lasts).await,
        Nemesis::EtcdLeaderCutOff => cut_leader_off(trial, step).await,
        Nemesis::PartitionWorker => partition(trial, &[worker], step).await,
        Nemesis::PartitionHalf => {
            let count = trial.cluster.workers().len();
            let half: Vec<usize> = (0..count.div_ceil(2)).map(|n| (worker + n) % count).collect();
            partition(trial, &half, step).await;
        }
        Nemesis::MongodbKill => {
            trial.cluster.mongod.kill_9();
            sleep(lasts).await;
            trial.cluster.mongod.restart().await;
        }
        Nemesis::MongodbSlow => {
            slow_down(trial, SLOW);
            sleep(lasts).await;
            slow_down(trial, Duration::ZERO);
        }
        Nemesis::KillBeforeSpool => moment::kill_before_spool(trial, step.dice, lasts).await?,
        Nemesis::CaretakerStop => moment::stop_caretaker(trial, worker, lasts).await?,
        Nemesis::DataDirClone => data_dir::copy(trial, worker, lasts).await?,
        Nemesis::DataDirFull => data_dir::fill(trial, lasts).await?,
        Nemesis::ClockStep => step_clock(trial, step, worker).await?,
        Nemesis::EtcdFull => fill_etcd(trial, lasts).await?,
        Nemesis::ClockSkew => skew(trial, step, worker).await?,
        Nemesis::Compaction => compact(trial, worker, lasts).await?,
        Nemesis::Edit => {
            let edits = edits::play(trial, lasts, step.dice).await?;
            trial.note(format_args!("{edits} edits"));
        }
        Nemesis::RollingRestart => rolling_restart(trial).await?,
    }
    Ok(what)
}

/// What is going to be done, and to whom where one worker meets it.
fn describe(step: &Step, worker: &str) -> String {
    let (name, span) = (step.nemesis.name(), format!("{:.1} s", step.lasts.as_secs_f64()));
    match step.nemesis {
        Nemesis::WorkerKill
        | Nemesis::WorkerMachineKill
        | Nemesis::WorkerStop
        | Nemesis::CaretakerStop
        | Nemesis::DataDirClone
        | Nemesis::ClockSkew
        | Nemesis::ClockStep => format!("{name} of {worker}, {span}"),
        _ => format!("{name}, {span}"),
    }
}

/// How much of a worker dies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Process,
    Machine,
}

async fn kill_worker(trial: &mut Trial, n: usize, lasts: Duration, extent: Extent) -> Result<()> {
    let earlier = session(trial, n).await;
    match extent {
        Extent::Process => trial.cluster.worker(n).kill_9(),
        Extent::Machine => {
            trial.cluster.worker(n).kill_machine();
        }
    }
    sleep(lasts).await;
    start_again(trial, n, earlier).await;
    Ok(())
}

async fn stop_worker(trial: &Trial, n: usize, lasts: Duration) {
    trial.cluster.workers()[n].server().signal(Signal::SIGSTOP);
    sleep(lasts).await;
    trial.cluster.workers()[n].server().signal(Signal::SIGCONT);
    registered(trial, n).await;
}

async fn kill_manager(trial: &mut Trial, dice: usize, lasts: Duration) {
    let n = dice % trial.cluster.managers().len();
    trial.cluster.manager(n).kill_9();
    sleep(lasts).await;
    trial.cluster.manager(n).spawn();
    trial.cluster.wait_manager(n).await;
}

async fn stop_manager(trial: &mut Trial, dice: usize, lasts: Duration) {
    let n = dice % trial.cluster.managers().len();
    trial.cluster.manager(n).signal(Signal::SIGSTOP);
    sleep(lasts).await;
    trial.cluster.manager(n).signal(Signal::SIGCONT);
    trial.cluster.wait_manager(n).await;
}

async fn stop_leader(trial: &mut Trial, lasts: Duration) {
    let n = trial.cluster.etcd.leader().await;
    trial.cluster.etcd.member(n).freeze().await;
    sleep(lasts).await;
    trial.cluster.etcd.member(n).thaw();
    trial.cluster.etcd.wait_ready().await;
}

/// It stays reachable for clients, and does not lead for long: each that asks it is to turn to another member.
async fn cut_leader_off(trial: &Trial, step: &Step) {
    let breaks = breaks(step);
    trial.note(if breaks { "the members' links break" } else { "the members' links fall silent" });
    let how = if breaks { Severed::Cut } else { Severed::Silent };
    trial.cluster.etcd.sever_leader(how).await;
    sleep(step.lasts).await;
    trial.cluster.etcd.mend_peers().await;
    trial.cluster.etcd.wait_ready().await;
    for n in 0..trial.cluster.workers().len() {
        registered(trial, n).await;
    }
}

async fn session(trial: &Trial, n: usize) -> i64 {
    let id = trial.cluster.workers()[n].id();
    trial.cluster.session_of(id).await.ok().flatten().unwrap_or_default()
}

async fn start_again(trial: &mut Trial, n: usize, earlier: i64) {
    trial.cluster.worker(n).start_again();
    trial.cluster.wait_registered(&trial.cluster.workers()[n], earlier).await;
}

async fn registered(trial: &Trial, n: usize) {
    trial.cluster.wait_registered(&trial.cluster.workers()[n], 0).await;
}

async fn kill_member(trial: &mut Trial, n: usize, lasts: Duration) {
    trial.cluster.etcd.member(n).kill_9();
    sleep(lasts).await;
    trial.cluster.etcd.member(n).spawn_again();
    trial.cluster.etcd.wait_ready().await;
}

/// Connections break, or nothing comes through any more, by the dice.
async fn partition(trial: &Trial, workers: &[usize], step: &Step) {
    let links = || workers.iter().flat_map(|n| trial.cluster.links(*n).etcd());
    let breaks = breaks(step);
    trial.note(if breaks { "the links break" } else { "the links fall silent" });
    links().for_each(|link| if breaks { link.cut() } else { link.stall() });
    sleep(step.lasts).await;
    links().for_each(|link| link.mend());
    for n in workers {
        registered(trial, *n).await;
    }
}

/// Whether links break, or fall silent.
const fn breaks(step: &Step) -> bool {
    (step.dice / 16).is_multiple_of(2)
}

fn slow_down(trial: &Trial, by: Duration) {
    (0..trial.cluster.workers().len()).for_each(|n| trial.cluster.links(n).mongodb().delay(by));
}

const fn wrong_ms(step: &Step) -> i64 {
    if (step.dice / 16).is_multiple_of(2) { SKEW_MS } else { -SKEW_MS }
}

/// Restarted with a clock that can be set, it is right; then it jumps, and jumps back.
async fn step_clock(trial: &mut Trial, step: &Step, n: usize) -> Result<()> {
    let ahead = wrong_ms(step);
    trial.note(format_args!("the clock jumps by {ahead:+} ms, and back"));
    for settable in [true, false] {
        let earlier = session(trial, n).await;
        trial.cluster.worker(n).kill_9();
        trial.cluster.worker(n).make_clock_settable(settable)?;
        start_again(trial, n, earlier).await;
        if settable {
            for ahead in [ahead, 0] {
                trial.cluster.workers()[n].step_clock(ahead)?;
                sleep(step.lasts / 2).await;
            }
        }
    }
    Ok(())
}

/// As when its quota is used up. Claims go on all the same: etcd does not count what is nested in a transaction.
async fn fill_etcd(trial: &mut Trial, lasts: Duration) -> Result<()> {
    let mut etcd = trial.cluster.etcd_client().await?;
    set_alarm(&mut etcd, AlarmAction::Activate).await?;
    let refused = etcd.put("full", "", None).await.is_err();
    trial.require(refused, "etcd without room refuses a put", refused);
    sleep(lasts).await;
    set_alarm(&mut etcd, AlarmAction::Deactivate).await
}

async fn set_alarm(etcd: &mut Client, action: AlarmAction) -> Result<()> {
    etcd.alarm(action, AlarmType::Nospace, None).await?;
    Ok(())
}

async fn skew(trial: &mut Trial, step: &Step, n: usize) -> Result<()> {
    let ahead = wrong_ms(step);
    trial.note(format_args!("the clock is {ahead:+} ms off"));
    for ahead in [ahead, 0] {
        let earlier = session(trial, n).await;
        trial.cluster.worker(n).kill_9();
        trial.cluster.worker(n).set_clock(ahead);
        start_again(trial, n, earlier).await;
        if ahead != 0 {
            sleep(step.lasts).await;
        }
    }
    Ok(())
}

/// While a worker hears nothing, jobs run on, and etcd forgets all that was before.
async fn compact(trial: &Trial, n: usize, lasts: Duration) -> Result<()> {
    let mut etcd = trial.cluster.etcd_client().await?;
    let links = trial.cluster.links(n).etcd();
    links.iter().for_each(|link| link.cut());
    let times = (lasts.as_millis() / FORGET_EVERY.as_millis()).max(1);
    for _ in 0..times {
        sleep(FORGET_EVERY).await;
        let now = etcd.get("now", None).await?;
        let revision = now.header().map(etcd_client::ResponseHeader::revision).unwrap_or_default();
        // Nothing was written since the last time, or a manager was faster.
        let forgotten = |error: &etcd_client::Error| error.to_string().contains("has been compacted");
        match etcd.compact(revision, None).await {
            Err(error) if !forgotten(&error) => return Err(error.into()),
            _ => {}
        }
    }
    links.iter().for_each(|link| link.mend());
    registered(trial, n).await;
    Ok(())
}

async fn rolling_restart(trial: &mut Trial) -> Result<()> {
    for n in 0..trial.cluster.workers().len() {
        let earlier = session(trial, n).await;
        trial.cluster.worker(n).terminate();
        let ended = trial.cluster.workers()[n].server().wait_end(ENDS_WITHIN).await;
        let id = trial.cluster.workers()[n].id().to_owned();
        if !ended {
            trial.require(false, "told to end, and still there", &id);
        }
        start_again(trial, n, earlier).await;
    }
    for n in 0..trial.cluster.managers().len() {
        trial.cluster.manager(n).kill_9();
        trial.cluster.manager(n).spawn();
        trial.cluster.wait_manager(n).await;
    }
    for n in 0..trial.cluster.etcd.size() {
        kill_member(trial, n, MEMBER_AWAY).await;
    }
    Ok(())
}
