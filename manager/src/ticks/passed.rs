//! Ticks that changes of a job buried, as the store names them until a worker has put them on record.

use std::time::Duration;

use chrono::{DateTime, Utc};
use common::{
    id::{JobName, WorkerId},
    queue::Passed,
    runlog::{TickOutcome, TickRecord},
    store::{Store, StoreError, key::Keys},
    tick::Tick,
};
use tokio::time::Instant;

use crate::state::App;

/// A store that does not answer for this long keeps nobody from what the run log knows.
const STORE_ANSWERS: Duration = Duration::from_millis(300);

/// Keys read at a time: few, as a job hardly ever has one, and those behind its own are other jobs'.
const AT_A_TIME: usize = 50;

/// Those of this job, of all times. Until a worker has put them on record, it is this manager that tells of them.
pub(super) async fn passed(app: &App, job: &JobName) -> Result<Vec<TickRecord>, StoreError> {
    let listing = named(&*app.store, &app.config.keys, job);
    let all = app.read_store(Instant::now() + STORE_ANSWERS, listing).await?;
    let Ok(worker) = app.config.id.parse::<WorkerId>() else { return Ok(Vec::new()) };
    let record =
        |passed: &Passed| TickRecord::of(job, &passed.ticks, TickOutcome::Missed, &passed.reason, &worker);
    Ok(all.iter().map(record).collect())
}

/// Reads this job's keys only: after a bulk delete without workers there are some of every job.
async fn named(store: &dyn Store, keys: &Keys, job: &JobName) -> Result<Vec<Passed>, StoreError> {
    // All keys of the job are between these two. A job "a@2" may have some between those of a job "a", too.
    let mut after = keys.passed.key(format_args!("{job}@"));
    let last = keys.passed(job, Tick::from_instant(DateTime::<Utc>::MAX_UTC));
    let mut all = Vec::new();
    loop {
        let page = store.list(&keys.passed, Some(&after), AT_A_TIME, None).await?;
        let between = page.entries.iter().take_while(|entry| entry.key <= last);
        let decoded = between.filter_map(|entry| Passed::decode(&entry.value).ok());
        all.extend(decoded.filter(|passed| passed.job == *job));
        match page.entries.last() {
            Some(entry) if page.more && entry.key < last => after = entry.key.clone(),
            _ => return Ok(all),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use common::{
        lock::Stretch,
        store::{
            Entry, Events, Key, LeaseId, Op, Page, Prefix, Revision, Txn, TxnOutcome, embedded::EmbeddedStore,
        },
    };
    use futures::stream::BoxStream;

    use super::*;
    use crate::ticks::at;

    /// 2026-11-22T10:00:00Z.
    const NOW: i64 = 1_795_341_600;

    /// The embedded store, which counts the entries that it lists.
    struct Counting {
        inner: EmbeddedStore,
        listed: AtomicUsize,
    }

    #[async_trait]
    impl Store for Counting {
        async fn get(&self, key: &Key) -> Result<(Option<Entry>, Revision), StoreError> {
            self.inner.get(key).await
        }

        async fn list(
            &self,
            prefix: &Prefix,
            after: Option<&Key>,
            limit: usize,
            at: Option<Revision>,
        ) -> Result<Page, StoreError> {
            let page = self.inner.list(prefix, after, limit, at).await?;
            self.listed.fetch_add(page.entries.len(), Ordering::SeqCst);
            Ok(page)
        }

        fn watch(&self, prefix: &Prefix, from: Revision) -> BoxStream<'static, Result<Events, StoreError>> {
            self.inner.watch(prefix, from)
        }

        async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
            self.inner.txn(txn).await
        }

        async fn grant(&self, ttl: Duration) -> Result<(LeaseId, Duration), StoreError> {
            self.inner.grant(ttl).await
        }

        async fn renew(&self, lease: LeaseId, timeout: Duration) -> Result<Duration, StoreError> {
            self.inner.renew(lease, timeout).await
        }

        async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
            self.inner.revoke(lease).await
        }

        async fn status(&self) -> Result<String, StoreError> {
            self.inner.status().await
        }
    }

    struct Bench {
        store: Counting,
        keys: Keys,
    }

    impl Bench {
        fn new() -> Self {
            let store = Counting { inner: EmbeddedStore::in_memory(), listed: AtomicUsize::new(0) };
            Self { store, keys: Keys::new("/quorate/").unwrap() }
        }

        async fn pass_over(&self, job: &str, second: i64) {
            let (job, tick): (JobName, Tick) = (job.parse().unwrap(), Tick::from_instant(at(second)));
            let key = self.keys.passed(&job, tick);
            let ticks = Stretch { from: tick, to: tick, count: 1, why: common::lock::Why::Usual };
            let value = Passed { job, ticks, reason: "a reason".to_owned() }.encode();
            let put = Op::Put(key, value, None);
            assert!(self.store.txn(Txn::when(Vec::new(), vec![put])).await.unwrap().succeeded);
        }

        /// The ticks that are named of the job, in seconds since 1970.
        async fn named(&self, job: &str) -> Vec<i64> {
            let all = named(&self.store, &self.keys, &job.parse().unwrap()).await.unwrap();
            all.iter().map(|passed| passed.ticks.to.seconds()).collect()
        }
    }

    #[tokio::test]
    async fn among_those_of_many_jobs_only_the_jobs_own_are_read() {
        let bench = Bench::new();
        for n in 0..200 {
            bench.pass_over(&format!("before-{n}"), NOW).await;
            bench.pass_over(&format!("yonder-{n}"), NOW).await;
        }
        for second in [NOW, NOW + 1, NOW + 2] {
            bench.pass_over("own", second).await;
        }
        assert_eq!(bench.named("own").await, [NOW, NOW + 1, NOW + 2]);
        let listed = bench.store.listed.load(Ordering::SeqCst);
        assert!(listed <= AT_A_TIME, "{listed} entries were listed");
        assert!(bench.named("none").await.is_empty());
    }

    #[tokio::test]
    async fn jobs_whose_names_begin_alike_are_told_apart() {
        let bench = Bench::new();
        // More than a page of a job whose keys stand before another's own, and more than a page of that one's.
        let jobs = [
            ("a", 60),
            ("a@1", 60),
            ("a@2026-11-22T10:00:00Z", 2),
            ("a@z", 2),
            ("a@", 2),
            ("a b", 2),
            ("ab", 2),
            ("A", 2),
        ];
        for (job, count) in jobs {
            for second in NOW..NOW + count {
                bench.pass_over(job, second).await;
            }
        }
        for (job, count) in jobs {
            assert_eq!(bench.named(job).await, (NOW..NOW + count).collect::<Vec<_>>(), "{job}");
        }
    }
}
