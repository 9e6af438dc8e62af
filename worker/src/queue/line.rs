//! The runs that wait, and which of them to look at when. Pure: changes in, names of runs out.
//!
//! A run is looked at when its time has come, and not before: when it may start, when its deadline passes, when what
//! it depends on changes, or a while after a look that did not start it. If runs of one owner have to wait for each
//! other, the oldest goes first, and the others are not looked at until it is gone.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use common::{
    clock::AHEAD,
    placement::RANKS,
    queue::{Owner, QueuedRun},
    store::Revision,
};

/// The wait before the second look at a run that could not start, which doubles, and the longest one.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A deadline has passed when it lies before now.
const JUST_AFTER: chrono::Duration = chrono::Duration::milliseconds(1);

/// A run that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What is wanted.
    pub wanted: QueuedRun,
    /// The revision that wrote it: a next attempt has the name of the one before.
    pub written: Revision,
}

/// What is known of a run that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// This worker's rank for it; none: it is for others to start.
    pub rank: Option<usize>,
    /// It is not to start any more: somebody has to put that on record.
    pub is_over: bool,
    /// It waits for other runs of its owner.
    pub in_turn: bool,
    /// Each rank waits so long for the one before it.
    pub hedge: Duration,
}

/// The runs that wait.
#[derive(Debug, Default)]
pub(crate) struct Line {
    places: HashMap<String, Place>,
    owners: HashMap<Owner, Owned>,
    wakes: BTreeSet<Key>,
}

/// An instant and a name: when a run was wanted, or is to be looked at.
type Key = (DateTime<Utc>, String);

/// The runs of one owner.
#[derive(Debug, Default)]
struct Owned {
    runs: BTreeSet<Key>,
    /// The one that goes first.
    head: Option<Key>,
    /// Those that could start but for the head.
    behind: BTreeSet<Key>,
}

#[derive(Debug)]
struct Place {
    entry: Entry,
    /// Since when it waits here.
    since: DateTime<Utc>,
    /// Since when it is over.
    over: Option<DateTime<Utc>>,
    wake: Option<DateTime<Utc>>,
    in_hand: bool,
    looks: u32,
}

impl Line {
    /// A run is wanted, or wanted otherwise than before. It is looked at now.
    pub(crate) fn put(&mut self, name: &str, entry: Entry, now: DateTime<Utc>) {
        self.remove(name, now);
        let key = (entry.wanted.since, name.to_owned());
        self.owners.entry(entry.wanted.owner()).or_default().runs.insert(key);
        let place = Place { entry, since: now, over: None, wake: None, in_hand: false, looks: 0 };
        self.places.insert(name.to_owned(), place);
        self.wake(name, Some(now));
    }

    /// A run is out of the queue: the next one of its owner is looked at now.
    pub(crate) fn remove(&mut self, name: &str, now: DateTime<Utc>) {
        self.wake(name, None);
        let Some(place) = self.places.remove(name) else { return };
        let (owner, key) = (place.entry.wanted.owner(), (place.entry.wanted.since, name.to_owned()));
        let Some(owned) = self.owners.get_mut(&owner) else { return };
        owned.runs.remove(&key);
        owned.behind.remove(&key);
        // Or it had been asked to lead, and was not judged yet.
        let leads = owned.head.as_ref().is_none_or(|head| *head == key);
        if owned.runs.is_empty() {
            self.owners.remove(&owner);
        } else if leads {
            self.step_aside(&owner, now);
        }
    }

    /// Forgets the runs that a new listing does not name.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&str) -> bool, now: DateTime<Utc>) {
        let gone: Vec<String> = self.places.keys().filter(|name| !is_there(name)).cloned().collect();
        gone.iter().for_each(|name| self.remove(name, now));
    }

    /// The run of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Entry> {
        self.places.get(name).map(|place| &place.entry)
    }

    /// All runs are looked at now: what they are judged by has changed.
    pub(crate) fn look_at_all(&mut self, now: DateTime<Utc>) {
        let names: Vec<String> = self.places.keys().cloned().collect();
        names.iter().for_each(|name| self.look_at(name, now));
    }

    /// The runs of an owner are looked at now.
    pub(crate) fn look_at_runs_of(&mut self, owner: &Owner, now: DateTime<Utc>) {
        let runs = self.owners.get(owner).map(|owned| owned.runs.clone()).unwrap_or_default();
        runs.iter().for_each(|(_, name)| self.look_at(name, now));
    }

    /// The run of an owner that goes first, if one could start.
    pub(crate) fn head_of(&self, owner: &Owner) -> Option<String> {
        self.owners.get(owner)?.head.as_ref().map(|(_, name)| name.clone())
    }

    /// A run is looked at now.
    pub(crate) fn look_at(&mut self, name: &str, now: DateTime<Utc>) {
        if self.places.get(name).is_some_and(|place| !place.in_hand) {
            self.wake(name, Some(now));
        }
    }

    /// When the next run is to be looked at.
    pub(crate) fn next(&self) -> Option<DateTime<Utc>> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// The next run whose time has come, to be judged.
    pub(crate) fn due(&mut self, now: DateTime<Utc>) -> Option<String> {
        if self.next()? > now {
            return None;
        }
        let (_, name) = self.wakes.pop_first()?;
        if let Some(place) = self.places.get_mut(&name) {
            place.wake = None;
        }
        Some(name)
    }

    /// True: the run is to be set about now. Then it is in hand, until [`Line::put_back`] or until it is written anew.
    pub(crate) fn judge(&mut self, name: &str, facts: Facts, now: DateTime<Utc>) -> bool {
        let Some(place) = self.places.get_mut(name).filter(|place| !place.in_hand) else { return false };
        place.since = place.since.min(now);
        place.over = facts.is_over.then(|| place.over.map_or(now, |over| over.min(now)));
        let may_lead = facts.in_turn
            && !facts.is_over
            && facts.rank.is_some()
            && place.entry.wanted.not_before.is_none_or(|not_before| not_before <= now);
        let owner = place.entry.wanted.owner();
        let is_behind = !self.queue_up(&owner, name, may_lead, now);
        let Some(place) = self.places.get_mut(name) else { return false };
        let ready = if is_behind { None } else { place.ready(facts, now) };
        if ready.is_some_and(|ready| ready <= now) {
            place.in_hand = true;
            return true;
        }
        let expires =
            place.entry.wanted.deadline.and_then(|deadline| deadline.checked_add_signed(JUST_AFTER));
        let expires = expires.filter(|at| *at > now);
        let wake = ready.into_iter().chain(expires).min();
        self.wake(name, wake);
        false
    }

    /// A run that was set about is still wanted, as it was written then: it is to be looked at again after this wait,
    /// unless something asks for that before.
    pub(crate) fn put_back(&mut self, name: &str, written: Revision) -> Option<Duration> {
        let place = self.places.get_mut(name).filter(|place| place.entry.written == written)?;
        place.in_hand = false;
        let wait = FIRST_WAIT.saturating_mul(1 << place.looks.min(8)).min(LONGEST_WAIT);
        place.looks = place.looks.saturating_add(1);
        Some(wait)
    }

    /// False: an older run of its owner goes first.
    fn queue_up(&mut self, owner: &Owner, name: &str, may_lead: bool, now: DateTime<Utc>) -> bool {
        let (Some(place), Some(owned)) = (self.places.get(name), self.owners.get_mut(owner)) else {
            return true;
        };
        let key = (place.entry.wanted.since, name.to_owned());
        owned.behind.remove(&key);
        match &owned.head {
            Some(head) if may_lead && *head < key => {
                owned.behind.insert(key);
                return false;
            }
            _ if may_lead => owned.head = Some(key),
            Some(head) if *head == key => self.step_aside(owner, now),
            // Nobody leads, and this one does not either.
            None => self.step_aside(owner, now),
            Some(_) => {}
        }
        true
    }

    /// Nobody goes first of an owner's runs any more: the oldest that could is looked at now.
    fn step_aside(&mut self, owner: &Owner, now: DateTime<Utc>) {
        let Some(owned) = self.owners.get_mut(owner) else { return };
        owned.head = None;
        if let Some((_, next)) = owned.behind.pop_first() {
            self.look_at(&next, now);
        }
    }

    fn wake(&mut self, name: &str, at: Option<DateTime<Utc>>) {
        let Some(place) = self.places.get_mut(name) else { return };
        if let Some(before) = std::mem::replace(&mut place.wake, at) {
            self.wakes.remove(&(before, name.to_owned()));
        }
        if let Some(at) = at {
            self.wakes.insert((at, name.to_owned()));
        }
    }
}

impl Place {
    /// When it is this worker's turn to set about it; none: never, as at the end of time, which a stored value may name.
    fn ready(&self, facts: Facts, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // What is over is anybody's who hears of it, after those who rank.
        let rank = facts.rank.or(self.over.map(|_| RANKS))?;
        let hedge = facts.hedge.saturating_mul(u32::try_from(rank).unwrap_or(u32::MAX));
        let start = match self.over {
            Some(over) => over,
            None => starts(&self.entry.wanted, self.since, now)?,
        };
        start.max(self.since).checked_add_signed(TimeDelta::from_std(hedge).ok()?)
    }
}

/// True: who wanted it had a clock that was ahead, and what it said is no time to wait for.
pub(crate) fn is_ahead(wanted: &QueuedRun, now: DateTime<Utc>) -> bool {
    wanted.since - now > AHEAD
}

/// When a queued run is to start that has waited since `from`. If a clock was ahead, only the length of the wait
/// counts.
fn starts(wanted: &QueuedRun, from: DateTime<Utc>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    match wanted.not_before {
        Some(not_before) if is_ahead(wanted, now) => from.checked_add_signed(not_before - wanted.since),
        Some(not_before) => Some(not_before),
        None => Some(from),
    }
}

#[cfg(test)]
mod tests;
