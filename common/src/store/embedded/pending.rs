//! Transactions that are decided and not yet committed: the changes they make on top of the committed view.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Shared, history::Made, view::View};
use crate::store::{
    Compare, Entry, Event, Key, LeaseId, Op, OpOutcome, Revision, StoreError, Txn, TxnOutcome,
};

/// What a group of transactions changes, to be committed as a whole or not at all.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Each changed key as it is after all of them; `None`: deleted.
    pub(super) entries: BTreeMap<Key, Option<Entry>>,
    /// All changes, in order.
    pub(super) made: Vec<Made>,
    /// The revision after them.
    pub(super) revision: Revision,
    pub(super) granted: BTreeMap<LeaseId, Duration>,
    pub(super) ended: BTreeSet<LeaseId>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.made.is_empty() && self.granted.is_empty() && self.ended.is_empty()
    }
}

/// The state as it will be when the changes so far are committed.
pub(super) struct Pending<'a> {
    shared: &'a Shared,
    view: &'a View,
    changes: Changes,
}

impl<'a> Pending<'a> {
    pub(super) fn new(shared: &'a Shared, view: &'a View) -> Self {
        Self { shared, view, changes: Changes { revision: view.revision(), ..Changes::default() } }
    }

    pub(super) fn into_changes(self) -> Changes {
        self.changes
    }

    pub(super) fn grant(&mut self, id: LeaseId, ttl: Duration) {
        self.changes.granted.insert(id, ttl);
    }

    /// Ends a lease with all its keys, at one revision; nothing happens if it is gone.
    pub(super) fn end_lease(&mut self, id: LeaseId) {
        let granted = self.changes.granted.contains_key(&id);
        if self.changes.ended.contains(&id) || !(self.shared.leases().begin_to_end(id) || granted) {
            return;
        }
        self.changes.ended.insert(id);
        let mut keys: BTreeSet<Key> = self.shared.leases().keys(id).into_iter().collect();
        keys.extend(self.changes.entries.values().flatten().map(|entry| entry.key.clone()));
        keys.retain(|key| self.get(key).is_some_and(|entry| entry.lease == Some(id)));
        if keys.is_empty() {
            return;
        }
        self.changes.revision = self.changes.revision + 1;
        for key in keys {
            self.delete(&key);
        }
    }

    /// Does a transaction that has passed [`super::check::check`].
    pub(super) fn txn(&mut self, txn: &Txn) -> Result<TxnOutcome, StoreError> {
        let plan = self.decide(txn);
        if let Some(gone) = self.first_gone_lease(&plan) {
            return Err(StoreError::LeaseGone(gone));
        }
        let before = self.changes.made.len();
        self.changes.revision = self.changes.revision + 1;
        let mut outcome = self.carry_out(&plan);
        if self.changes.made.len() == before {
            self.changes.revision = self.changes.revision - 1;
            set_revision(&mut outcome, self.changes.revision);
        }
        Ok(outcome)
    }

    fn get(&self, key: &Key) -> Option<&Entry> {
        match self.changes.entries.get(key) {
            Some(changed) => changed.as_ref(),
            None => self.view.get(key),
        }
    }

    /// Looks at all compares, the nested ones included, before anything is written.
    fn decide<'t>(&self, txn: &'t Txn) -> Plan<'t> {
        let succeeded = txn.compares.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { &txn.then } else { &txn.otherwise };
        let step = |op: &'t Op| match op {
            Op::Put(key, value, lease) => Step::Put(key, value, *lease),
            Op::Delete(key) => Step::Delete(key),
            Op::Get(key) => Step::Get(key),
            Op::Txn(inner) => Step::Txn(self.decide(inner)),
        };
        Plan { succeeded, steps: ops.iter().map(step).collect() }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let entry = self.get(compare.key());
        match compare {
            Compare::ModRevision(_, revision) => {
                entry.map_or(Revision::NONE, |entry| entry.mod_revision) == *revision
            }
            Compare::CreateRevision(_, revision) => {
                entry.map_or(Revision::NONE, |entry| entry.create_revision) == *revision
            }
            Compare::CreateRevisionNot(_, revision) => {
                entry.map_or(Revision::NONE, |entry| entry.create_revision) != *revision
            }
            Compare::ValueGreater(_, than) => entry.is_some_and(|entry| *entry.value > than[..]),
            Compare::ValueLess(_, than) => entry.is_some_and(|entry| *entry.value < than[..]),
        }
    }

    fn first_gone_lease(&self, plan: &Plan<'_>) -> Option<LeaseId> {
        plan.steps.iter().find_map(|step| match step {
            Step::Put(_, _, Some(lease)) if !self.is_alive(*lease) => Some(*lease),
            Step::Txn(inner) => self.first_gone_lease(inner),
            Step::Put(..) | Step::Delete(_) | Step::Get(_) => None,
        })
    }

    fn is_alive(&self, lease: LeaseId) -> bool {
        !self.changes.ended.contains(&lease)
            && (self.changes.granted.contains_key(&lease) || self.shared.leases().is_alive(lease))
    }

    fn carry_out(&mut self, plan: &Plan<'_>) -> TxnOutcome {
        let mut results = Vec::with_capacity(plan.steps.len());
        for step in &plan.steps {
            results.push(match step {
                Step::Txn(inner) => OpOutcome::Txn(self.carry_out(inner)),
                Step::Get(key) => OpOutcome::Got(self.get(key).cloned()),
                Step::Delete(key) => OpOutcome::Deleted(self.delete(key)),
                Step::Put(key, value, lease) => {
                    self.put(key, value, *lease);
                    OpOutcome::Put
                }
            });
        }
        TxnOutcome { succeeded: plan.succeeded, results, revision: self.changes.revision }
    }

    fn put(&mut self, key: &Key, value: &[u8], lease: Option<LeaseId>) {
        let revision = self.changes.revision;
        let before = self.get(key).cloned();
        let entry = Entry {
            key: key.clone(),
            value: value.into(),
            create_revision: before.as_ref().map_or(revision, |entry| entry.create_revision),
            mod_revision: revision,
            lease,
        };
        self.changes.made.push(Made { event: Event::Put(entry.clone()), before });
        self.changes.entries.insert(key.clone(), Some(entry));
    }

    /// False: there was none, and nothing is written.
    fn delete(&mut self, key: &Key) -> bool {
        let Some(before) = self.get(key).cloned() else { return false };
        let event = Event::Deleted(key.clone(), self.changes.revision);
        self.changes.made.push(Made { event, before: Some(before) });
        self.changes.entries.insert(key.clone(), None);
        true
    }
}

/// A transaction whose branches are decided.
struct Plan<'t> {
    succeeded: bool,
    steps: Vec<Step<'t>>,
}

enum Step<'t> {
    Put(&'t Key, &'t [u8], Option<LeaseId>),
    Delete(&'t Key),
    Get(&'t Key),
    Txn(Plan<'t>),
}

fn set_revision(outcome: &mut TxnOutcome, revision: Revision) {
    outcome.revision = revision;
    for result in &mut outcome.results {
        if let OpOutcome::Txn(inner) = result {
            set_revision(inner, revision);
        }
    }
}

impl Compare {
    /// The key that it looks at.
    pub(super) const fn key(&self) -> &Key {
        match self {
            Self::ModRevision(key, _)
            | Self::CreateRevision(key, _)
            | Self::CreateRevisionNot(key, _)
            | Self::ValueGreater(key, _)
            | Self::ValueLess(key, _) => key,
        }
    }
}
