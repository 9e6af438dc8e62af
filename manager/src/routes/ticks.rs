//! `/api/v1/jobs/{job}/ticks`: every tick of a job, expected against happened.

use std::{collections::BTreeMap, str::FromStr, sync::Arc};

use axum::{Json, extract::State};
use chrono::{DateTime, TimeDelta, Utc};
use common::{
    api::{STALE, TickAttempt, TickCounts, TickPage, TickStretch, TickView, run::instant_text},
    id::JobName,
    job::FieldError,
    run::RunState,
    tick::Tick,
};

use crate::{
    input::{Named, Params},
    problem::ApiError,
    state::App,
    ticks::{Attempt, Known, Outcome, Row, Rows, Wanted, gather::gather},
    view::instant,
};

/// Without `from`: this long before `to`.
const SPAN: TimeDelta = TimeDelta::hours(1);

/// Headers that say that ticks may be missing, as the answers have that are old.
type Stale = Option<[(&'static str, &'static str); 1]>;

const LACKS_PASSED: [(&str, &str); 1] =
    [(STALE, "the store did not say in time which ticks changes of the job passed over")];

fn text(second: i64) -> String {
    instant_text(second.saturating_mul(1000)).unwrap_or_default()
}

fn shown(row: Row) -> TickView {
    let started = row.attempts.first().and_then(|first| first.started);
    TickView {
        tick: text(row.to),
        from: text(row.from),
        count: row.count,
        outcome: row.outcome.name().to_owned(),
        reason: row.reason,
        expected: row.expected,
        late_ms: started.map(|started| (started - row.to * 1000).max(0)),
        runs: row.attempts.into_iter().map(attempt).collect(),
        stretch: row.stretch.map(|record| TickStretch {
            from: text(record.from.seconds()),
            to: text(record.to.seconds()),
            count: record.count,
            worker: record.worker.to_string(),
        }),
    }
}

fn attempt(attempt: Attempt) -> TickAttempt {
    TickAttempt {
        run: attempt.run,
        attempt: attempt.attempt,
        state: attempt.state,
        worker: attempt.worker,
        started: attempt.started.and_then(instant_text),
        ended: attempt.ended.and_then(instant_text),
        reason: attempt.reason,
    }
}

impl FromStr for Wanted {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        use common::runlog::TickOutcome as T;
        if text == "unsuccessful" {
            return Ok(Self::Unsuccessful);
        }
        let others = [
            Outcome::Without(T::Skipped),
            Outcome::Without(T::Missed),
            Outcome::Waiting,
            Outcome::Upcoming,
            Outcome::NoRecord,
        ];
        let mut all = others.into_iter().chain(RunState::ALL.into_iter().map(Outcome::Run));
        all.find(|outcome| outcome.name() == text).map(Self::One).ok_or(())
    }
}

/// What is asked for.
struct Question {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    after: Option<Tick>,
    wanted: Option<Wanted>,
    rows: Rows,
    limit: usize,
}

impl Question {
    fn read(mut params: Params, now: DateTime<Utc>) -> Result<Self, ApiError> {
        let (from, to) = (params.instant("from"), params.instant("to"));
        let to = to.unwrap_or(now);
        let question = Self {
            from: from.unwrap_or(to - SPAN),
            to,
            after: params.parsed(
                "after",
                "a position in this list; use the page's \"next\"",
                "2026-11-22T01:02:03Z",
            ),
            wanted: params.parsed(
                "outcome",
                "an outcome of a tick; the outcomes are unsuccessful (all that is over but succeeded), succeeded, failed, \
                 timed_out, killed, lost, expired, skipped, missed, no_record, waiting, queued, claimed, \
                 running and upcoming",
                "missed",
            ),
            rows: match params.parsed("fold", "true or false", "true") {
                Some(true) => Rows::Folded,
                _ => Rows::Each,
            },
            limit: params.limit(),
        };
        params.done()?;
        if question.from >= question.to {
            let problem = format!("is not before the end of the range, {}", instant(question.to));
            let example = instant(question.to - SPAN);
            return Err(ApiError::bad_field(FieldError::new(
                "from",
                instant(question.from),
                problem,
                example,
            )));
        }
        Ok(question)
    }

    /// In whole seconds: at or after the first, before the second. A part of a second counts as the next tick.
    fn range(&self) -> (i64, i64) {
        let up = |at: DateTime<Utc>| at.timestamp() + i64::from(at.timestamp_subsec_nanos() > 0);
        (up(self.from), up(self.to))
    }
}

/// Newest first. Also of a job that is gone: what became of its ticks stays.
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Named(name): Named<JobName>,
    params: Params,
) -> Result<(Stale, Json<TickPage>), ApiError> {
    let question = Question::read(params, app.now())?;
    let (from, to) = question.range();
    let end = question.after.map_or(to, |after| after.seconds().min(to));
    let is_first = question.after.is_none();
    if end <= from {
        return Ok((None, Json(page(&question, Vec::new(), None, None, None))));
    }
    let enough = (!is_first && question.wanted.is_none()).then_some(question.limit);
    let known = gather(&app, &name, (from, end), enough).await?;
    let stale = known.lacks_passed.then_some(LACKS_PASSED);
    // The walk visits each tick where it cannot count them: not on a thread that answers requests.
    let answer = tokio::task::spawn_blocking(move || {
        let counts = is_first.then(|| counts(&known));
        let (rows, next) = rows(&known, &question, from);
        let since = known.expectation.since;
        page(&question, rows, next, Some(since).filter(|since| *since < i64::MAX), counts)
    });
    answer.await.map(|page| (stale, Json(page))).map_err(|error| {
        tracing::error!(%error, "failed to go through a job's ticks");
        ApiError::Internal
    })
}

fn page(
    question: &Question,
    rows: Vec<Row>,
    next: Option<i64>,
    since: Option<i64>,
    counts: Option<TickCounts>,
) -> TickPage {
    TickPage {
        items: rows.into_iter().map(shown).collect(),
        next: next.map(|before| Tick::from_instant(crate::ticks::at(before)).to_string()),
        from: instant(question.from),
        to: instant(question.to),
        since: since.map(text),
        counts,
    }
}

/// The rows that are wanted, and before which tick the next page goes on.
fn rows(known: &Known, question: &Question, from: i64) -> (Vec<Row>, Option<i64>) {
    let mut rows: Vec<Row> = Vec::new();
    for row in known.walk(question.rows, question.wanted) {
        // The next page begins before a second, so what stands at one second stays together.
        let next = rows.last().map(|last| last.from);
        if rows.len() >= question.limit && next.is_some_and(|next| row.stands_at < next) {
            return (rows, next);
        }
        rows.push(row);
    }
    (rows, Some(known.floor).filter(|floor| *floor > from))
}

fn counts(known: &Known) -> TickCounts {
    let (mut expected, mut outcomes) = (0, BTreeMap::<&str, u64>::new());
    for row in known.walk(Rows::Folded, None) {
        if row.expected == Some(true) {
            expected += row.count;
        }
        *outcomes.entry(row.outcome.name()).or_default() += row.count;
    }
    let outcomes = outcomes.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    TickCounts { from: text(known.floor), expected, outcomes }
}
