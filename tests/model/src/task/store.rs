//! The store, and what is on its way to it.

use std::{collections::BTreeMap, sync::Arc};

use common::store::{Compare, Entry, Key, Op, OpOutcome, Revision, Txn, TxnOutcome};

/// Keys with their values and revisions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Store {
    entries: BTreeMap<Key, (Vec<u8>, i64, i64)>,
    revision: i64,
}

/// What a transaction on its way is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// To claim this.
    Take(Vec<u8>),
    /// To say that it has ended so.
    End(Vec<u8>),
    /// To queue the next attempt in place of this.
    Again(Vec<u8>),
    /// To free this, which is nobody's, with what becomes of it.
    Lose(Vec<u8>),
}

/// A transaction on its way, and who waits for its answer.
#[derive(Clone, Debug)]
pub struct Flight {
    /// Whose it is.
    pub worker: usize,
    /// Of which life of the worker.
    pub life: u8,
    /// What it is for.
    pub purpose: Purpose,
    /// What is sent.
    pub txn: Txn,
}

impl PartialEq for Flight {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Flight {}

impl std::hash::Hash for Flight {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl Flight {
    /// A transaction follows from what it is for, and from what it compares.
    pub(crate) fn key(&self) -> (usize, u8, &Purpose, String) {
        (self.worker, self.life, &self.purpose, format!("{:?}", self.txn.compares))
    }
}

impl Store {
    pub(crate) fn get(&self, key: &Key) -> Option<Entry> {
        let (value, created, written) = self.entries.get(key)?;
        Some(Entry {
            key: key.clone(),
            value: Arc::from(value.as_slice()),
            create_revision: Revision::new(*created),
            mod_revision: Revision::new(*written),
            lease: None,
        })
    }

    /// Writes by itself; gives the revision.
    pub(crate) fn put(&mut self, key: &Key, value: Vec<u8>) -> i64 {
        self.revision += 1;
        self.write(key, value);
        self.revision
    }

    pub(crate) fn delete(&mut self, key: &Key) -> bool {
        self.entries.remove(key).is_some()
    }

    fn write(&mut self, key: &Key, value: Vec<u8>) {
        let at = self.revision;
        let entry = self.entries.entry(key.clone()).or_insert((Vec::new(), at, at));
        *entry = (value, entry.1, at);
    }

    /// Does a transaction; all compares see the state before it.
    pub(crate) fn apply(&mut self, txn: &Txn) -> TxnOutcome {
        let succeeded = txn.compares.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { &txn.then } else { &txn.otherwise };
        if ops.iter().any(|op| matches!(op, Op::Put(..) | Op::Delete(_))) {
            self.revision += 1;
        }
        let results = ops.iter().map(|op| match op {
            Op::Put(key, value, _) => {
                self.write(key, value.clone());
                OpOutcome::Put
            }
            Op::Delete(key) => OpOutcome::Deleted(self.delete(key)),
            Op::Get(key) => OpOutcome::Got(self.get(key)),
            Op::Txn(inner) => OpOutcome::Txn(self.apply(inner)),
        });
        let results = results.collect();
        TxnOutcome { succeeded, results, revision: Revision::new(self.revision) }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let created = |key: &Key| self.entries.get(key).map_or(0, |entry| entry.1);
        let written = |key: &Key| self.entries.get(key).map_or(0, |entry| entry.2);
        match compare {
            Compare::ModRevision(key, at) => written(key) == at.get(),
            Compare::CreateRevision(key, at) => created(key) == at.get(),
            Compare::CreateRevisionNot(key, at) => created(key) != at.get(),
            Compare::ValueGreater(..) | Compare::ValueLess(..) => {
                unreachable!("no transaction on a task compares values")
            }
        }
    }
}
