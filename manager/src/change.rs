//! The only way in which a manager changes the store: it reads, decides on what it read, writes under a compare of that,
//! and recognises its own write when the answer is lost.
//!
//! If somebody else was first, it reads and decides again. If an answer was lost, it finds out what became of the try
//! (`uncertain.rs`): a change that may have been made is never denied, none is made twice, and none undoes what
//! another client did in the meantime. It knows who asks, so this is where changes are put on record.
//!
//! What a change decides and the transaction that it sends are pure functions ([`decision`], [`txn`]): the model of the
//! claim protocol calls them too.

use std::time::Duration;

use common::store::{Compare, Entry, Key, Op, Revision, Store, StoreError, Txn, TxnOutcome};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    access::Caller,
    cache::{Cache, Place},
    problem::ApiError,
};

pub(crate) mod batch;
pub(crate) mod bulk;
pub mod decision;
pub(crate) mod delete;
pub(crate) mod drain;
pub(crate) mod fence;
mod job;
pub(crate) mod kill;
pub(crate) mod pause;
pub(crate) mod run_now;
pub(crate) mod save;
pub(crate) mod task;
pub mod txn;
mod uncertain;

use batch::Batch;
pub(crate) use uncertain::Fate;
use uncertain::{Next, Uncertain};

/// Another writer was first: read and decide again, this many times.
const TRIES: usize = 8;

/// The wait before looking again for a write that may be on its way; it doubles each time.
const LATE: Duration = Duration::from_millis(100);
/// The longest wait.
const LATEST: Duration = Duration::from_millis(800);

/// A change: what it is decided on, and what it does.
pub(crate) trait Change: Sync {
    /// What it gives once it is made.
    type Done: Send;

    /// In a word, for the log.
    const WHAT: &'static str;

    /// The keys that it is decided on. The first is what it changes: no two changes of it share a transaction.
    fn reads(&self) -> Vec<Key>;

    /// What to try first without a look, where it is as good as known what is there. The write itself finds out.
    fn presumed(&self) -> Option<Snapshot> {
        None
    }

    /// What to do, now that this is there. It is asked again after another's write.
    fn decide(&self, seen: &Snapshot) -> Result<Decision<Self::Done>, ApiError>;

    /// The one of its keys by which it recognises its write: nobody else writes the same value there.
    fn witness(&self) -> usize {
        0
    }

    /// What became of a try whose answer was lost, now that this is there.
    fn fate(&self, tried: &SentWrite<Self::Done>, seen: &Snapshot) -> Fate {
        let witness = self.witness();
        let (before, now) = (tried.seen.revision(witness), seen.revision(witness));
        match seen.entry(witness) {
            Some(entry) if tried.wrote(&entry.key).is_some_and(|value| *value == *entry.value) => {
                Fate::Done(Some(now))
            }
            _ if now != before => Fate::Unknown,
            _ if before.is_none() => Fate::Hidden,
            _ => Fate::Open,
        }
    }
}

/// What stands under the keys of a change, in their order.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot(Vec<Option<Entry>>);

impl Snapshot {
    /// Nothing under this many keys.
    pub(crate) fn nothing(keys: usize) -> Self {
        Self(vec![None; keys])
    }

    /// What the gets of a transaction got.
    fn of(outcome: &TxnOutcome, keys: usize) -> Self {
        Self((0..keys).map(|n| outcome.got(n).cloned()).collect())
    }

    /// What stands under the keys behind the first.
    pub(crate) fn behind_first(&self) -> Self {
        Self(self.0.iter().skip(1).cloned().collect())
    }

    /// What stands under this key.
    pub(crate) fn entry(&self, key: usize) -> Option<&Entry> {
        self.0.get(key)?.as_ref()
    }

    /// At which revision it was written.
    pub(crate) fn revision(&self, key: usize) -> Revision {
        self.entry(key).map_or(Revision::NONE, |entry| entry.mod_revision)
    }
}

/// What to do.
pub(crate) enum Decision<T> {
    /// Send this.
    Write(Write<T>),
    /// Everything is as it should be.
    Leave(T),
}

/// A write that was decided on.
pub(crate) struct Write<T> {
    /// Its compares hold as long as nobody changes what it was decided on.
    pub(crate) txn: Txn,
    /// The lists that change by it.
    pub(crate) places: &'static [Place],
    /// What the change gives if this is done.
    pub(crate) done: T,
}

/// A write that was sent.
pub(crate) struct SentWrite<T> {
    write: Write<T>,
    /// What it was decided on.
    seen: Snapshot,
}

impl<T> SentWrite<T> {
    /// The revision of this key that it was decided on.
    fn decided_on(&self, key: usize) -> Revision {
        self.seen.revision(key)
    }

    /// What it puts under this key.
    fn wrote(&self, key: &Key) -> Option<&[u8]> {
        self.write.txn.then.iter().find_map(|op| match op {
            Op::Put(put, value, _) if put == key => Some(value.as_slice()),
            _ => None,
        })
    }
}

/// A change that is made, or had nothing to do.
pub(crate) struct Changed<T> {
    pub(crate) done: T,
    /// The revision of its write; none: there was none, or it is not known.
    pub(crate) revision: Option<Revision>,
}

/// The way to the store that a change takes.
pub(crate) struct Way<'a> {
    store: &'a dyn Store,
    /// Where it goes together with others, and what shows it then.
    shared: Option<(&'a Batch, &'a Cache)>,
    /// By when it is given up.
    deadline: Option<Instant>,
}

impl<'a> Way<'a> {
    /// By itself, however long it takes.
    pub(crate) const fn alone(store: &'a dyn Store) -> Self {
        Self { store, shared: None, deadline: None }
    }

    /// Together with other requests' changes, until `deadline`.
    pub(crate) const fn shared(
        store: &'a dyn Store,
        batch: &'a Batch,
        cache: &'a Cache,
        deadline: Instant,
    ) -> Self {
        Self { store, shared: Some((batch, cache)), deadline: Some(deadline) }
    }

    async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Send,
        late: fn(common::store::BoxError) -> StoreError,
    ) -> Result<T, StoreError> {
        let Some(deadline) = self.deadline else { return call.await };
        timeout_at(deadline, call).await.unwrap_or_else(|_| Err(late("it does not answer".into())))
    }

    /// Reads these keys as they are at one instant.
    async fn read(&self, keys: &[Key]) -> Result<Snapshot, StoreError> {
        let (Some((batch, _)), Some(first)) = (self.shared, keys.first()) else {
            return self.read_alone(keys).await;
        };
        let gets = Txn::when(Vec::new(), keys.iter().cloned().map(Op::Get).collect());
        match self.in_time(batch.txn(first.clone(), gets), StoreError::Unavailable).await {
            Ok(outcome) => Ok(Snapshot::of(&outcome, keys.len())),
            // A question that shared its way with writes has lost nothing but time.
            Err(StoreError::Ambiguous(cause)) => Err(StoreError::Unavailable(cause)),
            // It was refused with the writes that it shared its way with: by itself a full store answers it.
            Err(StoreError::Full(_)) => self.read_alone(keys).await,
            Err(error) => Err(error),
        }
    }

    /// Reads these keys past all writes, as after a lost answer: such reads go on to another member of the store. They
    /// are not of one instant; what is written compares what it goes by.
    async fn read_alone(&self, keys: &[Key]) -> Result<Snapshot, StoreError> {
        let mut entries = Vec::with_capacity(keys.len());
        for key in keys {
            entries.push(self.in_time(self.store.get(key), StoreError::Unavailable).await?.0);
        }
        Ok(Snapshot(entries))
    }

    /// Sends a transaction about `subject`. After the deadline nobody knows what became of it.
    async fn send(&self, subject: Key, txn: Txn) -> Result<TxnOutcome, StoreError> {
        match self.shared {
            Some((batch, _)) => self.in_time(batch.txn(subject, txn), StoreError::Ambiguous).await,
            None => self.in_time(self.store.txn(txn), StoreError::Ambiguous).await,
        }
    }

    /// Sends many small transactions in one, each under compares of its own, and all of them under `only`. Gives which
    /// were done; `None`: `only` does not hold.
    pub(crate) async fn send_together(
        &self,
        only: &[Compare],
        parts: Vec<Txn>,
    ) -> Result<Option<usize>, StoreError> {
        use common::store::OpOutcome;
        let all = Txn::when(only.to_vec(), parts.into_iter().map(Op::Txn).collect());
        let outcome = self.in_time(self.store.txn(all), StoreError::Ambiguous).await?;
        let done = |result: &&OpOutcome| matches!(result, OpOutcome::Txn(inner) if inner.succeeded);
        Ok(outcome.succeeded.then(|| outcome.results.iter().filter(done).count()))
    }

    /// Waits until the lists show what was written at `revision`.
    async fn shown(&self, places: &[Place], revision: Revision) -> bool {
        let (Some((_, cache)), Some(deadline)) = (self.shared, self.deadline) else { return true };
        for place in places {
            if !cache.shows(*place, revision, deadline).await {
                return false;
            }
        }
        true
    }
}

/// Makes a change. A failure is told as it is as long as no answer was lost; after that the change may have been made,
/// whatever came in its way since.
pub(crate) async fn make<C: Change>(
    way: &Way<'_>,
    caller: &Caller,
    change: &C,
) -> Result<Changed<C::Done>, ApiError> {
    let mut uncertain = Uncertain::default();
    let (tried, revision) = match try_to_make(way, change, &mut uncertain).await {
        Ok(Made::Written(tried, revision)) => (tried, revision),
        Ok(Made::Left(done)) => return Ok(Changed { done, revision: None }),
        Err(error) => return Err(uncertain.instead_of(C::WHAT, error)),
    };
    let key = change.reads().into_iter().next();
    let key = key.as_ref().map_or("", Key::as_str);
    tracing::debug!(what = C::WHAT, key, by = %caller, revision = revision.map(Revision::get), "changed the store");
    let Write { places, done, .. } = tried.write;
    if let Some(revision) = revision
        && !way.shown(places, revision).await
    {
        tracing::warn!(what = C::WHAT, key, %revision, "a change is stored, but the lists do not show it yet");
    }
    Ok(Changed { done, revision })
}

/// How a change ended.
enum Made<T> {
    /// This was done, at this revision if that is known.
    Written(SentWrite<T>, Option<Revision>),
    /// There was nothing to do.
    Left(T),
}

async fn try_to_make<C: Change>(
    way: &Way<'_>,
    change: &C,
    uncertain: &mut Uncertain<C::Done>,
) -> Result<Made<C::Done>, ApiError> {
    let keys = change.reads();
    // A refusal is never given for what is only presumed.
    let mut known = change.presumed().filter(|seen| matches!(change.decide(seen), Ok(Decision::Write(_))));
    let mut late = LATE;
    for _ in 0..TRIES {
        let seen = match known.take() {
            Some(seen) => seen,
            None if uncertain.is_empty() => way.read(&keys).await?,
            None => way.read_alone(&keys).await?,
        };
        match uncertain.judge(|tried| change.fate(tried, &seen))? {
            Next::Try => {}
            Next::LookAgain => {
                if late > LATEST {
                    return Err(ApiError::Contended);
                }
                sleep(late).await;
                late *= 2;
                continue;
            }
            Next::Done(tried, revision) => return Ok(Made::Written(tried, revision)),
        }
        let write = match change.decide(&seen)? {
            Decision::Write(write) => write,
            Decision::Leave(done) => return Ok(Made::Left(done)),
        };
        let gets = keys.iter().cloned().map(Op::Get).collect();
        let txn = Txn { otherwise: gets, ..write.txn.clone() };
        let tried = SentWrite { write, seen };
        match way.send(keys[0].clone(), txn).await {
            Ok(outcome) if outcome.succeeded => return Ok(Made::Written(tried, Some(outcome.revision))),
            Ok(outcome) => known = Some(Snapshot::of(&outcome, keys.len())),
            // etcd does the transaction that fills it, and answers it like those behind it.
            Err(error @ (StoreError::Ambiguous(_) | StoreError::Full(_))) => uncertain.add(tried, error),
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::Contended)
}
