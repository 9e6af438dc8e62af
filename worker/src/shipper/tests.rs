use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use common::{
    id::RunId,
    runlog::{Outputs, RunPage, RunQuery, RunRecord, TickQuery, TickRecord},
};

use super::*;
use crate::{session::load::Load, spool::tests::ticks as entry};

/// What a run log says to an entry.
enum Answer {
    Taken,
    Bad,
    Denied,
}

/// A run log that goes by a rule: of the call, counted from 0, and the entry.
struct Picky {
    rule: Box<dyn Fn(usize, u64) -> Answer + Send + Sync>,
    calls: AtomicUsize,
    taken: Mutex<BTreeSet<u64>>,
}

#[async_trait]
impl RunLog for Picky {
    async fn append(&self, entries: &[LogEntry]) -> Result<(), RunLogError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let mut refused = None;
        for n in entries.iter().map(number) {
            match (self.rule)(call, n) {
                Answer::Taken => {
                    self.taken.lock().unwrap().insert(n);
                }
                Answer::Bad => refused = Some(Refusal::Record(format!("{n} is bad").into())),
                Answer::Denied => return Err(RunLogError::Refused(Refusal::Request("denied".into()))),
            }
        }
        refused.map_or(Ok(()), |refusal| Err(RunLogError::Refused(refusal)))
    }

    async fn runs(&self, _query: &RunQuery, _outputs: Outputs) -> Result<RunPage, RunLogError> {
        Ok(RunPage::default())
    }

    async fn run(&self, _run: &RunId) -> Result<Vec<RunRecord>, RunLogError> {
        Ok(Vec::new())
    }

    async fn log(&self, _job: &str, _skip: u64, _limit: usize) -> Result<Vec<RunRecord>, RunLogError> {
        Ok(Vec::new())
    }

    async fn ticks(&self, _query: &TickQuery) -> Result<Vec<TickRecord>, RunLogError> {
        Ok(Vec::new())
    }

    async fn prune(&self, _now: DateTime<Utc>, _per_job: u64) -> Result<(), RunLogError> {
        Ok(())
    }

    async fn status(&self) -> Result<String, RunLogError> {
        Ok("picky".to_owned())
    }
}

fn number(entry: &LogEntry) -> u64 {
    match entry {
        LogEntry::Ticks(record) => record.count,
        LogEntry::Run(_) => u64::MAX,
    }
}

/// A spool with the entries 0 to 4, and a picky run log.
struct Bench {
    dir: tempfile::TempDir,
    spool: Spool,
    runlog: Picky,
}

impl Bench {
    async fn new(rule: impl Fn(usize, u64) -> Answer + Send + Sync + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path(), Load::new(1)).unwrap();
        for n in 0..5 {
            spool.keep(entry(n)).await;
        }
        let runlog = Picky { rule: Box::new(rule), calls: AtomicUsize::new(0), taken: Mutex::default() };
        Self { dir, spool, runlog }
    }

    async fn ship(&self) -> Result<Option<usize>, String> {
        super::ship(&self.spool, &self.runlog, None).await
    }

    async fn waiting(&self) -> Vec<u64> {
        let groups = self.spool.read(ENTRIES, BYTES).await.unwrap();
        groups.iter().flat_map(|group| &group.entries).map(number).collect()
    }

    fn taken(&self) -> Vec<u64> {
        self.runlog.taken.lock().unwrap().iter().copied().collect()
    }

    /// What the file has of those that were refused.
    fn set_aside(&self) -> Vec<u64> {
        let lines = fs::read_to_string(self.dir.path().join("refused")).unwrap_or_default();
        let count = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["ticks"]["count"].as_u64().unwrap()
        };
        lines.lines().map(count).collect()
    }
}

const ALL: [u64; 5] = [0, 1, 2, 3, 4];

#[tokio::test]
async fn a_record_that_is_refused_for_what_is_in_it_is_set_aside_and_holds_up_no_other() {
    let bench = Bench::new(|_, n| if n == 1 || n == 3 { Answer::Bad } else { Answer::Taken }).await;
    assert_eq!(bench.ship().await, Ok(Some(5)));
    assert_eq!((bench.taken(), bench.set_aside()), (vec![0, 2, 4], vec![1, 3]));
    assert_eq!(bench.waiting().await, Vec::<u64>::new());
    bench.spool.keep(entry(5)).await;
    bench.spool.keep(entry(3)).await;
    assert_eq!(bench.ship().await, Ok(Some(2)));
    assert_eq!((bench.taken(), bench.set_aside()), (vec![0, 2, 4, 5], vec![1, 3, 3]));
}

#[tokio::test]
async fn no_record_is_given_up_while_access_is_denied_and_granted_again() {
    let bench = Bench::new(|call, _| if call < 3 { Answer::Denied } else { Answer::Taken }).await;
    for _ in 0..3 {
        assert!(bench.ship().await.is_err());
        assert_eq!(bench.waiting().await, ALL);
    }
    assert_eq!(bench.ship().await, Ok(Some(5)));
    assert_eq!((bench.taken(), bench.set_aside()), (ALL.to_vec(), vec![]));
}

#[tokio::test]
async fn no_record_is_given_up_when_access_is_denied_while_a_batch_goes_one_by_one() {
    let rule = |call: usize, n: u64| match (call, n) {
        (3, _) => Answer::Denied,
        (_, 0) => Answer::Bad,
        _ => Answer::Taken,
    };
    let bench = Bench::new(rule).await;
    assert!(bench.ship().await.is_err());
    assert_eq!((bench.waiting().await, bench.set_aside()), (ALL.to_vec(), vec![]));
    assert_eq!(bench.ship().await, Ok(Some(5)));
    assert_eq!((bench.taken(), bench.set_aside()), (vec![1, 2, 3, 4], vec![0]));
}

/// As of a user that may write to `log` and not to `ticks`.
#[tokio::test]
async fn records_that_access_is_denied_for_wait_for_it_among_others() {
    let granted = Arc::new(AtomicBool::new(false));
    let later = granted.clone();
    let rule = move |_: usize, n: u64| {
        let may = n.is_multiple_of(2) || later.load(Ordering::SeqCst);
        if may { Answer::Taken } else { Answer::Denied }
    };
    let bench = Bench::new(rule).await;
    assert!(bench.ship().await.is_err());
    assert!(bench.ship().await.is_err());
    assert_eq!((bench.waiting().await, bench.set_aside()), (ALL.to_vec(), vec![]));
    granted.store(true, Ordering::SeqCst);
    assert_eq!(bench.ship().await, Ok(Some(5)));
    assert_eq!((bench.taken(), bench.set_aside()), (ALL.to_vec(), vec![]));
}

#[tokio::test]
async fn what_a_rule_refused_that_is_put_right_meanwhile_is_tried_once_more() {
    let bench = Bench::new(|call, _| if call < 3 { Answer::Bad } else { Answer::Taken }).await;
    assert_eq!(bench.ship().await, Ok(Some(5)));
    assert_eq!((bench.taken(), bench.set_aside()), (ALL.to_vec(), vec![]));
}

#[tokio::test]
async fn where_all_are_refused_none_is_given_up() {
    let bench = Bench::new(|_, _| Answer::Bad).await;
    assert!(bench.ship().await.is_err());
    assert_eq!((bench.waiting().await, bench.set_aside()), (ALL.to_vec(), vec![]));
}

#[tokio::test]
async fn a_large_record_that_is_refused_holds_up_no_other() {
    let rule = |_: usize, n: u64| if n == 7 { Answer::Bad } else { Answer::Taken };
    let bench = Bench::new(rule).await;
    assert_eq!(bench.ship().await, Ok(Some(5)));
    let LogEntry::Ticks(ticks) = entry(7) else { panic!("it is of ticks") };
    let reason = "x".repeat(usize::try_from(BYTES).unwrap());
    bench.spool.keep(LogEntry::Ticks(TickRecord { reason, ..ticks })).await;
    assert!(bench.ship().await.is_err(), "nothing behind it says whether it is us");
    bench.spool.keep(entry(8)).await;
    assert_eq!(bench.ship().await, Ok(Some(2)));
    assert_eq!((bench.taken(), bench.set_aside()), (vec![0, 1, 2, 3, 4, 8], vec![7]));
}

#[tokio::test]
async fn what_cannot_be_set_aside_is_not_given_up() {
    let bench = Bench::new(|_, n| if n == 1 { Answer::Bad } else { Answer::Taken }).await;
    fs::create_dir(bench.dir.path().join("refused")).unwrap();
    assert!(bench.ship().await.is_err());
    assert_eq!(bench.waiting().await, ALL);
    fs::remove_dir(bench.dir.path().join("refused")).unwrap();
    assert_eq!(bench.ship().await, Ok(Some(5)));
    assert_eq!(bench.set_aside(), vec![1_u64]);
}
