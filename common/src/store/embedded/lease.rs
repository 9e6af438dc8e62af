//! The leases: what lives under them and when they end. Their ends are decided and written by the writer alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use super::{disk::Saved, pending::Changes, view::View};
use crate::store::{Key, LeaseId};

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    ends: Instant,
    /// Decided; from here on it is not renewed, also when its end could not be written yet.
    ending: bool,
    keys: BTreeSet<Key>,
}

/// All leases.
#[derive(Debug, Default)]
pub(super) struct Leases(BTreeMap<LeaseId, Lease>);

impl Leases {
    /// Those saved, each with its whole time from `now`.
    pub(super) fn restored(saved: &Saved, now: Instant) -> Self {
        let mut leases = Self::default();
        for (id, ttl) in &saved.leases {
            leases.insert(*id, *ttl, now);
        }
        for entry in &saved.entries {
            leases.attach(&entry.key, entry.lease);
        }
        leases
    }

    /// Gives a lease its whole time again and tells that; `None` when it has ended.
    pub(super) fn renew(&mut self, id: LeaseId, now: Instant) -> Option<Duration> {
        // One whose time is over has ended, also when the writer has not yet come to it: nobody may be told both.
        let lease = self.0.get_mut(&id).filter(|lease| !lease.ending && lease.ends > now)?;
        lease.ends = now + lease.ttl;
        Some(lease.ttl)
    }

    pub(super) fn is_alive(&self, id: LeaseId) -> bool {
        self.0.get(&id).is_some_and(|lease| !lease.ending)
    }

    /// Ends a lease for everybody but the writer; false when there is none.
    pub(super) fn begin_to_end(&mut self, id: LeaseId) -> bool {
        self.0.get_mut(&id).map(|lease| lease.ending = true).is_some()
    }

    /// Those to be ended at `now`; among them those whose end could not be written before.
    pub(super) fn due(&self, now: Instant) -> Vec<LeaseId> {
        self.0.iter().filter(|(_, lease)| lease.ending || lease.ends <= now).map(|(id, _)| *id).collect()
    }

    /// When the next of them ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.0.values().map(|lease| lease.ends).min()
    }

    /// What lives under a lease, in order.
    pub(super) fn keys(&self, id: LeaseId) -> Vec<Key> {
        self.0.get(&id).map(|lease| lease.keys.iter().cloned().collect()).unwrap_or_default()
    }

    /// Takes over what has been committed; `before` is the view without it.
    pub(super) fn apply(&mut self, changes: &Changes, before: &View, now: Instant) {
        for (id, ttl) in &changes.granted {
            self.insert(*id, *ttl, now);
        }
        for (key, entry) in &changes.entries {
            let former = before.get(key).and_then(|entry| entry.lease);
            if let Some(lease) = former.and_then(|id| self.0.get_mut(&id)) {
                lease.keys.remove(key);
            }
            self.attach(key, entry.as_ref().and_then(|entry| entry.lease));
        }
        for id in &changes.ended {
            self.0.remove(id);
        }
    }

    fn insert(&mut self, id: LeaseId, ttl: Duration, now: Instant) {
        self.0.insert(id, Lease { ttl, ends: now + ttl, ending: false, keys: BTreeSet::new() });
    }

    fn attach(&mut self, key: &Key, lease: Option<LeaseId>) {
        if let Some(lease) = lease.and_then(|id| self.0.get_mut(&id)) {
            lease.keys.insert(key.clone());
        }
    }
}
