//! The committed state, in memory: what readers and watchers see.

use std::{
    collections::{BTreeSet, HashMap},
    ops::Bound,
};

use super::{
    disk::Saved,
    history::{History, Range, Read},
    pending::Changes,
};
use crate::store::{Entry, Key, Page, Prefix, Revision, StoreError};

/// All keys, the newest history, and the revision that they are at.
#[derive(Debug)]
pub(super) struct View {
    entries: HashMap<Key, Entry>,
    /// The keys again, for listings: most of what is asked for is one key, and most writes are of keys that exist.
    order: BTreeSet<Key>,
    history: History,
    revision: Revision,
}

impl View {
    /// What was saved; its history is not known.
    pub(super) fn new(saved: &Saved) -> Self {
        Self {
            order: saved.entries.iter().map(|entry| entry.key.clone()).collect(),
            entries: saved.entries.iter().map(|entry| (entry.key.clone(), entry.clone())).collect(),
            history: History::starting_at(saved.revision + 1),
            revision: saved.revision,
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub(super) const fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes over what has been committed.
    pub(super) fn apply(&mut self, changes: Changes) {
        for (key, entry) in changes.entries {
            match entry {
                Some(entry) => {
                    if self.entries.insert(key.clone(), entry).is_none() {
                        self.order.insert(key);
                    }
                }
                None => {
                    self.entries.remove(&key);
                    self.order.remove(&key);
                }
            }
        }
        self.history.extend(changes.made);
        self.revision = changes.revision;
    }

    /// Changes of `prefix` from `from` on.
    pub(super) fn read(&self, prefix: &Prefix, from: Revision) -> Result<Read, StoreError> {
        self.not_ahead(from - 1)?;
        self.history.read(prefix, from, self.revision)
    }

    /// See [`crate::store::Store::list`].
    pub(super) fn list(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        let revision = at.unwrap_or(self.revision);
        self.not_ahead(revision)?;
        let start = Key::from_bytes(prefix.as_bytes());
        let end = Key::from_bytes(&prefix.end());
        let from = match after {
            // A range whose start is behind its end would panic.
            Some(after) if *after >= end => return Ok(Page { revision, ..Page::default() }),
            Some(after) if *after >= start => Bound::Excluded(after),
            _ => Bound::Included(&start),
        };
        let range = (from, Bound::Excluded(&end));
        let limit = limit.max(1);
        let mut entries = self.first_at(range, revision, limit.saturating_add(1))?;
        let more = entries.len() > limit;
        entries.truncate(limit);
        Ok(Page { entries, revision, more })
    }

    /// The first entries of `range` as they were at `revision`.
    fn first_at(&self, range: Range<'_>, revision: Revision, count: usize) -> Result<Vec<Entry>, StoreError> {
        let undone = self.history.undo(range, revision)?;
        let unchanged = self.order.range(range).filter(|key| !undone.contains_key(key));
        let mut unchanged = unchanged.filter_map(|key| self.entries.get(key)).peekable();
        let mut former = undone.values().flatten().copied().peekable();
        let mut first = Vec::new();
        while first.len() < count {
            let next = match (unchanged.peek(), former.peek()) {
                (Some(one), Some(other)) if one.key < other.key => unchanged.next(),
                (_, Some(_)) => former.next(),
                (_, None) => unchanged.next(),
            };
            let Some(entry) = next else { break };
            first.push(entry.clone());
        }
        Ok(first)
    }

    /// Whoever names a later revision has seen another, newer store.
    fn not_ahead(&self, seen: Revision) -> Result<(), StoreError> {
        if seen > self.revision { Err(StoreError::WentBack { seen, now: self.revision }) } else { Ok(()) }
    }
}
