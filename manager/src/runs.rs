//! Runs, from the two places that know them: the cache knows those that have not ended, the run log the others.

use chrono::{DateTime, Utc};
use common::{
    api::{RunAttempt, RunList, RunView},
    id::RunId,
    job::FieldError,
    run::RunState,
    runlog::{Outputs, RunQuery},
};

use crate::{
    cache::Active,
    problem::ApiError,
    state::App,
    view::{Viewer, planned},
};

/// Which runs.
#[derive(Debug, Default)]
pub(crate) struct RunFilter {
    /// Whose: a job's name, or [`common::runlog::task_owner`].
    pub(crate) owner: Option<String>,
    pub(crate) state: Option<RunState>,
    pub(crate) worker: Option<String>,
    pub(crate) from: Option<DateTime<Utc>>,
    pub(crate) to: Option<DateTime<Utc>>,
    pub(crate) after: Option<String>,
    pub(crate) limit: usize,
}

pub(crate) mod lateness;
pub(crate) mod output;

/// A position in the list: those that have not ended come first, newest planned first, then the run log's.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Position {
    /// Behind this one, by planned time and id.
    Active(i64, RunId),
    /// In the run log, behind the position that it gave; none: at its beginning.
    Log(Option<String>),
}

const ACTIVE: &str = "active/";
const LOG: &str = "log/";

impl Position {
    fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix(LOG) {
            return Some(Self::Log(Some(rest.to_owned()).filter(|rest| !rest.is_empty())));
        }
        let (planned, run) = text.strip_prefix(ACTIVE)?.split_once('/')?;
        Some(Self::Active(planned.parse().ok()?, run.parse().ok()?))
    }

    fn text(&self) -> String {
        match self {
            Self::Active(planned, run) => format!("{ACTIVE}{planned}/{run}"),
            Self::Log(position) => format!("{LOG}{}", position.as_deref().unwrap_or_default()),
        }
    }
}

/// A page of runs, newest planned time first within each of the two parts.
pub(crate) async fn list(app: &App, filter: &RunFilter) -> Result<RunList, ApiError> {
    let after = filter.after.as_deref().map(|text| {
        Position::parse(text).ok_or_else(|| {
            let example = "the \"next\" of the page before";
            ApiError::bad_field(FieldError::new("after", text, "is not a position in this list", example))
        })
    });
    let mut items = Vec::new();
    let log_after = match after.transpose()? {
        Some(Position::Log(position)) => position,
        active => {
            let (views, next) = active_page(app, filter, active.as_ref()).await?;
            if next.is_some() {
                return Ok(RunList { items: views, next: next.map(|next| next.text()) });
            }
            items = views;
            None
        }
    };
    if filter.state.is_some_and(|state| !state.is_final()) {
        return Ok(RunList { items, next: None });
    }
    if items.len() == filter.limit {
        return Ok(RunList { items, next: Some(Position::Log(None).text()) });
    }
    let query = RunQuery {
        job: filter.owner.clone(),
        state: filter.state,
        worker: filter.worker.clone(),
        from: filter.from,
        to: filter.to,
        after: log_after,
        limit: filter.limit - items.len(),
    };
    let page = app.ask_runlog(app.runlog.runs(&query, Outputs::Without)).await?;
    // A run whose record came before the news that its lock is free is in both.
    items.retain(|view| {
        let same = |record: &common::runlog::RunRecord| {
            record.attempt == view.attempt && record.run.to_string() == view.run
        };
        !page.records.iter().any(same)
    });
    items.extend(page.records.iter().map(RunView::from));
    Ok(RunList { items, next: page.next.map(|position| Position::Log(Some(position)).text()) })
}

/// The runs that have not ended, and where to go on if there are more of them.
async fn active_page(
    app: &App,
    filter: &RunFilter,
    after: Option<&Position>,
) -> Result<(Vec<RunView>, Option<Position>), ApiError> {
    app.loaded().await?;
    let viewer = Viewer::new(&app.cache, app.now());
    let mut active = app.cache.active(|job| filter.owner.as_deref().is_none_or(|wanted| wanted == job));
    // Only a task that has ended stands there with a final state.
    let is_final = filter.state.is_some_and(RunState::is_final);
    active.retain(|active| filter.fits(active) && (!is_final || active.ended().is_some()));
    active.sort_by_key(|active| std::cmp::Reverse((planned(active), active.run())));
    if let Some(Position::Active(at, run)) = after {
        active.retain(|active| (planned(active), active.run()) < (*at, *run));
    }
    let mut views = Vec::new();
    let mut last = None;
    for active in &active {
        let view = viewer.active_run(active);
        if filter.state.is_some_and(|state| state != view.state) {
            continue;
        }
        if views.len() == filter.limit {
            return Ok((views, last));
        }
        last = Some(Position::Active(planned(active), active.run()));
        views.push(view);
    }
    Ok((views, None))
}

impl RunFilter {
    fn fits(&self, active: &Active) -> bool {
        let planned = planned(active);
        let worker = active.held().map_or("", |(held, _)| held.worker.as_str());
        self.worker.as_deref().is_none_or(|wanted| wanted == worker)
            && self.from.is_none_or(|from| planned >= from.timestamp_millis())
            && self.to.is_none_or(|to| planned < to.timestamp_millis())
    }
}

/// One run with its attempts. While it has not ended, it is shown without the earlier ones if the run log is away.
pub(crate) async fn get(app: &App, run: RunId) -> Result<RunAttempt, ApiError> {
    // Looked up before the run log: what ends in between is in the log by then.
    let active = app.cache.active_run(run);
    let records = match app.ask_runlog(app.runlog.attempts(&run)).await {
        Ok(records) => records,
        Err(error) if active.is_some() => {
            tracing::debug!(%error, "showing a run without its earlier attempts");
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    let attempts: Vec<RunView> = records.iter().map(RunView::from).collect();
    let viewer = Viewer::new(&app.cache, app.now());
    // A task that stands in the store has not ended, or says how it has: what becomes of it after an attempt that is in
    // the log is not decided before that.
    let is_undecided =
        active.as_ref().is_some_and(|active| active.task().is_some() && active.ended().is_none());
    let newest = active
        .map(|active| viewer.active_run(&active))
        .filter(|view| is_undecided || attempts.iter().all(|attempt| attempt.attempt < view.attempt));
    let newest = newest.or_else(|| attempts.last().cloned());
    newest.map(|newest| RunAttempt { newest, attempts }).ok_or(ApiError::NoSuchRun(run))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_back_and_rubbish_is_none() {
        let run = "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b".parse().unwrap();
        for position in
            [Position::Active(-5, run), Position::Log(None), Position::Log(Some("17/a/b".to_owned()))]
        {
            assert_eq!(Position::parse(&position.text()), Some(position));
        }
        for rubbish in ["", "x", "active/", "active/1", "active/x/y", "7"] {
            assert_eq!(Position::parse(rubbish), None, "{rubbish}");
        }
    }
}
