//! `quorate run`: runs, and their output.

use std::{path::PathBuf, time::Duration};

use common::{
    api::{OutputView, RunView},
    clock::{Clock as _, SystemClock},
    job::{Delivery, Job},
    run::RunState,
};

use tokio::time::Instant;

use super::job_file;
use crate::{
    cli::{RunCommand, RunFilter},
    client::{Client, ClientError, PAGE},
    exit::{BadInput, Exit},
    output::{Output, Table, relative, visible},
    telemetry,
};

/// How long a manager is to wait for a followed run's output; the client's own limit is longer.
const WAIT: Duration = Duration::from_secs(10);

/// How long a run's record may be on its way from its worker's disk to the run log.
const RECORDED_WITHIN: Duration = Duration::from_secs(20);

/// How long an attempt's record may be seen before the next attempt is: the two are written to different stores. Longer
/// than a lease lasts, since a worker that comes back records its lost runs before others give them to somebody else.
const NEXT_WITHIN: Duration = Duration::from_secs(20);

/// The same for a task, whose next attempt stands in the store in the moment that the one before it leaves it: the
/// manager hears of both a little apart.
const NEXT_OF_TASK_WITHIN: Duration = Duration::from_secs(2);

/// Between two questions about a run that has no news.
const POLL: Duration = Duration::from_millis(200);

pub(super) async fn run(command: RunCommand, client: Client, mut output: Output) -> anyhow::Result<Exit> {
    match command {
        RunCommand::Submit { files, follow } => return submit(&client, &files, follow, &mut output).await,
        RunCommand::List(filter) => list(&client, &filter, &mut output).await?,
        RunCommand::Show { run } => {
            let view = client.run(&run).await.map_err(super::failed)?;
            if output.is_json() {
                output.json(&view)?;
            } else {
                let attempts = if view.attempts.is_empty() { vec![view.newest] } else { view.attempts };
                print(&attempts, &mut output)?;
            }
        }
        RunCommand::Logs { run, follow: true } => {
            let newest = client.run(&run).await.map_err(super::failed)?.newest.attempt;
            follow(&client, &run, newest, &mut output).await?;
        }
        RunCommand::Logs { run, follow: false } => {
            let attempt = client.run(&run).await.map_err(super::failed)?.newest.attempt;
            print_output(&client, &run, attempt, Until::Now, &mut output).await?;
        }
        RunCommand::Kill { run } => {
            client.kill_run(&run).await.map_err(super::failed)?;
            output.line(format_args!("asked run {run} to end"))?;
        }
    }
    output.flush()?;
    Ok(Exit::Done)
}

/// Hands in the tasks of these files, in order, until one is refused.
async fn submit(
    client: &Client,
    files: &[PathBuf],
    follow: bool,
    output: &mut Output,
) -> anyhow::Result<Exit> {
    let mut tasks = Vec::new();
    for file in files {
        tasks.extend(job_file::tasks(file, &job_file::read(file)?)?);
    }
    if follow && tasks.len() > 1 {
        return Err(BadInput(format!("--follow is for one task, and there are {}", tasks.len())).into());
    }
    for task in &tasks {
        let requested = client.submit(task).await.map_err(super::failed)?;
        if follow {
            return until_ended(client, &requested.run, output).await;
        }
        if output.is_json() {
            output.json(&requested)?;
        } else {
            output.line(format_args!("run {} is queued", requested.run))?;
        }
    }
    output.flush()?;
    Ok(Exit::Done)
}

/// Follows a run that was just asked for to its end.
pub(super) async fn until_ended(client: &Client, run: &str, output: &mut Output) -> anyhow::Result<Exit> {
    // It may have ended before its record is there, and may be at its second attempt before it is asked for.
    until_recorded(RECORDED_WITHIN, async || client.run(run).await).await.map_err(super::failed)?;
    let view = follow(client, run, 1, output).await?;
    output.flush()?;
    let reason = if view.reason.is_empty() { &view.err } else { &view.reason };
    telemetry::say(format_args!("run {} {} {}", view.run, view.state, visible(reason)));
    Ok(if view.state == RunState::Succeeded { Exit::Done } else { Exit::Failed })
}

/// Prints the newest runs that match.
pub(super) async fn list(client: &Client, filter: &RunFilter, output: &mut Output) -> anyhow::Result<()> {
    if let Some(state) = &filter.state {
        state.parse::<RunState>().map_err(|error| BadInput(format!("--state: {error}")))?;
    }
    let given = [
        ("job", &filter.job),
        ("task", &filter.task),
        ("state", &filter.state),
        ("worker", &filter.worker),
        ("from", &filter.from),
        ("to", &filter.to),
    ];
    let query: Vec<(&str, &str)> =
        given.iter().filter_map(|(key, value)| Some((*key, value.as_deref()?))).collect();
    let mut runs = Vec::new();
    let mut after: Option<String> = None;
    let limit = filter.limit as usize;
    while runs.len() < limit {
        let wanted = u32::try_from(limit - runs.len()).unwrap_or(PAGE).min(PAGE);
        let page = client.runs(&query, wanted, after.as_deref()).await.map_err(super::failed)?;
        let is_empty = page.items.is_empty();
        runs.extend(page.items);
        after = page.next;
        if after.is_none() || is_empty {
            break;
        }
    }
    runs.truncate(limit);
    if output.is_json() { output.json(&runs) } else { print(&runs, output) }
}

fn print(runs: &[RunView], output: &mut Output) -> anyhow::Result<()> {
    let now = SystemClock::start()?.now();
    let mut table = Table::new(&[
        "RUN", "JOB", "ATTEMPT", "STATE", "EXIT", "TICK", "STARTED", "TOOK", "WORKER", "REASON",
    ]);
    for run in runs {
        let exit = run.exit_code.map(|code| code.to_string());
        let signal = run.signal.map(|signal| format!("signal {signal}"));
        table.row([
            run.run.clone(),
            if run.task { format!("{} (task)", run.job) } else { run.job.clone() },
            run.attempt.to_string(),
            run.state.to_string(),
            exit.or(signal).unwrap_or_default(),
            run.tick.clone().unwrap_or_default(),
            run.started.as_deref().map(|at| relative(at, now)).unwrap_or_default(),
            took(run),
            run.worker.clone(),
            if run.reason.is_empty() { run.err.clone() } else { run.reason.clone() },
        ]);
    }
    output.table(&table, "no runs")
}

/// How long it ran, if it did.
fn took(run: &RunView) -> String {
    let instant = |text: &Option<String>| chrono::DateTime::parse_from_rfc3339(text.as_deref()?).ok();
    match (instant(&run.started), instant(&run.ended)) {
        (Some(started), Some(ended)) => {
            format!("{:.1}s", (ended - started).as_seconds_f64())
        }
        _ => String::new(),
    }
}

/// Prints a run's output as it comes, from this attempt on, one attempt after the other, and tells its end.
async fn follow(client: &Client, run: &str, first: u32, output: &mut Output) -> anyhow::Result<RunView> {
    let mut attempt = first;
    loop {
        print_output(client, run, attempt, Until::Complete, output).await?;
        let newest = next_or_end(client, run, attempt).await?;
        if newest.attempt <= attempt {
            return Ok(newest);
        }
        attempt += 1;
        output.flush()?;
        telemetry::say(format_args!("(attempt {attempt} follows)"));
    }
}

/// How much of an attempt's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// What there is.
    Now,
    /// All there will be.
    Complete,
}

/// Prints the output of one attempt. It is asked for by its number: offsets count within an attempt, and the newest one
/// may be another at any time.
async fn print_output(
    client: &Client,
    run: &str,
    attempt: u32,
    until: Until,
    output: &mut Output,
) -> anyhow::Result<()> {
    let wait = if until == Until::Complete { WAIT } else { Duration::ZERO };
    let mut from = 0;
    let mut has_gap = false;
    loop {
        let asked =
            until_recorded(RECORDED_WITHIN, async || client.output(run, attempt, from, wait).await).await;
        let view = match asked {
            Err(error) if error.is_not_found() => {
                let newest = client.run(run).await.map_err(super::failed)?.newest.attempt;
                if newest <= attempt {
                    return Err(super::failed(error));
                }
                // What was lost of this one must not hide those behind it.
                output.flush()?;
                telemetry::say(format_args!("(the output of attempt {attempt} is not in the run log yet)"));
                return Ok(());
            }
            asked => asked.map_err(super::failed)?,
        };
        // The worker executes the next one already, and the manager does not know that yet.
        if view.attempt != attempt {
            if until == Until::Now {
                output.flush()?;
                telemetry::say(format_args!(
                    "(attempt {attempt} has ended, and its output is not in the run log yet)"
                ));
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
            continue;
        }
        print_part(&view, output)?;
        output.flush()?;
        has_gap |= view.gap.is_some();
        let came = view.next > from;
        from = view.next.max(from);
        if view.complete && view.truncated > 0 && !has_gap {
            telemetry::say(format_args!(
                "({} bytes more were thrown away at the output's limit)",
                view.truncated
            ));
        }
        if view.complete || (until == Until::Now && !came) {
            return Ok(());
        }
        if !came {
            // A manager that does not wait is not to be asked without end.
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Prints output, with a line of its own that tells what is missing where it is.
fn print_part(view: &OutputView, output: &mut Output) -> anyhow::Result<()> {
    let Some(gap) = view.gap else { return output.bytes(view.output.as_bytes()) };
    let at = usize::try_from(gap.at).unwrap_or(usize::MAX).min(view.output.len());
    let (before, behind) = view.output.as_bytes().split_at(at);
    output.bytes(before)?;
    let line_end = if before.is_empty() || before.ends_with(b"\n") { "" } else { "\n" };
    output.bytes(format!("{line_end}{}\n", gap.line()).as_bytes())?;
    output.bytes(behind)
}

/// Asks for a run that was there: when it has ended and its record is on its way, nobody knows it for a moment.
async fn until_recorded<T>(
    patience: Duration,
    ask: impl AsyncFn() -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let begun = Instant::now();
    loop {
        match ask().await {
            Err(error) if error.is_not_found() && begun.elapsed() < patience => {
                tokio::time::sleep(POLL).await;
            }
            answer => return answer,
        }
    }
}

/// Waits until a run whose output up to this attempt is complete has another attempt, or has ended, and tells it.
async fn next_or_end(client: &Client, run: &str, attempt: u32) -> anyhow::Result<RunView> {
    let mut ended: Option<Instant> = None;
    loop {
        let newest = until_recorded(RECORDED_WITHIN, async || client.run(run).await)
            .await
            .map_err(super::failed)?
            .newest;
        if newest.attempt > attempt {
            return Ok(newest);
        }
        if newest.state.is_final() {
            let since = *ended.get_or_insert_with(Instant::now);
            let within = if newest.task { NEXT_OF_TASK_WITHIN } else { NEXT_WITHIN };
            if since.elapsed() >= within || !may_go_on(client, &newest).await.map_err(super::failed)? {
                return Ok(newest);
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

/// True: what ended may be followed by another attempt that is not to be seen yet.
async fn may_go_on(client: &Client, ended: &RunView) -> Result<bool, ClientError> {
    if !matches!(ended.state, RunState::Failed | RunState::TimedOut | RunState::Lost) {
        return Ok(false);
    }
    if ended.task {
        return Ok(true);
    }
    match client.job(&ended.job).await {
        Ok(view) => Ok(has_attempts_left(&view.job, ended)),
        // Deleted, or not to be read: it has no attempts.
        Err(ClientError::Refused(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// True: the worker that ended it so wants another attempt, unless somebody killed it, which is not known here.
fn has_attempts_left(job: &Job, ended: &RunView) -> bool {
    match ended.state {
        RunState::Failed | RunState::TimedOut => {
            let on = &job.retry.on;
            let is_wanted = if on.is_empty() {
                job.driver.is_retryable(ended.exit_code)
            } else {
                ended.exit_code.is_some_and(|code| on.contains(&code))
            };
            is_wanted && ended.attempt < job.retry.attempts
        }
        RunState::Lost => job.delivery == Delivery::AtLeastOnce,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use common::run::Cause;
    use serde_json::json;

    use super::*;

    fn ended(state: RunState, attempt: u32, exit_code: Option<i32>) -> RunView {
        RunView {
            run: "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b".to_owned(),
            job: "a".to_owned(),
            task: false,
            attempt,
            state,
            trigger: Cause::Manual,
            tick: None,
            worker: "w".to_owned(),
            fence: 1,
            planned: None,
            claimed: None,
            started: None,
            ended: None,
            exit_code,
            signal: None,
            err: String::new(),
            reason: String::new(),
            command: String::new(),
        }
    }

    #[test]
    fn a_failed_attempt_is_the_end_when_the_job_has_no_other() {
        let job = |more: serde_json::Value| {
            let mut job =
                json!({"name": "a", "trigger": {"manual": true}, "driver": {"shell": {"command": "x"}}});
            job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            Job::from_value(job).unwrap()
        };
        let twice = json!({"retry": {"attempts": 2, "on": [75]}});
        let again = json!({"delivery": "at-least-once"});
        for (more, state, attempt, exit_code, expected) in [
            (json!({}), RunState::Failed, 1, Some(75), false),
            (twice.clone(), RunState::Failed, 1, Some(75), true),
            (twice.clone(), RunState::Failed, 1, Some(3), false),
            (twice.clone(), RunState::Failed, 2, Some(75), false),
            (twice.clone(), RunState::Succeeded, 1, Some(0), false),
            (twice.clone(), RunState::Killed, 1, None, false),
            (twice, RunState::Lost, 1, None, false),
            (json!({"retry": {"attempts": 2}}), RunState::TimedOut, 1, None, true),
            (again.clone(), RunState::Lost, 7, None, true),
            (again, RunState::Failed, 1, Some(1), false),
        ] {
            let ended = ended(state, attempt, exit_code);
            assert_eq!(has_attempts_left(&job(more.clone()), &ended), expected, "{more}: {ended:?}");
        }
    }
}
