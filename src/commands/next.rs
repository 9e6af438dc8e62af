//! `quorate next`: what an expression means and when it fires. Needs no server.

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, Utc};
use chrono_tz::Tz;
use common::{
    clock::{Clock as _, SystemClock},
    schedule::{self, Schedule, ScheduleError},
};

use crate::{
    cli::NextArgs,
    config::ClientSettings,
    exit::{BadInput, Exit},
    output::{Output, Table, relative},
};

pub(super) fn run(args: &NextArgs, settings: &ClientSettings) -> anyhow::Result<Exit> {
    let now = SystemClock::start().context("start the clock")?.now();
    let from = args.from.as_deref().map_or(Ok(now), instant)?;
    let schedule = schedule::validate(&args.expressions, settings.zone, from, from)
        .map_err(|error| BadInput(explain(&error, args.expressions.len())))?;
    let instants = following(&schedule, from, args.count.into());
    let mut output = Output::new(settings.output);
    if output.is_json() {
        let texts: Vec<String> = instants.iter().map(|at| text(*at, settings.zone)).collect();
        output.json(&texts)?;
    } else {
        output.line(format_args!("{} ({})", schedule.describe(), settings.zone.name()))?;
        let mut table = Table::new(&["INSTANT", "DAY", "FROM NOW"]);
        for at in &instants {
            let local = at.with_timezone(&settings.zone);
            let instant = text(*at, settings.zone);
            let lies = relative(&instant, now);
            table.row([instant, local.format("%a").to_string(), lies]);
        }
        output.table(&table, "at no instant")?;
    }
    output.flush()?;
    Ok(Exit::Done)
}

fn following(schedule: &Schedule, from: DateTime<Utc>, count: usize) -> Vec<DateTime<Utc>> {
    std::iter::successors(schedule.next_after(from), |at| schedule.next_after(*at)).take(count).collect()
}

fn text(at: DateTime<Utc>, zone: Tz) -> String {
    at.with_timezone(&zone).to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn instant(text: &str) -> Result<DateTime<Utc>, BadInput> {
    DateTime::parse_from_rfc3339(text).map(|at| at.to_utc()).map_err(|error| {
        BadInput(format!(
            "--from: {text:?} is not an instant ({error}); use, for example, 2026-11-22T01:02:03Z"
        ))
    })
}

/// The error in lines: what is wrong where, what is allowed, what is right.
fn explain(error: &ScheduleError, given: usize) -> String {
    let place = error.field().map(|field| format!("{field}: ")).unwrap_or_default();
    let mut text = format!(
        "{:?}: {place}{:?} {}\nallowed: {}\nexample: {}",
        error.expression(),
        error.got(),
        error.problem(),
        error.allowed(),
        error.example()
    );
    if given > 1 {
        text.push_str("\nquote an expression, so that it is one argument: quorate next \"30 9 * * MON-FRI\"");
    }
    text
}
