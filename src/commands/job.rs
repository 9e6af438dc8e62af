//! `quorate job`: jobs: their definitions, and what can be done with them.

use std::{collections::HashSet, path::PathBuf};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use common::{
    api::{BrokenJob, Existing, JobView},
    clock::{Clock as _, SystemClock},
};
use serde_json::{Value, json};

use super::{failed, job_file};
use crate::{
    cli::{JobCommand, RunFilter},
    client::{Client, ClientError, Saved, in_requests},
    exit::{BadInput, Exit},
    output::{Output, Table, relative, visible},
    telemetry,
};

pub(super) async fn run(command: JobCommand, client: Client, mut output: Output) -> anyhow::Result<Exit> {
    let exit = match command {
        JobCommand::Save { files, force } => save(&client, &files, force, &mut output).await?,
        JobCommand::List => list(&client, &mut output).await?,
        JobCommand::Show { name } => {
            let view = client.job(&name).await.map_err(failed)?;
            // A job is a tree; as a table it would lose half of itself.
            output.json(&view)?;
            Exit::Done
        }
        JobCommand::Run { name, follow } => run_now(&client, &name, follow, &mut output).await?,
        JobCommand::Kill { name } => act(&client, &name, "kill", &mut output).await?,
        JobCommand::Pause { name } => act(&client, &name, "pause", &mut output).await?,
        JobCommand::Resume { name } => act(&client, &name, "resume", &mut output).await?,
        JobCommand::ResetFence { name } => act(&client, &name, "reset-fence", &mut output).await?,
        JobCommand::Delete { name } => {
            client.delete_job(&name).await.map_err(failed)?;
            said(&mut output, &name, "deleted")?;
            Exit::Done
        }
        JobCommand::Log { name, limit } => {
            let filter = RunFilter { job: Some(name.clone()), limit, ..RunFilter::default() };
            super::run::list(&client, &filter, &mut output).await?;
            Exit::Done
        }
    };
    output.flush()?;
    Ok(exit)
}

async fn act(client: &Client, name: &str, action: &str, output: &mut Output) -> anyhow::Result<Exit> {
    client.job_action(name, action).await.map_err(failed)?;
    let done = match action {
        "kill" => "asked its runs to end",
        "pause" => "paused",
        "reset-fence" => "its ticks count from now, if they did not before",
        _ => "resumed",
    };
    said(output, name, done)?;
    Ok(Exit::Done)
}

fn said(output: &mut Output, name: &str, done: &str) -> anyhow::Result<()> {
    if output.is_json() {
        output.json(&json!({"job": name, "done": done}))
    } else {
        output.line(format_args!("{}: {done}", visible(name)))
    }
}

async fn run_now(client: &Client, name: &str, follow: bool, output: &mut Output) -> anyhow::Result<Exit> {
    let requested = client.run_job(name).await.map_err(failed)?;
    if !follow {
        if output.is_json() {
            output.json(&requested)?;
        } else {
            output.line(format_args!("{}: run {} is queued", visible(name), requested.run))?;
        }
        return Ok(Exit::Done);
    }
    super::run::until_ended(client, &requested.run, output).await
}

async fn save(client: &Client, files: &[PathBuf], force: bool, output: &mut Output) -> anyhow::Result<Exit> {
    let (mut names, mut jobs) = (Vec::new(), Vec::new());
    for file in files {
        for (name, job) in job_file::jobs(file, &job_file::read(file)?)? {
            let revision = &job["status"]["revision"];
            if !(force || revision.is_null() || revision.is_i64()) {
                // Without it the job would be saved over whatever is there.
                return Err(BadInput(format!(
                    "{}: job {name:?}: status.revision: {revision} is not a revision; use, for example, 17, or no status at all",
                    file.display()
                ))
                .into());
            }
            names.push(name);
            jobs.push(job);
        }
    }
    let mut seen = HashSet::new();
    if let Some(name) = names.iter().find(|name| !seen.insert(*name)) {
        return Err(
            BadInput(format!("{name:?} is in two of these files: only one of them can be saved")).into()
        );
    }
    let mut reports = Reports { output, exit: Exit::Done, all: Vec::new() };
    let broken_off = send(client, &names, &jobs, force, &mut reports).await?;
    // Before the error, if there is one: what is done is done.
    if reports.output.is_json() {
        reports.output.json(&reports.all)?;
    }
    match broken_off {
        None => Ok(reports.exit),
        Some(error) => {
            reports.output.flush()?;
            Err(anyhow::Error::new(error).context(reports.so_far(jobs.len())))
        }
    }
}

/// Sends the jobs and reports on each. An error of the client's breaks it off: what has no report was not sent.
async fn send(
    client: &Client,
    names: &[String],
    jobs: &[Value],
    force: bool,
    reports: &mut Reports<'_>,
) -> anyhow::Result<Option<ClientError>> {
    let made_from = |job: &Value| if force { None } else { job["status"]["revision"].as_i64() };
    // A job that says which revision it was made from goes by itself: only that request takes a condition.
    let together = jobs.chunk_by(|a, b| made_from(a).is_none() && made_from(b).is_none());
    let mut rest = names;
    for request in together.flat_map(in_requests) {
        let (these, behind) = rest.split_at(request.len());
        rest = behind;
        let saves = match request.first().and_then(made_from) {
            Some(revision) => replace(client, &these[0], &request[0], revision).await,
            None => client.save_jobs(request, Existing::Replace).await,
        };
        match saves {
            Ok(saves) => {
                for (name, saved) in these.iter().zip(saves) {
                    reports.add(name, saved)?;
                }
            }
            Err(error) => {
                if error.is_in_doubt() {
                    for name in these {
                        reports.add_unknown(name)?;
                    }
                }
                return Ok(Some(error));
            }
        }
    }
    Ok(None)
}

/// Saves a job over the one that it was made from, as a request for one.
async fn replace(
    client: &Client,
    name: &str,
    job: &Value,
    revision: i64,
) -> Result<Vec<Result<Saved, ClientError>>, ClientError> {
    match client.replace_job(name, job, revision).await {
        Ok(saved) => Ok(vec![Ok(saved)]),
        Err(error @ ClientError::Refused(_)) => Ok(vec![Err(error)]),
        Err(error) => Err(error),
    }
}

/// What became of each job; for people it is told as it becomes known.
struct Reports<'a> {
    output: &'a mut Output,
    exit: Exit,
    all: Vec<Value>,
}

impl Reports<'_> {
    fn add(&mut self, name: &str, saved: Result<Saved, ClientError>) -> anyhow::Result<()> {
        let report = match saved {
            Ok(saved) => json!({"job": name, "result": word(saved)}),
            Err(error) if error.is_in_doubt() => {
                self.exit = self.exit.and(Exit::Failed);
                json!({"job": name, "result": "unknown", "error": error.to_string()})
            }
            Err(error) => {
                self.exit = self.exit.and(if error.is_bad_input() { Exit::BadInput } else { Exit::Failed });
                let problem = if error.is_changed() { changed(name) } else { error.to_string() };
                json!({"job": name, "result": "refused", "error": problem})
            }
        };
        self.push(report)
    }

    fn add_unknown(&mut self, name: &str) -> anyhow::Result<()> {
        self.push(json!({"job": name, "result": "unknown", "error": "no answer came: it may be saved"}))
    }

    fn push(&mut self, report: Value) -> anyhow::Result<()> {
        if !self.output.is_json() {
            say(self.output, &report)?;
        }
        self.all.push(report);
        Ok(())
    }

    /// What there is to say of all the jobs when not all of them have been sent and answered.
    fn so_far(&self, total: usize) -> String {
        let count = |result: &str| self.all.iter().filter(|report| report["result"] == result).count();
        let saved = count(word(Saved::Created)) + count(word(Saved::Replaced));
        let others = [
            (count("refused"), "refused"),
            (count("unknown"), "without an answer, perhaps saved"),
            (total - self.all.len(), "not sent"),
        ];
        let mut text = format!("{saved} of {total} jobs saved");
        for (count, what) in others.into_iter().filter(|(count, _)| *count > 0) {
            text.push_str(&format!(", {count} {what}"));
        }
        text
    }
}

fn changed(name: &str) -> String {
    format!(
        "it was changed or deleted since this file was made (a save of it counts, too), and is left alone: `quorate job show {name:?} | diff FILE -` \
         tells what is different, `quorate job save --force FILE` saves it all the same"
    )
}

pub(super) const fn word(saved: Saved) -> &'static str {
    match saved {
        Saved::Created => "created",
        Saved::Replaced => "replaced",
    }
}

/// Good news on standard output, bad news beside it.
fn say(output: &mut Output, report: &Value) -> anyhow::Result<()> {
    let name = visible(report["job"].as_str().unwrap_or_default());
    match report["error"].as_str() {
        Some(error) => {
            output.flush()?;
            telemetry::say(format_args!("error: {name}: {}", error.replace('\n', "\n       ")));
            Ok(())
        }
        None => output.line(format_args!("{name}: {}", report["result"].as_str().unwrap_or_default())),
    }
}

async fn list(client: &Client, output: &mut Output) -> anyhow::Result<Exit> {
    let now = SystemClock::start().context("start the clock")?.now();
    let mut table = Table::new(&["NAME", "WHEN", "NEXT", "LAST", "RUNNING", "COMMAND", "WARNING"]);
    let mut first = true;
    let mut after: Option<String> = None;
    loop {
        let page = client.jobs(after.as_deref()).await.map_err(failed)?;
        for BrokenJob { name, problem, .. } in &page.broken {
            tracing::warn!("job {name:?} is stored but does not decode, so it is not among these: {problem}");
        }
        for view in &page.items {
            if output.is_json() {
                // Written as they come: a hundred thousand jobs need no memory here.
                let start = if first { "[\n" } else { ",\n" };
                output.bytes(format!("{start}{}", serde_json::to_string(view)?).as_bytes())?;
            } else {
                table.row(row(view, now));
            }
            first = false;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if output.is_json() {
        output.line(if first { "[]" } else { "\n]" })?;
    } else {
        output.table(&table, "no jobs; `quorate job save FILE` saves one")?;
    }
    Ok(Exit::Done)
}

fn row(view: &JobView, now: DateTime<Utc>) -> [String; 7] {
    let status = &view.status;
    let next = match status.next.first() {
        _ if status.paused => "paused".to_owned(),
        Some(next) => relative(next, now),
        None => "-".to_owned(),
    };
    let last = status.last.as_ref().map_or_else(
        || "-".to_owned(),
        |last| format!("{} {}", last.state, relative(&last.ended.to_rfc3339(), now)),
    );
    let when = if status.describe.is_empty() { "when asked for".to_owned() } else { status.describe.clone() };
    [
        view.job.name.to_string(),
        when,
        next,
        last,
        status.running.len().to_string(),
        view.job.driver.text(),
        status.warning.clone(),
    ]
}
