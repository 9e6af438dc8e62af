//! Questions as filters, and where a page ends.

use std::fmt;

use chrono::{DateTime, Utc};
use mongodb::bson::{Bson, Document, RawBsonRef, RawDocument, doc, oid::ObjectId};

use super::{
    super::{RunLogError, RunQuery, TickQuery},
    document::{GDTS_KILLED, gdts_id, number},
};
use crate::{id::RunId, run::RunState, tick::Tick};

/// The place behind a run: planned time and id, both descending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    plan_time: i64,
    id: Id,
}

/// Of ours and of GDTS's documents. Among the same planned time GDTS's come first: MongoDB orders ids by type.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Id {
    Ours(String),
    Gdts(ObjectId),
}

impl Position {
    /// Where a document stands; none if it lacks what that takes.
    pub(super) fn of(document: &RawDocument) -> Option<Self> {
        let plan_time = number(&Bson::try_from(document.get("planTime").ok()??).ok()?)?;
        let id = match document.get("_id").ok()?? {
            RawBsonRef::String(id) => Id::Ours(id.to_owned()),
            RawBsonRef::ObjectId(id) => Id::Gdts(id),
            _ => return None,
        };
        Some(Self { plan_time, id })
    }

    /// A position from its text.
    pub(super) fn parse(text: &str) -> Result<Self, RunLogError> {
        let position = || {
            let (plan_time, id) = text.split_once('.')?;
            let id = match id.split_at_checked(1)? {
                ("q", id) if !id.is_empty() => Id::Ours(id.to_owned()),
                ("g", id) => Id::Gdts(ObjectId::parse_str(id).ok()?),
                _ => return None,
            };
            Some(Self { plan_time: plan_time.parse().ok()?, id })
        };
        position().ok_or_else(|| RunLogError::BadPosition(text.chars().take(100).collect()))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            Id::Ours(id) => write!(f, "{}.q{id}", self.plan_time),
            Id::Gdts(id) => write!(f, "{}.g{id}", self.plan_time),
        }
    }
}

/// Which runs, behind a position.
pub(super) fn runs(query: &RunQuery, after: Option<&Position>) -> Document {
    let mut filter = Document::new();
    if let Some(job) = &query.job {
        filter.insert("jobName", job);
    }
    if let Some(worker) = &query.worker {
        filter.insert("worker", worker);
    }
    let mut all = Vec::new();
    match query.state {
        Some(state) => all.push(in_state(state)),
        // Without a job or a worker the index by state is the one to walk, all states side by side.
        None if query.job.is_none() && query.worker.is_none() => all.push(in_any_state()),
        None => {}
    }
    // A comparison with a number finds numbers only: a document without a time or with a foreign id has no place in
    // the order, and at the head of a page it would leave nowhere to go on from.
    let mut plan_time = doc! { "$gte": query.from.map_or(i64::MIN, |from| from.timestamp_millis()) };
    filter.insert("_id", doc! { "$type": ["string", "objectId"] });
    if let Some(to) = query.to {
        plan_time.insert("$lt", to.timestamp_millis());
    }
    if let Some(after) = after {
        plan_time.insert("$lte", after.plan_time);
        all.push(behind(after));
    }
    filter.insert("planTime", plan_time);
    if !all.is_empty() {
        filter.insert("$and", all);
    }
    filter
}

/// Runs in a state; GDTS's have none, only their `err`.
fn in_state(state: RunState) -> Document {
    let gdts_err = match state {
        RunState::Succeeded => doc! { "$eq": "" },
        RunState::Killed => doc! { "$eq": GDTS_KILLED },
        RunState::Failed => doc! { "$nin": ["", GDTS_KILLED] },
        _ => return doc! { "state": state.name() },
    };
    // The list gives the index its bounds, the rest chooses within them.
    doc! { "state": { "$in": [state.name(), null] }, "$or": [{ "state": state.name() }, { "err": gdts_err }] }
}

fn in_any_state() -> Document {
    let states = RunState::ALL.into_iter().map(|state| Bson::from(state.name()));
    doc! { "state": { "$in": states.chain([Bson::Null]).collect::<Vec<_>>() } }
}

/// Behind a position. An id is compared with ids of its own type only.
fn behind(position: &Position) -> Document {
    let earlier = doc! { "planTime": { "$lt": position.plan_time } };
    match &position.id {
        Id::Ours(id) => doc! { "$or": [earlier, { "_id": { "$lt": id } }] },
        Id::Gdts(id) => doc! { "$or": [earlier, { "_id": { "$lt": id } }, { "_id": { "$type": "string" } }] },
    }
}

/// All attempts of a run.
pub(super) fn run(run: &RunId) -> Document {
    match gdts_id(run) {
        Some(id) => doc! { "_id": id },
        // '0' is what comes after '/'.
        None => doc! { "_id": { "$gte": format!("{run}/"), "$lt": format!("{run}0") } },
    }
}

/// One attempt of a run. GDTS's have no number: whoever reads the document gives it one.
pub(super) fn attempt(run: &RunId, attempt: u32) -> Document {
    match gdts_id(run) {
        Some(id) => doc! { "_id": id },
        None => doc! { "_id": format!("{run}/{attempt}") },
    }
}

/// Which ticks without a run.
pub(super) fn ticks(query: &TickQuery) -> Document {
    let mut filter = Document::new();
    if let Some(job) = &query.job {
        filter.insert("jobName", job);
    }
    // Ticks are stored as text that compares as they do, in whole seconds: an instant within one counts from its end.
    if let Some(from) = query.from {
        filter.insert("to", doc! { "$gte": at_or_after(from).to_string() });
    }
    if let Some(to) = query.to {
        filter.insert("from", doc! { "$lt": at_or_after(to).to_string() });
    }
    filter
}

fn at_or_after(instant: DateTime<Utc>) -> Tick {
    let tick = Tick::from_instant(instant);
    if tick.instant() < instant { Tick::from_instant(instant + chrono::TimeDelta::seconds(1)) } else { tick }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_back() {
        for text in ["1795310523000.q01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b/1", "-1.g507f1f77bcf86cd799439011"]
        {
            assert_eq!(Position::parse(text).unwrap().to_string(), text);
        }
        for bad in ["", "1", "1.", "1.q", "1.x0", "x.q0", "1.g507f", "1.é", "9223372036854775808.q0"] {
            assert!(matches!(Position::parse(bad), Err(RunLogError::BadPosition(_))), "{bad}");
        }
    }

    #[test]
    fn part_of_a_second_counts_as_the_next_tick() {
        let tick: Tick = "2026-11-22T01:02:03Z".parse().unwrap();
        assert_eq!(at_or_after(tick.instant()), tick);
        let later = tick.instant() + chrono::TimeDelta::milliseconds(1);
        assert_eq!(at_or_after(later).to_string(), "2026-11-22T01:02:04Z");
    }
}
