//! `quorate run`: runs, and their output.

use std::time::Duration;

use common::{
    api::RunView,
    clock::{Clock as _, SystemClock},
    run::RunState,
};

use tokio::time::Instant;

use crate::{
    cli::{RunCommand, RunFilter},
    client::{Client, ClientError, PAGE},
    exit::{BadInput, Exit},
    output::{Output, Table, relative},
};

/// How long a manager is to wait for a followed run's output; the client's own limit is longer.
const WAIT: Duration = Duration::from_secs(10);

/// How long a run's record may be on its way from its worker's disk to the run log.
const RECORDED_WITHIN: Duration = Duration::from_secs(20);

/// Between two questions about a run that has no news.
const POLL: Duration = Duration::from_millis(200);

pub(super) async fn run(command: RunCommand, client: Client, mut output: Output) -> anyhow::Result<Exit> {
    match command {
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
        RunCommand::Logs { run, follow } => logs(&client, &run, follow, &mut output).await?,
        RunCommand::Kill { run } => {
            client.kill_run(&run).await.map_err(super::failed)?;
            output.line(format_args!("asked for the end of run {run}"))?;
        }
    }
    output.flush()?;
    Ok(Exit::Done)
}

/// Prints the newest runs that match.
pub(super) async fn list(client: &Client, filter: &RunFilter, output: &mut Output) -> anyhow::Result<()> {
    if let Some(state) = &filter.state {
        state.parse::<RunState>().map_err(|error| BadInput(format!("--state: {error}")))?;
    }
    let given = [
        ("job", &filter.job),
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
            run.job.clone(),
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

/// Prints a run's output: what there is, or all there will be.
pub(super) async fn logs(
    client: &Client,
    run: &str,
    follow: bool,
    output: &mut Output,
) -> anyhow::Result<()> {
    let mut from = 0;
    let mut seen = false;
    loop {
        let wait = if follow { WAIT } else { Duration::ZERO };
        let patience = if seen { RECORDED_WITHIN } else { Duration::ZERO };
        let view = until_recorded(patience, async || client.output(run, from, wait).await)
            .await
            .map_err(super::failed)?;
        seen = true;
        output.bytes(view.output.as_bytes())?;
        let came = view.next > from;
        from = view.next.max(from);
        if came {
            if follow {
                output.flush()?;
            }
            continue;
        }
        if view.complete && view.truncated > 0 {
            output.flush()?;
            eprintln!("({} bytes more were thrown away at the output's limit)", view.truncated);
        }
        if view.complete || !follow {
            return Ok(());
        }
        // A manager that does not wait is not to be asked without end.
        tokio::time::sleep(POLL).await;
    }
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

/// Waits for a run's end, and tells it.
pub(super) async fn end(client: &Client, run: &str) -> anyhow::Result<RunView> {
    loop {
        let view = until_recorded(RECORDED_WITHIN, async || client.run(run).await)
            .await
            .map_err(super::failed)?
            .newest;
        if view.state.is_final() {
            return Ok(view);
        }
        tokio::time::sleep(POLL).await;
    }
}
