//! A table against the jobs that its earlier imports made: recognises them, saves what is new or has changed, and
//! deletes what is gone.

use std::collections::HashMap;

use common::{
    api::{Existing, JobView},
    crontab::{Change, SOURCE_LABEL, again, is_edited},
    job::Job,
};
use serde_json::Value;

use super::{Import, Saving};
use crate::{
    client::{Client, ClientError, in_requests, to_value},
    commands::job::word,
};

/// What is said of a job that changes under the import's hands.
const MEANWHILE: &str = "somebody else is changing it right now, so it was left alone: import it again";

/// What is known of a line's job before anything is saved.
pub(super) struct Plan {
    pub(super) change: Change,
    /// The revision of the job that it was.
    revision: Option<i64>,
}

impl Plan {
    /// What would become of the job.
    pub(super) const fn foreseen(&self, replace: bool) -> &'static str {
        match (&self.change, replace) {
            (Change::Added, _) => "would be created",
            (Change::Unchanged, _) => "unchanged",
            (Change::Edited, false) => KEPT,
            (Change::Conflict, false) => {
                "would NOT BE SAVED: edited by hand, and the line has changed as well"
            }
            _ => "would be changed",
        }
    }
}

/// A job that a person changed.
const KEPT: &str = "edited by hand since, and left as it is";

/// A job of an earlier import whose line is gone.
pub(super) struct Gone {
    pub(super) name: String,
    revision: i64,
    is_edited: bool,
    /// What became of it.
    pub(super) result: GoneResult,
}

/// What became of a job whose line is gone.
pub(super) enum GoneResult {
    /// It is there, and has its schedule.
    Stays,
    Deleted,
    /// Why it was not deleted.
    Kept(String),
}

/// All jobs that some import made.
pub(super) async fn imported(client: &Client) -> Result<Vec<JobView>, ClientError> {
    let mut views = Vec::new();
    let mut after = None;
    loop {
        let page = client.jobs(after.as_deref()).await?;
        views.extend(page.items.into_iter().filter(|view| view.job.labels.contains_key(SOURCE_LABEL)));
        after = page.next;
        if after.is_none() {
            return Ok(views);
        }
    }
}

impl Import {
    /// Finds which of the lines are which of these jobs.
    pub(super) fn recognise(&mut self, views: &[JobView]) {
        let own: Vec<&JobView> = views.iter().filter(|view| self.is_own(&view.job)).collect();
        let there: Vec<Job> = own.iter().map(|view| view.job.clone()).collect();
        let lines: Vec<usize> = self.crontab.jobs().map(|(line, _)| line).collect();
        let (known, gone) = again(&self.crontab.jobs().map(|(_, job)| job).collect::<Vec<_>>(), &there);
        let mut plans = HashMap::new();
        for (line, known) in lines.into_iter().zip(known) {
            let revision = known.was.map(|place| own[place].status.revision);
            plans.insert(line, Plan { change: known.change, revision });
            self.crontab.set_job(line, known.job);
        }
        self.plans = plans;
        self.gone = gone.into_iter().map(|place| Gone::new(own[place])).collect();
    }

    /// Imports of earlier versions did not tell the tables of several machines apart, but for the names.
    fn is_own(&self, job: &Job) -> bool {
        let source = job.labels.get(SOURCE_LABEL);
        let is_earlier = !job.labels.contains_key(common::crontab::IMPRINT_LABEL)
            && source == Some(&self.plain_source)
            && job.name.as_str().starts_with(&self.prefix);
        source == Some(&self.source) || is_earlier
    }

    /// Saves what is new or has changed. Ends at the first request that gets no answer.
    pub(super) async fn save(&mut self, client: &Client, replace: bool) -> anyhow::Result<()> {
        let mut added = Vec::new();
        let jobs: Vec<(usize, Job)> = self.crontab.jobs().map(|(line, job)| (line, job.clone())).collect();
        for (line, job) in jobs {
            if self.savings.contains_key(&line) {
                continue;
            }
            let plan = self.plans.get(&line);
            let saving = match plan.map_or(&Change::Added, |plan| &plan.change) {
                Change::Added => {
                    added.push((line, job));
                    continue;
                }
                Change::Unchanged => Saving::Saved("unchanged"),
                Change::Edited if !replace => Saving::Saved(KEPT),
                Change::Conflict if !replace => Saving::NotSaved(
                    "it was edited by hand since, and the line has changed as well: --replace takes the line"
                        .to_owned(),
                ),
                _ => match save_at(client, &job, plan.and_then(|plan| plan.revision)).await {
                    Ok(saving) => saving,
                    Err((saving, error)) => {
                        self.savings.insert(line, saving);
                        return Err(error.into());
                    }
                },
            };
            self.savings.insert(line, saving);
        }
        self.add(added, client, if replace { Existing::Replace } else { Existing::Refuse }).await
    }

    async fn add(
        &mut self,
        added: Vec<(usize, Job)>,
        client: &Client,
        existing: Existing,
    ) -> anyhow::Result<()> {
        let values = added.iter().map(|(_, job)| to_value(job)).collect::<anyhow::Result<Vec<_>>>()?;
        let mut given = added.iter();
        for request in in_requests(&values) {
            let these = given.by_ref().take(request.len());
            let saves = match client.save_jobs(request, existing).await {
                Ok(saves) => saves,
                Err(error) => {
                    self.savings.extend(these.map(|(line, _)| (*line, Saving::without_answer(&error))));
                    return Err(error.into());
                }
            };
            let mut lost = None;
            for (((line, job), value), saved) in these.zip(request).zip(saves) {
                let saving = match saved {
                    Ok(saved) => Saving::Saved(word(saved)),
                    // Without answers no further one is asked for, but what is known of the others is told.
                    Err(error) if error.is_taken() && lost.is_none() => {
                        save_over(client, job, value).await.unwrap_or_else(|(saving, error)| {
                            lost = Some(error);
                            saving
                        })
                    }
                    Err(error) if error.is_in_doubt() => Saving::Unknown,
                    Err(error) => Saving::NotSaved(error.to_string()),
                };
                self.savings.insert(*line, saving);
            }
            if let Some(error) = lost {
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Deletes the jobs whose lines are gone, if all that the table says is known and saved.
    pub(super) async fn prune(&mut self, client: &Client, replace: bool) -> anyhow::Result<()> {
        let why_not = self.why_no_prune();
        for gone in &mut self.gone {
            let why_not = match &why_not {
                None if gone.is_edited && !replace => Some("edited by hand since: --replace deletes it"),
                why_not => *why_not,
            };
            gone.result = if let Some(why_not) = why_not {
                GoneResult::Kept(why_not.to_owned())
            } else {
                match client.delete_job_at(&gone.name, gone.revision).await {
                    Ok(()) => GoneResult::Deleted,
                    Err(error) if error.is_not_found() => GoneResult::Deleted,
                    Err(error) if error.is_changed() => GoneResult::Kept(MEANWHILE.to_owned()),
                    Err(error @ ClientError::Refused(_)) => GoneResult::Kept(error.to_string()),
                    Err(error) => {
                        gone.result = GoneResult::Kept("no answer; it may be deleted".to_owned());
                        return Err(error.into());
                    }
                }
            };
        }
        Ok(())
    }

    /// A mistake in a line, or a table that did not arrive, is no reason to delete a job.
    fn why_no_prune(&self) -> Option<&'static str> {
        if self.crontab.lines.is_empty() {
            Some("the table is empty, which may be a mistake: delete its jobs with `quorate job delete`")
        } else if self.crontab.count().problems > 0 {
            Some("a line of the table was not carried over, and the job may belong to it")
        } else if !self.savings.values().all(|saving| matches!(saving, Saving::Saved(_))) {
            Some("not all jobs of the table are saved")
        } else {
            None
        }
    }
}

impl Gone {
    fn new(view: &JobView) -> Self {
        Self {
            name: view.job.name.to_string(),
            revision: view.status.revision,
            is_edited: is_edited(&view.job),
            result: GoneResult::Stays,
        }
    }
}

/// Replaces a job that is still as it was listed. An error: the request got no answer.
async fn save_at(client: &Client, job: &Job, revision: Option<i64>) -> Result<Saving, (Saving, ClientError)> {
    let value = match to_value(job) {
        Ok(value) => value,
        Err(error) => return Ok(Saving::NotSaved(error.to_string())),
    };
    match client.replace_job(job.name.as_str(), &value, revision.unwrap_or_default()).await {
        Ok(_) => Ok(Saving::Saved("changed")),
        Err(error) if error.is_changed() || error.is_not_found() => {
            Ok(Saving::NotSaved(MEANWHILE.to_owned()))
        }
        Err(error @ ClientError::Refused(_)) => Ok(Saving::NotSaved(error.to_string())),
        Err(error) => Err((Saving::without_answer(&error), error)),
    }
}

/// Replaces a job as it was looked at, unless it has another origin. An error: the requests get no answers.
async fn save_over(client: &Client, job: &Job, value: &Value) -> Result<Saving, (Saving, ClientError)> {
    let name = job.name.as_str();
    let not = |problem: &str| Ok(Saving::NotSaved(problem.to_owned()));
    let there = match client.job(name).await {
        Ok(there) => there,
        Err(error) if error.is_not_found() => return not(MEANWHILE),
        Err(error @ ClientError::Refused(_)) => return not(&error.to_string()),
        // It was only looked at.
        Err(error) => return Err((Saving::NotSaved("no answer".to_owned()), error)),
    };
    let origin = there.job.labels.get(SOURCE_LABEL);
    if origin != job.labels.get(SOURCE_LABEL) {
        let origin = origin
            .map_or_else(|| "was not imported".to_owned(), |source| format!("was imported from {source}"));
        return not(&format!(
            "there is a job of this name that {origin}: --prefix-name gives these another, --replace replaces it"
        ));
    }
    match client.replace_job(name, value, there.status.revision).await {
        Ok(saved) => Ok(Saving::Saved(word(saved))),
        Err(error) if error.is_changed() => not(MEANWHILE),
        Err(error @ ClientError::Refused(_)) => not(&error.to_string()),
        Err(error) => Err((Saving::without_answer(&error), error)),
    }
}
