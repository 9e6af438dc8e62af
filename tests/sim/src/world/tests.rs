//! Short plays, of code that keeps its promises and of a store and a run log that do not let it.

use async_trait::async_trait;
use clap::ValueEnum as _;
use common::{
    id::RunId,
    runlog::{LogEntry, Outputs, RunLogError, RunPage, RunQuery, RunRecord, TickQuery, TickRecord},
    store::{Compare, Entry, Events, Key, LeaseId, Page, Prefix, Revision, StoreError, TxnOutcome},
};
use futures::stream::BoxStream;

use super::*;
use crate::report::Finding;

fn short(seed: u64) -> Play {
    Play {
        seed,
        time: Duration::from_secs(360),
        load: Load { short: 20, long: 1, busy: 3, edited: 2 },
        workers: 3,
        managers: 2,
        nemeses: Nemesis::value_variants().to_vec(),
        trace: 0,
    }
}

#[test]
fn a_seed_plays_the_same_each_time_and_another_one_otherwise() {
    let (one, again, other) = (play(&short(1)).unwrap(), play(&short(1)).unwrap(), play(&short(2)).unwrap());
    assert_eq!(one.hash(), again.hash(), "find where they part by `tests/sim/run --trace`");
    assert_ne!(one.hash(), other.hash());
    assert!(one.is_clean() && other.is_clean(), "{one}\n{other}");
}

#[test]
fn workers_keep_their_promises_whatever_is_broken() {
    for seed in 3..5 {
        let report = play(&short(seed)).unwrap();
        assert!(report.is_clean(), "seed {seed}:\n{report}");
        assert!(report.faults > 1 && report.succeeded > 90 && report.skipped > 20, "seed {seed}:\n{report}");
    }
}

#[test]
fn where_nothing_is_broken_every_tick_runs_or_is_skipped() {
    let load = Load { edited: 0, ..short(1).load };
    let report = play(&Play { nemeses: Vec::new(), load, ..short(1) }).unwrap();
    assert!(report.is_clean(), "{report}");
    // What still runs is lost with its worker, which is told to end.
    let ended_early = report.count_excused(Finding::Lost);
    assert_eq!(report.expected, report.succeeded + report.skipped + ended_early, "{report}");
}

/// A store that does not do what it has to.
struct Broken {
    store: Arc<dyn Store>,
    how: How,
}

#[derive(Clone, Copy)]
enum How {
    /// It compares no values: a claim wins whatever the fence is.
    FencesAreNotCompared,
    /// Leases end in a third of the time that was granted.
    LeasesEndEarly,
    /// It does not keep which ticks a change passed over.
    PassedTicksAreForgotten,
}

fn without_fences(txn: Txn) -> Txn {
    let is_of_value =
        |compare: &Compare| matches!(compare, Compare::ValueGreater(..) | Compare::ValueLess(..));
    let compares = txn.compares.into_iter().filter(|compare| !is_of_value(compare)).collect();
    let inner = |op| match op {
        Op::Txn(inner) => Op::Txn(without_fences(inner)),
        other => other,
    };
    let then = txn.then.into_iter().map(inner).collect();
    Txn { compares, then, otherwise: txn.otherwise }
}

fn without_passed(txn: Txn) -> Txn {
    let keys = Keys::new("/quorate/").unwrap();
    let is_kept = |op: &Op| !matches!(op, Op::Put(key, ..) if keys.passed.name(key).is_some());
    let inner = |op| match op {
        Op::Txn(inner) => Op::Txn(without_passed(inner)),
        other => other,
    };
    Txn { then: txn.then.into_iter().filter(is_kept).map(inner).collect(), ..txn }
}

#[async_trait]
impl Store for Broken {
    async fn get(&self, key: &Key) -> Result<(Option<Entry>, Revision), StoreError> {
        self.store.get(key).await
    }

    async fn list(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        self.store.list(prefix, after, limit, at).await
    }

    fn watch(&self, prefix: &Prefix, from: Revision) -> BoxStream<'static, Result<Events, StoreError>> {
        self.store.watch(prefix, from)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        match self.how {
            How::FencesAreNotCompared => self.store.txn(without_fences(txn)).await,
            How::PassedTicksAreForgotten => self.store.txn(without_passed(txn)).await,
            How::LeasesEndEarly => self.store.txn(txn).await,
        }
    }

    async fn grant(&self, ttl: Duration) -> Result<(LeaseId, Duration), StoreError> {
        match self.how {
            How::FencesAreNotCompared | How::PassedTicksAreForgotten => self.store.grant(ttl).await,
            How::LeasesEndEarly => Ok((self.store.grant(ttl / 3).await?.0, ttl)),
        }
    }

    async fn renew(&self, lease: LeaseId, timeout: Duration) -> Result<Duration, StoreError> {
        let granted = self.store.renew(lease, timeout).await?;
        match self.how {
            How::FencesAreNotCompared | How::PassedTicksAreForgotten => Ok(granted),
            How::LeasesEndEarly => Ok(granted * 3),
        }
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.store.revoke(lease).await
    }

    async fn status(&self) -> Result<String, StoreError> {
        self.store.status().await
    }
}

fn played_on_broken_store(how: How, nemesis: Nemesis, finding: Finding) {
    played_on_broken_store_with(how, nemesis, finding, short(1).load);
}

fn played_on_broken_store_with(how: How, nemesis: Nemesis, finding: Finding, load: Load) {
    let findings = (1..10).map(|seed| {
        let play = Play { nemeses: vec![nemesis], load, ..short(seed) };
        let broken = |around: &mut Surroundings| {
            around.store = Arc::new(Broken { store: around.store.clone(), how });
        };
        play_with(&play, broken).unwrap().count(finding)
    });
    assert!(findings.take_while(|count| *count == 0).count() < 9, "{finding:?} was not found by any seed");
}

#[test]
fn a_store_that_compares_no_fences_is_found_out() {
    played_on_broken_store(How::FencesAreNotCompared, Nemesis::HeldUp, Finding::Doubled);
}

#[test]
fn leases_that_end_before_their_time_are_found_out() {
    played_on_broken_store(How::LeasesEndEarly, Nemesis::CutOff, Finding::Overlap);
}

#[test]
fn ticks_that_an_edit_buries_without_a_word_are_found() {
    let load = Load { short: 1, long: 0, busy: 0, edited: 12 };
    played_on_broken_store_with(How::PassedTicksAreForgotten, Nemesis::StoreAway, Finding::Gap, load);
}

#[test]
fn edits_close_to_ticks_lose_and_double_none() {
    let load = Load { short: 1, long: 0, busy: 1, edited: 12 };
    let report = play(&Play { load, ..short(5) }).unwrap();
    assert!(report.is_clean(), "{report}");
    assert!(report.edits > 100 && report.promised > 10 && report.passed > 0, "{report}");
}

/// A run log that forgets each seventh record of those that it takes.
struct Forgetful(Arc<dyn RunLog>);

#[async_trait]
impl RunLog for Forgetful {
    async fn append(&self, entries: &[LogEntry]) -> Result<(), RunLogError> {
        let is_kept = |entry: &&LogEntry| match entry {
            LogEntry::Run(record) => record.plan_time / 1000 % 7 != 0,
            LogEntry::Ticks(_) => true,
        };
        let kept: Vec<LogEntry> = entries.iter().filter(is_kept).cloned().collect();
        self.0.append(&kept).await
    }

    async fn runs(&self, query: &RunQuery, outputs: Outputs) -> Result<RunPage, RunLogError> {
        self.0.runs(query, outputs).await
    }

    async fn run(&self, run: &RunId) -> Result<Vec<RunRecord>, RunLogError> {
        self.0.run(run).await
    }

    async fn log(&self, job: &str, skip: u64, limit: usize) -> Result<Vec<RunRecord>, RunLogError> {
        self.0.log(job, skip, limit).await
    }

    async fn ticks(&self, query: &TickQuery) -> Result<Vec<TickRecord>, RunLogError> {
        self.0.ticks(query).await
    }

    async fn prune(&self, now: DateTime<Utc>, per_job: u64) -> Result<(), RunLogError> {
        self.0.prune(now, per_job).await
    }

    async fn status(&self) -> Result<String, RunLogError> {
        self.0.status().await
    }
}

#[test]
fn a_run_log_that_forgets_is_found_out() {
    let forgetful = |around: &mut Surroundings| around.runlog = Arc::new(Forgetful(around.runlog.clone()));
    let report = play_with(&Play { nemeses: Vec::new(), ..short(1) }, forgetful).unwrap();
    assert!(report.count(Finding::WithoutRecord) > 10, "{report}");
}
