//! `/api/v1/validate` and `/api/v1/preview`: what a job or an expression means, without saving anything.
//!
//! Both say what a save would make of it, so they look at the job that it would replace: that one's zone and anchor
//! stay where the request gives none.

use std::sync::Arc;

use axum::{Json, extract::State};
use chrono::{DateTime, SecondsFormat, Utc};
use chrono_tz::Tz;
use common::{
    api::{Preview, PreviewRequest, Validated},
    job::{Command, FieldError, Job, JobError, Shell, StoredJob, Trigger},
    schedule::parse_zone,
};

use crate::{
    change::save::{check, check_size},
    input::{Body, NoParams},
    problem::ApiError,
    state::App,
    view::{describe, instant, next_after},
};

/// So many instants are given when no number is asked for, and at most.
const COUNT: (usize, usize) = (6, 100);

pub(crate) async fn validate(
    State(app): State<Arc<App>>,
    _: NoParams,
    Body(body, _share): Body,
) -> Result<Json<Validated>, ApiError> {
    let mut job = Job::from_value(body)?;
    let old = stored(&app, job.name.as_str()).await?;
    let now = app.now();
    settle(&app, &mut job, old.as_ref(), now)?;
    check_size(&job)?;
    let schedule = job.schedule()?;
    let (describe, next) = schedule.map_or_else(Default::default, |schedule| {
        (describe(&schedule), next_after(&schedule, now, COUNT.0).map(instant).collect())
    });
    Ok(Json(Validated { valid: true, describe, next, job }))
}

pub(crate) async fn preview(
    State(app): State<Arc<App>>,
    _: NoParams,
    Body(body, _share): Body,
) -> Result<Json<Preview>, ApiError> {
    let request: PreviewRequest = serde_path_to_error::deserialize(body).map_err(|error| {
        let example = r#"{"cron": ["30 9 * * MON-FRI"], "zone": "Europe/Berlin", "count": 6}"#;
        let path = Some(error.path().to_string()).filter(|path| path != ".");
        ApiError::bad_field(FieldError::new(path.unwrap_or_default(), "", error.inner().to_string(), example))
    })?;
    let zone = zone(request.zone.as_deref())?;
    let count = request.count.unwrap_or(COUNT.0);
    if !(1..=COUNT.1).contains(&count) {
        let problem = format!("is not 1 to {}", COUNT.1);
        return Err(JobError::from(FieldError::new("count", count, problem, "6")).into());
    }
    // As a job, so that it is told what saving would tell.
    let shell = Shell { command: "true".to_owned(), ..Shell::default() };
    let trigger = Trigger::Cron { expressions: request.cron, zone, anchor: None };
    let mut job = Job::new("preview".parse()?, trigger, Command::Shell(shell));
    let old = match &request.job {
        Some(name) => stored(&app, name).await?,
        None => None,
    };
    let now = app.now();
    settle(&app, &mut job, old.as_ref(), now).map_err(|mut error| {
        for error in &mut error.errors {
            if let Some(field) = error.field.strip_prefix("trigger.") {
                error.field = field.to_owned();
            }
        }
        error
    })?;
    let schedule = job.schedule()?.ok_or(ApiError::Internal)?;
    let zone = schedule.zone().unwrap_or(app.config.zone);
    let next = next_after(&schedule, now, count);
    Ok(Json(Preview {
        describe: schedule.describe(),
        zone: zone.name().to_owned(),
        next: next.map(|at| at.with_timezone(&zone).to_rfc3339_opts(SecondsFormat::Secs, false)).collect(),
    }))
}

/// The job that a save under this name would replace, as this manager's lists have it.
async fn stored(app: &App, name: &str) -> Result<Option<StoredJob>, ApiError> {
    app.loaded().await?;
    let known = app.cache.job(name);
    Ok(known.and_then(|known| known.job.stored.as_ref().ok().cloned()))
}

/// Makes of the job what a save over `old` makes of it, or says why that would be refused.
fn settle(app: &App, job: &mut Job, old: Option<&StoredJob>, now: DateTime<Utc>) -> Result<(), JobError> {
    let righted = old.and_then(|old| Some((old, app.righted(old, now)?)));
    match &righted {
        Some((old, righted)) => {
            job.trigger.forget_anchor_of(&old.job.trigger);
            job.settle(app.config.zone, now, Some(&righted.stored.job));
        }
        None => job.settle(app.config.zone, now, old.map(|old| &old.job)),
    }
    check(job, now, old.is_some_and(|old| old.job.trigger == job.trigger))
}

fn zone(given: Option<&str>) -> Result<Option<Tz>, ApiError> {
    let Some(name) = given.filter(|name| !name.is_empty()) else { return Ok(None) };
    parse_zone(name).map(Some).map_err(|error| {
        let example = format!("{:?}", error.suggestions().first().unwrap_or(&"Europe/Berlin"));
        JobError::from(FieldError::new("zone", name, "is not a time zone of the IANA database", example))
            .into()
    })
}
