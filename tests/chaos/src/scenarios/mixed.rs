//! All kinds of jobs, on a cluster of which one thing after the other is broken and mended, by a plan that the seed
//! gives. Between the faults everything has to be as without: punctual, once, and with an outcome for each tick.

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum as _;

use super::SETTLE;
use crate::{
    checker::{Fault, Kind, Punctuality},
    cluster::{Layout, Wires},
    nemesis::{Nemesis, Plan},
    options::Options,
    trial::{Trial, Verdict},
};

mod edits;
mod observer;
mod strike;
mod workload;

/// No claim takes longer where nothing is broken.
const CLAIM_MS: i64 = 2_000;

/// What a recovery may take beside two leases and the slack: a server has to come up, and clients have to come back.
const RETURN_MS: i64 = 3_000;

pub(super) async fn run(options: &Options) -> Result<Verdict> {
    let nemeses = if options.nemesis.is_empty() { Nemesis::value_variants() } else { &options.nemesis };
    let plan = Plan::new(options.seed, options.duration(300), nemeses, options.lease_ttl);
    let mut trial = Trial::start(&Layout { wires: Wires::Links, ..options.layout() }).await?;
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
        let ahead_ms = if step.nemesis == Nemesis::ClockSkew { strike::SKEW_MS } else { 0 };
        // It may have met a tick that was just being claimed.
        trial.rules.faults.push(Fault { name, from_ms: from_ms - CLAIM_MS, to_ms, ahead_ms });
    }
    trial.run_for(plan.rest).await;
    trial.close_window();
    trial.history = observer.end().await;
    trial.finish(longest + SETTLE).await
}

fn punctuality(options: &Options) -> Punctuality {
    let ms = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX / 4);
    let (hedge, ttl, slack) = (ms(options.hedge), ms(options.lease_ttl), ms(options.slack));
    Punctuality { late_ms: 2 * hedge + slack, recovery_ms: 2 * ttl + RETURN_MS + slack }
}
