//! A worker is cut off from etcd for two leases in the middle of long runs, its connections broken; then another, whose
//! connections fall silent. Each kills its runs before anybody starts them again.

use std::time::Duration;

use anyhow::Result;
use test_support::link::Link;

use super::succession::{Succession, Without};
use crate::{
    cluster::{Layout, Wires},
    options::Options,
    trial::{Trial, Verdict},
};

pub(super) async fn run(options: &Options) -> Result<Verdict> {
    let cut = options.seconds.map_or(options.lease_ttl * 2, |seconds| Duration::from_secs(seconds.into()));
    let lasts = cut * 2 + options.lease_ttl * 4 + Duration::from_secs(60);
    let layout = Layout { wires: Wires::Links, ..options.layout() };
    let mut play = Succession::start(&layout, options, lasts).await?;
    let mut before = Vec::new();
    for (what, breaks) in [("cut off", Link::cut as fn(&Link)), ("met by silence", Link::stall)] {
        let n = play.busiest(&before)?;
        before.push(n);
        let span = cut_off(&mut play.trial, n, cut, what, breaks).await?;
        play.measure(n, what, span, Without::Overlap).await?;
        play.trial.run_for(options.lease_ttl * 2).await;
    }
    play.finish().await
}

async fn cut_off(
    trial: &mut Trial,
    n: usize,
    cut: Duration,
    what: &str,
    breaks: fn(&Link),
) -> Result<(i64, i64)> {
    let id = trial.cluster.workers()[n].id().to_owned();
    let earlier = trial.cluster.session_of(&id).await?.unwrap_or_default();
    let from_ms = trial.now_ms();
    trial.cluster.links(n).etcd().iter().for_each(breaks);
    trial.note(format_args!("{id} is {what} for {} s", cut.as_secs()));
    trial.run_for(cut).await;
    let to_ms = trial.now_ms();
    trial.cluster.links(n).etcd().iter().for_each(Link::mend);
    trial.cluster.wait_registered(&trial.cluster.workers()[n], earlier).await;
    trial.note(format_args!("{id} is back"));
    Ok((from_ms, to_ms))
}
