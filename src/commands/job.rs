//! `quorate job`: definitions of jobs, and what can be asked of them.

use std::{collections::HashSet, path::PathBuf};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use common::{
    api::JobView,
    clock::{Clock as _, SystemClock},
    run::RunState,
};
use serde_json::{Value, json};

use super::{failed, job_file};
use crate::{
    cli::{JobCommand, RunFilter},
    client::{Client, Existing, Saved, in_requests},
    exit::{BadInput, Exit},
    output::{Output, Table, relative, visible},
};

pub(super) async fn run(command: JobCommand, client: Client, mut output: Output) -> anyhow::Result<Exit> {
    let exit = match command {
        JobCommand::Save { files } => save(&client, &files, &mut output).await?,
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
        "kill" => "asked for the end of its runs",
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
    super::run::logs(client, &requested.run, true, output).await?;
    output.flush()?;
    let view = super::run::end(client, &requested.run).await?;
    let reason = if view.reason.is_empty() { &view.err } else { &view.reason };
    eprintln!("run {} {} {}", view.run, view.state, visible(reason));
    Ok(if view.state == RunState::Succeeded { Exit::Done } else { Exit::Failed })
}

async fn save(client: &Client, files: &[PathBuf], output: &mut Output) -> anyhow::Result<Exit> {
    let (mut names, mut jobs) = (Vec::new(), Vec::new());
    for file in files {
        for (name, job) in job_file::jobs(file, &job_file::read(file)?)? {
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
    let total = jobs.len();
    let (mut exit, mut reports, mut names) = (Exit::Done, Vec::new(), names.into_iter());
    for request in in_requests(&jobs) {
        let saves = client
            .save_jobs(request, Existing::Replace)
            .await
            .with_context(|| format!("{} of {total} jobs were not saved", total - count_saved(&reports)))?;
        for (name, saved) in names.by_ref().take(request.len()).zip(saves) {
            let report = match saved {
                Ok(saved) => json!({"job": name, "result": word(saved)}),
                Err(error) => {
                    exit = exit.and(if error.is_bad_input() { Exit::BadInput } else { Exit::Failed });
                    json!({"job": name, "result": "refused", "error": error.to_string()})
                }
            };
            if !output.is_json() {
                say(output, &report)?;
            }
            reports.push(report);
        }
    }
    if output.is_json() {
        output.json(&reports)?;
    }
    Ok(exit)
}

pub(super) const fn word(saved: Saved) -> &'static str {
    match saved {
        Saved::Created => "created",
        Saved::Replaced => "replaced",
    }
}

fn count_saved(reports: &[Value]) -> usize {
    reports.iter().filter(|report| report["result"] != "refused").count()
}

/// Good news on standard output, bad news beside it.
fn say(output: &mut Output, report: &Value) -> anyhow::Result<()> {
    let name = visible(report["job"].as_str().unwrap_or_default());
    match report["error"].as_str() {
        Some(error) => {
            output.flush()?;
            eprintln!("error: {name}: {}", error.replace('\n', "\n       "));
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
