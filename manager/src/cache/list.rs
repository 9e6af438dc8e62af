//! Pages of jobs: searched, filtered and sorted.
//!
//! A page may have to pass a hundred thousand jobs to find its own, so what it filters and sorts by is kept beside
//! the names, in the order of the walk: no job and no lock is looked at unless it is on the page.

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet},
    ops::Bound,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use common::{job::Trigger, run::RunState};

use super::{Cache, CachedJob, CachedLock, Content, JobSnapshot};
use crate::view::JobState;

/// A job with what lists go by.
pub(crate) struct JobRow {
    pub(super) job: Arc<CachedJob>,
    kind: Kind,
    /// Its next instant in seconds since 1970, as computed when somebody last asked.
    next: AtomicI64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Active,
    Paused,
    /// It does not decode.
    Broken,
}

/// Not computed yet.
const UNKNOWN: i64 = i64::MIN;

/// There is no further instant.
const NEVER: i64 = i64::MAX;

impl JobRow {
    pub(super) fn new(job: Arc<CachedJob>) -> Self {
        let kind = match &job.stored {
            Ok(stored) if stored.paused => Kind::Paused,
            Ok(_) => Kind::Active,
            Err(_) => Kind::Broken,
        };
        Self { job, kind, next: AtomicI64::new(UNKNOWN) }
    }

    fn next<'a>(&'a self, now: DateTime<Utc>, alike: &mut Alike<'a>) -> i64 {
        let Some(stored) = self.job.stored.as_ref().ok().filter(|_| self.kind == Kind::Active) else {
            return NEVER;
        };
        let known = self.next.load(Relaxed);
        if known > now.timestamp() {
            return known;
        }
        let compute = || {
            let next = stored.job.schedule().ok().flatten().and_then(|schedule| schedule.next_after(now));
            next.map_or(NEVER, |next| next.timestamp())
        };
        let next = match &stored.job.trigger {
            Trigger::Cron { expressions, zone, anchor } => {
                *alike.entry((expressions, *zone, *anchor)).or_insert_with(compute)
            }
            _ => compute(),
        };
        self.next.store(next, Relaxed);
        next
    }
}

/// The next instants that were computed for one answer: many jobs have the same expressions.
type Alike<'a> = HashMap<(&'a [String], Option<Tz>, Option<DateTime<Utc>>), i64>;

/// A lock with what lists go by.
pub(crate) struct LockRow {
    pub(super) lock: Arc<CachedLock>,
    held: bool,
    /// How the last run ended, and when, in milliseconds since 1970.
    last: Option<(RunState, i64)>,
}

impl LockRow {
    pub(super) fn new(lock: Arc<CachedLock>) -> Self {
        let last = lock.last.as_ref().map(|last| (last.state, last.ended.timestamp_millis()));
        Self { held: lock.held.is_some(), last, lock }
    }
}

/// What jobs are sorted by; equal ones by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SortBy {
    #[default]
    Name,
    /// The next instant; those without one last.
    Next,
    /// When the last run ended; those that never ran first.
    Ended,
    /// How the last run ended: the worst first, those that never ran last.
    Result,
}

/// An order of jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sort {
    by: SortBy,
    /// Reversed.
    reversed: bool,
}

impl FromStr for Sort {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (name, reversed) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
        let by = match name {
            "name" => SortBy::Name,
            "next" => SortBy::Next,
            "ended" => SortBy::Ended,
            "result" => SortBy::Result,
            _ => return Err(()),
        };
        Ok(Self { by, reversed })
    }
}

/// Where a page ends: the last job's place in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    key: i64,
    name: String,
}

impl Position {
    /// Reads what [`Position::text`] wrote; in the order of names it is the name.
    pub(crate) fn parse(text: &str, sort: Sort) -> Option<Self> {
        if sort.by == SortBy::Name {
            return Some(Self { key: 0, name: text.to_owned() });
        }
        let (key, name) = text.split_once('/')?;
        Some(Self { key: key.parse().ok()?, name: name.to_owned() })
    }

    fn text(&self, sort: Sort) -> String {
        if sort.by == SortBy::Name { self.name.clone() } else { format!("{}/{}", self.key, self.name) }
    }
}

/// Which jobs, for a page of them.
#[derive(Debug, Default)]
pub(crate) struct JobFilter {
    /// Only names that contain this, ignoring ASCII case.
    pub(crate) contains: Option<String>,
    /// Only those in this state.
    pub(crate) state: Option<JobState>,
    pub(crate) sort: Sort,
    /// Behind this position.
    pub(crate) after: Option<Position>,
    pub(crate) limit: usize,
}

/// True if `part` is in `name`, ignoring ASCII case.
pub(super) fn contains(name: &str, part: &str) -> bool {
    let (name, part) = (name.as_bytes(), part.as_bytes());
    let Some(first) = part.first() else { return true };
    let (lower, upper) = (first.to_ascii_lowercase(), first.to_ascii_uppercase());
    let last = name.len().checked_sub(part.len());
    last.is_some_and(|last| {
        (0..=last).any(|at| {
            (name[at] == lower || name[at] == upper) && name[at..at + part.len()].eq_ignore_ascii_case(part)
        })
    })
}

/// A job on its way to a page.
struct Found<'a> {
    key: i64,
    name: &'a str,
    row: &'a JobRow,
}

impl Cache {
    /// A page of jobs, broken ones left out, and where the next page goes on.
    pub(crate) fn jobs(&self, filter: &JobFilter, now: DateTime<Utc>) -> (Vec<JobSnapshot>, Option<String>) {
        self.read(|content| {
            let mut found = content.find(filter, now);
            let more = found.len() > filter.limit;
            found.truncate(filter.limit);
            let last = found.last().filter(|_| more);
            let next =
                last.map(|last| Position { key: last.key, name: last.name.to_owned() }.text(filter.sort));
            let snapshot = |found: Found<'_>| JobSnapshot {
                name: found.name.to_owned(),
                job: found.row.job.clone(),
                lock: content.locks.get(found.name).map(|row| row.lock.clone()),
                active: Vec::new(),
            };
            let mut page: Vec<JobSnapshot> = found.into_iter().map(snapshot).collect();
            content.fill_active(&mut page);
            (page, next)
        })
    }
}

impl Content {
    /// The jobs of a page in their order, and one more if there are more.
    fn find(&self, filter: &JobFilter, now: DateTime<Utc>) -> Vec<Found<'_>> {
        let in_order = filter.sort == Sort::default();
        let from = filter.after.as_ref().filter(|_| in_order).map(|after| after.name.as_str());
        let from = from.map_or(Bound::Unbounded, Bound::Excluded);
        let needs_lock = matches!(filter.state, Some(JobState::Last(_) | JobState::Running))
            || matches!(filter.sort.by, SortBy::Ended | SortBy::Result);
        // Both are in the order of their names: they are walked side by side.
        let mut locks = needs_lock.then(|| self.locks.range::<str, _>((from, Bound::Unbounded)).peekable());
        let mut lock_of = |name: &str| {
            let locks = locks.as_mut()?;
            while locks.next_if(|(other, _)| ***other < *name).is_some() {}
            locks.next_if(|(other, _)| ***other == *name).map(|(_, lock)| lock)
        };
        let asked = filter.state == Some(JobState::Running);
        let beside: HashSet<&str> =
            self.runs.values().filter(|_| asked).map(|run| run.held.job.as_str()).collect();
        let mut alike = Alike::new();
        let found = self.jobs.range::<str, _>((from, Bound::Unbounded)).filter_map(|(name, row)| {
            let fits = row.kind != Kind::Broken
                && filter.contains.as_deref().is_none_or(|part| contains(name, part));
            let lock = lock_of(name).filter(|_| fits);
            let fits = fits
                && match filter.state {
                    None => true,
                    Some(JobState::Active) => row.kind == Kind::Active,
                    Some(JobState::Paused) => row.kind == Kind::Paused,
                    Some(JobState::Running) => lock.is_some_and(|lock| lock.held) || beside.contains(&**name),
                    Some(JobState::Last(state)) => {
                        lock.and_then(|lock| lock.last).is_some_and(|(last, _)| last == state)
                    }
                };
            fits.then(|| Found { key: key(filter.sort.by, row, lock, now, &mut alike), name, row })
        });
        if in_order {
            return found.take(filter.limit + 1).collect();
        }
        let order = |a: (i64, &str), b: (i64, &str)| {
            let order = a.cmp(&b);
            if filter.sort.reversed { order.reverse() } else { order }
        };
        let after = filter.after.as_ref();
        let behind = |found: &Found<'_>| {
            after.is_none_or(|after| {
                order((found.key, found.name), (after.key, &after.name)) == Ordering::Greater
            })
        };
        let mut found: Vec<Found<'_>> = found.filter(behind).collect();
        let by = |a: &Found<'_>, b: &Found<'_>| order((a.key, a.name), (b.key, b.name));
        if found.len() > filter.limit + 1 {
            found.select_nth_unstable_by(filter.limit, by);
            found.truncate(filter.limit + 1);
        }
        found.sort_unstable_by(by);
        found
    }
}

/// A job's place in an order.
fn key<'a>(
    by: SortBy,
    row: &'a JobRow,
    lock: Option<&LockRow>,
    now: DateTime<Utc>,
    alike: &mut Alike<'a>,
) -> i64 {
    let last = lock.and_then(|lock| lock.last);
    match by {
        SortBy::Name => 0,
        SortBy::Next => row.next(now, alike),
        SortBy::Ended => last.map_or(i64::MIN, |(_, ended)| ended),
        SortBy::Result => match last.map(|(state, _)| state) {
            Some(RunState::Lost) => 0,
            Some(RunState::Failed) => 1,
            Some(RunState::TimedOut) => 2,
            Some(RunState::Killed) => 3,
            Some(RunState::Expired) => 4,
            Some(RunState::Succeeded) => 5,
            Some(RunState::Queued | RunState::Claimed | RunState::Running) | None => 6,
        },
    }
}
