//! A store of a few keys: entries with revisions, and the real transactions done on them, comparing real bytes.

use common::{
    lock::{HeldLock, Lock, fence_bytes},
    queue::{Passed, QueuedRun},
    store::{Compare, Op, Revision, Txn},
};

use crate::{
    cast::{self, HeldRef, KeyRef, LockView, Rev},
    interned::{Interned, Table},
};

/// A stored value: its bytes, and what they are read as.
#[derive(Debug)]
pub struct Value {
    /// The stored bytes.
    pub bytes: Vec<u8>,
    /// As a lock.
    pub lock: Option<LockView>,
    /// As the record of a run that holds no lock.
    pub held: Option<HeldRef>,
    /// As a queued run.
    pub wanted: Option<QueuedRun>,
    /// As what names passed ticks.
    pub passed: Option<Passed>,
}

/// A value, kept once.
pub type ValueRef = Interned<Value>;

static VALUES: Table<Value> = Table::new();

/// The value of these bytes.
pub fn value(bytes: Vec<u8>) -> ValueRef {
    VALUES.intern(bytes, |bytes| Value {
        bytes: bytes.to_vec(),
        lock: Lock::decode(bytes).ok().map(|lock| LockView::of(&lock)),
        held: HeldLock::decode(bytes).ok().map(cast::held),
        wanted: QueuedRun::decode(bytes).ok(),
        passed: Passed::decode(bytes).ok(),
    })
}

/// A key's value and revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    /// Its value.
    pub value: ValueRef,
    /// The revision that created it.
    pub created: Rev,
    /// The revision that last wrote it.
    pub written: Rev,
}

/// A transaction made ready: keys and values are kept once.
#[derive(Clone, Debug)]
pub struct Ready {
    compares: Vec<ReadyCompare>,
    then: Vec<ReadyOp>,
    otherwise: Vec<ReadyOp>,
}

#[derive(Clone, Debug)]
enum ReadyCompare {
    Written(KeyRef, Rev),
    Created(KeyRef, Rev),
    CreatedNot(KeyRef, Rev),
    Greater(KeyRef, Vec<u8>),
    Less(KeyRef, Vec<u8>),
}

#[derive(Clone, Debug)]
enum ReadyOp {
    Put(KeyRef, ValueRef),
    Delete(KeyRef),
    Get(KeyRef),
    Txn(Ready),
}

/// How a transaction went.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Done {
    /// True: all compares held.
    pub succeeded: bool,
    /// One for each operation of the branch that was done.
    pub results: Vec<Result>,
}

/// What became of one operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Result {
    /// Written.
    Put,
    /// True: there was one.
    Deleted(bool),
    /// What was read.
    Got(KeyRef, Option<Entry>),
    /// The inner transaction's.
    Txn(Done),
}

impl Done {
    /// The lock that the first operation read.
    pub fn lock(&self) -> Option<(LockView, Rev)> {
        match self.results.first() {
            Some(Result::Got(_, Some(entry))) => entry.value.lock.map(|lock| (lock, entry.written)),
            _ => None,
        }
    }
}

/// How values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparing {
    /// As they are stored.
    AsStored,
    /// As if a held lock were spelled with its fence first, as a free one is: the rule that a held lock refuses
    /// claims, switched off.
    HeldAsFree,
}

fn revision(revision: Revision) -> Rev {
    Rev::try_from(revision.get()).expect("the model's revisions are small")
}

impl Ready {
    /// Makes a real transaction ready.
    pub fn of(txn: &Txn) -> Self {
        let compare = |compare: &Compare| match compare {
            Compare::ModRevision(key, at) => ReadyCompare::Written(cast::key(key), revision(*at)),
            Compare::CreateRevision(key, at) => ReadyCompare::Created(cast::key(key), revision(*at)),
            Compare::CreateRevisionNot(key, at) => ReadyCompare::CreatedNot(cast::key(key), revision(*at)),
            Compare::ValueGreater(key, bytes) => ReadyCompare::Greater(cast::key(key), bytes.clone()),
            Compare::ValueLess(key, bytes) => ReadyCompare::Less(cast::key(key), bytes.clone()),
        };
        let op = |op: &Op| match op {
            Op::Put(key, bytes, _) => ReadyOp::Put(cast::key(key), value(bytes.clone())),
            Op::Delete(key) => ReadyOp::Delete(cast::key(key)),
            Op::Get(key) => ReadyOp::Get(cast::key(key)),
            Op::Txn(txn) => ReadyOp::Txn(Self::of(txn)),
        };
        Self {
            compares: txn.compares.iter().map(compare).collect(),
            then: txn.then.iter().map(op).collect(),
            otherwise: txn.otherwise.iter().map(op).collect(),
        }
    }

    /// False when a compare with a revision that is past can never hold again.
    pub fn may_succeed(&self, store: &Store) -> bool {
        let stands = self.compares.iter().all(|compare| match compare {
            ReadyCompare::Written(key, at) if *at > 0 => {
                store.get(*key).is_some_and(|entry| entry.written == *at)
            }
            ReadyCompare::Created(key, at) if *at > 0 => {
                store.get(*key).is_some_and(|entry| entry.created == *at)
            }
            _ => true,
        });
        // One that is alone under its guard; beside others it does not matter alone.
        let inner = match self.then.as_slice() {
            [ReadyOp::Txn(inner)] if !inner.compares.is_empty() && inner.otherwise.iter().all(is_get) => {
                inner.may_succeed(store)
            }
            _ => true,
        };
        stands && inner
    }

    /// The revisions that it compares with.
    pub fn revisions(&self) -> Vec<Rev> {
        let mut all: Vec<Rev> = self
            .compares
            .iter()
            .filter_map(|compare| match compare {
                ReadyCompare::Written(_, at)
                | ReadyCompare::Created(_, at)
                | ReadyCompare::CreatedNot(_, at) => Some(*at),
                ReadyCompare::Greater(..) | ReadyCompare::Less(..) => None,
            })
            .collect();
        for op in self.then.iter().chain(&self.otherwise) {
            if let ReadyOp::Txn(inner) = op {
                all.extend(inner.revisions());
            }
        }
        all
    }
}

const fn is_get(op: &ReadyOp) -> bool {
    matches!(op, ReadyOp::Get(_))
}

/// All entries, in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Store(Vec<(KeyRef, Entry)>);

impl Store {
    /// The key's entry.
    pub fn get(&self, key: KeyRef) -> Option<&Entry> {
        self.0.binary_search_by_key(&key, |(key, _)| *key).ok().map(|at| &self.0[at].1)
    }

    /// All entries.
    pub fn entries(&self) -> impl Iterator<Item = &(KeyRef, Entry)> {
        self.0.iter()
    }

    /// The job's lock.
    pub fn lock(&self) -> Option<(LockView, Rev)> {
        let entry = self.get(cast::lock_key())?;
        entry.value.lock.map(|lock| (lock, entry.written))
    }

    /// The revision of the job's definition; 0: there is none.
    pub fn definition(&self) -> Rev {
        self.get(cast::job_key()).map_or(0, |entry| entry.written)
    }

    /// The session of a worker's registration; 0: there is none.
    pub fn session(&self, worker: usize) -> Rev {
        self.get(cast::worker_key(worker)).map_or(0, |entry| entry.created)
    }

    /// Writes a key.
    pub fn put(&mut self, key: KeyRef, value: ValueRef, at: Rev) {
        match self.0.binary_search_by_key(&key, |(key, _)| *key) {
            Ok(found) => {
                let entry = &mut self.0[found].1;
                entry.value = value;
                entry.written = at;
            }
            Err(place) => self.0.insert(place, (key, Entry { value, created: at, written: at })),
        }
    }

    /// Removes a key; true: there was one.
    pub fn delete(&mut self, key: KeyRef) -> bool {
        let found = self.0.binary_search_by_key(&key, |(key, _)| *key);
        if let Ok(found) = found {
            self.0.remove(found);
        }
        found.is_ok()
    }

    /// Does a transaction; its writes get the revision `at`. All compares, the nested ones included, see the state
    /// before it.
    pub fn apply(&mut self, txn: &Ready, at: Rev, comparing: Comparing) -> Done {
        let before = self.clone();
        self.do_in(&before, txn, at, comparing)
    }

    fn do_in(&mut self, before: &Self, txn: &Ready, at: Rev, comparing: Comparing) -> Done {
        let succeeded = txn.compares.iter().all(|compare| before.holds(compare, comparing));
        let ops = if succeeded { &txn.then } else { &txn.otherwise };
        let one = |op: &ReadyOp| match op {
            ReadyOp::Put(key, value) => {
                self.put(*key, *value, at);
                Result::Put
            }
            ReadyOp::Delete(key) => Result::Deleted(self.delete(*key)),
            ReadyOp::Get(key) => Result::Got(*key, self.get(*key).copied()),
            ReadyOp::Txn(inner) => Result::Txn(self.do_in(before, inner, at, comparing)),
        };
        Done { succeeded, results: ops.iter().map(one).collect() }
    }

    fn holds(&self, compare: &ReadyCompare, comparing: Comparing) -> bool {
        let written = |key: &KeyRef| self.get(*key).map_or(0, |entry| entry.written);
        let created = |key: &KeyRef| self.get(*key).map_or(0, |entry| entry.created);
        let sorts = |key: &KeyRef, bytes: &[u8], order| {
            self.get(*key).is_some_and(|entry| match (comparing, entry.value.lock) {
                (Comparing::HeldAsFree, Some(LockView::Held(held))) => {
                    let mut spelled = fence_bytes(held.fence);
                    spelled.extend(b" {}");
                    spelled.as_slice().cmp(bytes) == order
                }
                _ => entry.value.bytes.as_slice().cmp(bytes) == order,
            })
        };
        match compare {
            ReadyCompare::Written(key, at) => written(key) == *at,
            ReadyCompare::Created(key, at) => created(key) == *at,
            ReadyCompare::CreatedNot(key, at) => created(key) != *at,
            ReadyCompare::Greater(key, bytes) => sorts(key, bytes, std::cmp::Ordering::Greater),
            ReadyCompare::Less(key, bytes) => sorts(key, bytes, std::cmp::Ordering::Less),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::lock_value;

    fn apply(store: &mut Store, txn: &Txn) -> Done {
        store.apply(&Ready::of(txn), 9, Comparing::AsStored)
    }

    fn with_lock(lock: LockView) -> Store {
        let mut store = Store::default();
        store.put(cast::lock_key(), lock_value(lock), 1);
        store
    }

    #[test]
    fn a_claim_compares_the_stored_text() {
        let keys = cast::keys();
        let before = |n| Compare::ValueLess(keys.lock(cast::job()), fence_bytes(cast::tick(n)));
        let wins = |lock, n| apply(&mut with_lock(lock), &Txn::when(vec![before(n)], Vec::new())).succeeded;
        assert!(wins(LockView::Free(1), 2));
        assert!(!wins(LockView::Free(2), 2));
        let run = cast::run_id(0, 1, 1, 0);
        let held = cast::held(cast::claimed(0, 1, 1, run, Some(1), common::run::Cause::Schedule));
        assert!(!wins(LockView::Held(held), 2));
    }

    #[test]
    fn nested_compares_see_the_state_before() {
        let lock = cast::keys().lock(cast::job());
        let inner = Txn::when(vec![Compare::ModRevision(lock.clone(), cast::revision(1))], Vec::new());
        let both = Txn::when(Vec::new(), vec![Op::Delete(lock.clone()), Op::Txn(inner)]).or_get(lock);
        let done = apply(&mut with_lock(LockView::Free(0)), &both);
        assert!(matches!(
            done.results[..],
            [Result::Deleted(true), Result::Txn(Done { succeeded: true, .. })]
        ));
    }
}
