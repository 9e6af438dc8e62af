//! The store's own speed: claims and finishes in nested batches under a guard, with nothing around them.

use std::time::Duration;

use common::{
    id::RunId,
    lock::{HeldLock, LastRun, Lock},
    revision::Revision,
    run::{Cause, RunState},
    store::{Compare, MAX_TXN_OPS, Op, OpOutcome, Store, Txn, key::Keys},
    tick::Tick,
};
use tokio::time::Instant;
use worker::claim::{self, Place};

use crate::{
    cpu::Meter,
    stage::{self, Servers},
};

/// As many in a transaction as a worker sends.
const BATCH: usize = MAX_TXN_OPS - 1;

/// In flight at the same time, as in a worker.
const LANES: usize = 3;

/// What the store does at best, just now.
pub(crate) struct Raw {
    /// Claims, each with its finish, a second.
    pub(crate) rate: f64,
    /// Of etcd's processor time for one of them.
    pub(crate) etcd_micros: f64,
}

/// Measures it for so long.
pub(crate) async fn measure(servers: &mut Servers, time: Duration) -> anyhow::Result<Raw> {
    let (store, keys) = (servers.store().await?, Keys::new("/raw/")?);
    let session = store
        .txn(Txn::when(Vec::new(), vec![Op::Put(keys.worker(&"raw".parse()?), b"{}".to_vec(), None)]))
        .await?
        .revision;
    let (begun, meter) = (Instant::now(), Meter::start(servers.parts())?);
    let deadline = begun + time;
    let lanes =
        (0..LANES).map(|lane| tokio::spawn(work(lane, store.clone(), keys.clone(), session, deadline)));
    let done = futures::future::try_join_all(lanes).await?;
    let done = done.into_iter().sum::<anyhow::Result<u64>>()?;
    Ok(Raw { rate: done as f64 / begun.elapsed().as_secs_f64(), etcd_micros: meter.micros("etcd", done)? })
}

async fn work(
    lane: usize,
    store: std::sync::Arc<dyn Store>,
    keys: Keys,
    session: Revision,
    deadline: Instant,
) -> anyhow::Result<u64> {
    let locks: Vec<_> = (0..BATCH).map(|n| format!("lane-{lane}-{n}")).collect();
    let start = Tick::from_instant(stage::now());
    let put = |name: &String| {
        let job = name.parse()?;
        Ok(vec![
            Op::Put(keys.lock(&job), Lock::new(start).encode(), None),
            Op::Put(keys.job(&job), b"{}".to_vec(), None),
        ])
    };
    let puts: anyhow::Result<Vec<Vec<Op>>> = locks.iter().map(put).collect();
    // Twice as many operations as fit into one.
    let mut definitions = Vec::with_capacity(BATCH);
    for puts in puts?.chunks(BATCH / 2) {
        let revision = store.txn(Txn::when(Vec::new(), puts.concat())).await?.revision;
        definitions.extend(puts.iter().map(|_| revision));
    }
    let (mut tick, mut done) = (start, 0_u64);
    while Instant::now() < deadline {
        let previous = tick;
        tick = Tick::from_instant(tick.instant() + chrono::Duration::seconds(1));
        let held: Vec<HeldLock> =
            locks.iter().map(|name| held(name, tick, session)).collect::<Result<_, _>>()?;
        let claims = held.iter().zip(&definitions);
        let claims =
            claims.map(|(held, definition)| claim::claim(&keys, held, previous, *definition, Place::Lock));
        let won = nested(&*store, &keys, claims.collect(), session).await?;
        let finishes = held.iter().zip(won).map(|(held, seen)| {
            let last = LastRun {
                run: held.run,
                state: RunState::Succeeded,
                ended: stage::now(),
                worker: held.worker.clone(),
                claimed: None,
                recorded: None,
            };
            claim::finish(&keys, held, seen, Some(last), Vec::new())
        });
        done += nested(&*store, &keys, finishes.collect(), session).await?.len() as u64;
    }
    Ok(done)
}

fn held(name: &str, tick: Tick, session: Revision) -> anyhow::Result<HeldLock> {
    Ok(HeldLock {
        job: name.parse()?,
        fence: tick,
        run: RunId::from_uuid(uuid::Uuid::now_v7()),
        attempt: 1,
        tick: Some(tick),
        cause: Cause::Schedule,
        worker: "raw".parse()?,
        session,
        epoch: common::epoch::Epoch::default(),
        claimed: stage::now(),
        skipped: 0,
        last_skip: None,
        missed: None,
        also_missed: Vec::new(),
        claim_revision: None,
        command: None,
    })
}

/// The revisions of those that succeeded.
async fn nested(
    store: &dyn Store,
    keys: &Keys,
    txns: Vec<Txn>,
    session: Revision,
) -> anyhow::Result<Vec<Revision>> {
    let guard = Compare::CreateRevision(keys.worker(&"raw".parse()?), session);
    let inner = Txn::when(vec![guard], txns.into_iter().map(Op::Txn).collect());
    let outcome = store.txn(Txn::when(Vec::new(), vec![Op::Txn(inner)])).await?;
    let Some(OpOutcome::Txn(inner)) = outcome.results.first() else { anyhow::bail!("no nested outcome") };
    let won = inner.results.iter().filter_map(|result| match result {
        OpOutcome::Txn(txn) if txn.succeeded => Some(txn.revision),
        _ => None,
    });
    Ok(won.collect())
}
