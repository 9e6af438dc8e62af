//! The newest changes, so that a watch can begin in the past and a listing can show it.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::{Bound, RangeBounds as _},
};

use crate::store::{Entry, Event, Prefix, Revision, StoreError, key::Key};

/// One change, with what it changed.
#[derive(Clone, Debug)]
pub(super) struct Made {
    /// What happened.
    pub(super) event: Event,
    /// The entry before.
    pub(super) before: Option<Entry>,
}

/// What a range of keys is.
pub(super) type Range<'a> = (Bound<&'a Key>, Bound<&'a Key>);

/// So many changes are kept; at a thousand a second, a minute's worth.
const MAX_CHANGES: usize = 50_000;

/// So many bytes of values are kept, with those of the keys that were overwritten.
const MAX_BYTES: usize = 64 << 20;

/// A watch reads at most this many changes before it lets writers in.
const MAX_READ: usize = 4096;

/// Whole revisions, in order, from `first` to the newest.
#[derive(Debug)]
pub(super) struct History {
    changes: VecDeque<Made>,
    bytes: usize,
    /// All changes from this revision on are here.
    first: Revision,
}

/// What a watch reads at once.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) events: Vec<Event>,
    /// The last revision that was looked at, to its end.
    pub(super) revision: Revision,
}

impl History {
    /// Nothing is known of what came before `first`.
    pub(super) const fn starting_at(first: Revision) -> Self {
        Self { changes: VecDeque::new(), bytes: 0, first }
    }

    /// Adds changes in the order of their revisions; forgets the oldest revisions as needed.
    pub(super) fn extend(&mut self, changes: Vec<Made>) {
        self.bytes += changes.iter().map(Made::bytes).sum::<usize>();
        self.changes.extend(changes);
        while self.changes.len() > MAX_CHANGES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.changes.front().map(Made::revision) else { break };
            while self.changes.front().is_some_and(|made| made.revision() == oldest) {
                self.bytes -= self.changes.pop_front().map_or(0, |made| made.bytes());
            }
            self.first = oldest + 1;
        }
    }

    /// The changes of `prefix` from `from` on; not all of them if they are many, but whole revisions. `newest` is
    /// the store's revision.
    pub(super) fn read(&self, prefix: &Prefix, from: Revision, newest: Revision) -> Result<Read, StoreError> {
        self.reaches(from)?;
        let mut read = Read { events: Vec::new(), revision: newest };
        let mut last = Revision::NONE;
        for (n, made) in self.changes.range(self.position(from)..).enumerate() {
            if n >= MAX_READ && made.revision() != last {
                read.revision = last;
                break;
            }
            last = made.revision();
            if made.event.key().as_bytes().starts_with(prefix.as_bytes()) {
                read.events.push(made.event.clone());
            }
        }
        Ok(read)
    }

    /// What the keys of `range` that were changed after `at` were at `at`.
    pub(super) fn undo(
        &self,
        range: Range<'_>,
        at: Revision,
    ) -> Result<BTreeMap<&Key, Option<&Entry>>, StoreError> {
        self.reaches(at + 1)?;
        let mut undone = BTreeMap::new();
        for made in self.changes.range(self.position(at + 1)..) {
            let key = made.event.key();
            if range.contains(key) {
                // The first change after `at` has what was there.
                undone.entry(key).or_insert(made.before.as_ref());
            }
        }
        Ok(undone)
    }

    fn reaches(&self, from: Revision) -> Result<(), StoreError> {
        if from < self.first { Err(StoreError::Compacted(self.first)) } else { Ok(()) }
    }

    fn position(&self, from: Revision) -> usize {
        self.changes.partition_point(|made| made.revision() < from)
    }
}

impl Made {
    fn revision(&self) -> Revision {
        match &self.event {
            Event::Put(entry) => entry.mod_revision,
            Event::Deleted(_, revision) => *revision,
        }
    }

    fn bytes(&self) -> usize {
        let size = |entry: &Entry| entry.value.len() + entry.key.as_bytes().len();
        let after = match &self.event {
            Event::Put(entry) => size(entry),
            Event::Deleted(key, _) => key.as_bytes().len(),
        };
        after + self.before.as_ref().map_or(0, size)
    }
}
