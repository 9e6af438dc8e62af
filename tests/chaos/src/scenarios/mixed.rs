//! All kinds of jobs, on a cluster of which one thing after the other is broken and mended, by a plan that the seed
//! gives. Between the faults everything has to be as without: punctual, once, and with an outcome for each tick.

use anyhow::Result;
use clap::ValueEnum as _;

use super::{CLAIM_MS, SETTLE, observer, punctuality};
use crate::{
    checker::{Fault, Kind},
    cluster::{Layout, Wires},
    mounts,
    nemesis::{Nemesis, Plan},
    options::Options,
    trial::{Trial, Verdict},
};

mod edits;
mod strike;
mod workload;

/// What the data directory of one worker can hold: more than it needs.
const ROOM_BYTES: u64 = 64 << 20;

pub(super) async fn run(options: &Options) -> Result<Verdict> {
    let nemeses = if options.nemesis.is_empty() { Nemesis::value_variants() } else { &options.nemesis };
    let plan = Plan::new(options.seed, options.duration(300), nemeses, options.lease_ttl, options.quiet);
    let mut layout = Layout { wires: Wires::Links, ..options.layout() };
    if nemeses.contains(&Nemesis::DataDirFull)
        && mounts::can_be_had()
        && let Some(last) = layout.workers.last_mut()
    {
        last.room_bytes = Some(ROOM_BYTES);
    }
    let mut trial = Trial::start(&layout).await?;
    trial.note(format_args!("the plan of seed {}:\n{plan}", options.seed));
    trial.picture.clone_from(&options.svg);
    trial.rules.punctuality = Some(punctuality(options));
    trial.rules.excused.extend([Kind::Missed, Kind::Lost, Kind::Unsuccessful]);
    let longest = workload::save(&mut trial, options).await?;
    let observer = observer::Observer::start(&trial).await?;
    for step in &plan.steps {
        trial.run_for(step.quiet).await;
        let from_ms = trial.now_ms();
        let name = strike::strike(&mut trial, step).await?;
        let to_ms = trial.now_ms();
        trial.note(format_args!("{name}: mended"));
        // It may have met a tick that was just being claimed.
        trial.rules.faults.push(fault(step.nemesis, name, (from_ms - CLAIM_MS, to_ms)));
    }
    trial.run_for(plan.rest).await;
    trial.close_window();
    trial.history = observer.end().await;
    trial.finish(longest + SETTLE).await
}

fn fault(nemesis: Nemesis, name: String, (from_ms, to_ms): (i64, i64)) -> Fault {
    let mut fault = Fault::new(name, from_ms, to_ms);
    match nemesis {
        Nemesis::ClockSkew | Nemesis::ClockStep => fault.ahead_ms = strike::SKEW_MS,
        // A run's lock is held until there is room for its record.
        Nemesis::DataDirFull | Nemesis::EtcdFull => fault.excuses.extend([Kind::SkippedIdle]),
        // Stopped in the very moment in which it starts a run, a worker starts it when it goes on: docs/guarantees.md.
        Nemesis::WorkerStop | Nemesis::CaretakerStop => fault.excuses.extend([Kind::StaleFence]),
        _ => {}
    }
    fault
}
