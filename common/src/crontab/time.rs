//! An entry's times as cron reads them, and the expression that means the same here.
//!
//! The dialects differ in three places. cron accepts steps that are larger than the field. It combines the day fields
//! with AND when one of them *begins* with `*` (`*/2` does), where ours does when one of them *is* `*`. And the crons
//! do not agree on `5/10`. The sets of instants are compared, and where they are equal the expression stays as
//! written.

use chrono::DateTime;
use chrono_tz::Tz;

use crate::schedule::Schedule;

/// cron's names of schedules that are not ours.
const FOREIGN_MACROS: [(&str, &str); 2] =
    [("@every_minute", "* * * * *"), ("@every_second", "* * * * * * *")];

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// The range of a field, and the names of its values.
struct Range {
    low: u32,
    high: u32,
    names: &'static [&'static str],
}

const RANGES: [Range; 5] = [
    Range { low: 0, high: 59, names: &[] },
    Range { low: 0, high: 23, names: &[] },
    Range { low: 1, high: 31, names: &[] },
    Range { low: 1, high: 12, names: &MONTHS },
    Range { low: 0, high: 7, names: &WEEKDAYS },
];

const DAY: usize = 2;
const WEEKDAY: usize = 4;
const ALL_DAYS: u64 = (1 << 32) - 2;
const ALL_WEEKDAYS: u64 = (1 << 7) - 1;

/// A field's values, as cron reads it.
#[derive(Debug)]
struct Set {
    values: u64,
    /// A step larger than the field, which is refused here.
    long_step: bool,
    /// `a/n`, on which the crons do not agree.
    lone_step: bool,
}

/// The expression that fires here when cron would run these times.
pub(super) fn expression(times: &[String], notes: &mut Vec<String>) -> Result<String, String> {
    let text = times.join(" ");
    if text.contains('~') {
        return Err(format!(
            "{text:?} leaves a time to chance ('~'), which cronie draws again at each start: write the time that you want"
        ));
    }
    if times.len() == 1 {
        return from_macro(&text, notes);
    }
    let sets: Option<Vec<Set>> =
        times.iter().zip(&RANGES).map(|(field, range)| read_field(field, range)).collect();
    let Some(sets) = sets else {
        parse(&text)?;
        notes.push("cron itself would refuse these times; they are taken as Quorate reads them".to_owned());
        return Ok(text);
    };
    let mut fields = times.to_vec();
    for (n, set) in sets.iter().enumerate() {
        if set.lone_step {
            notes.push(format!(
                "{:?}: crons read it differently (some refuse it, some take only its first value); here it steps on to the end",
                times[n]
            ));
        }
        if set.long_step {
            fields[n] = list(set.values);
            notes.push(format!(
                "{:?} is written {:?}: the step is larger than the field",
                times[n], fields[n]
            ));
        }
    }
    settle_days(times, &sets, &mut fields, notes)?;
    let settled = fields.join(" ");
    parse(&settled)?;
    Ok(settled)
}

fn from_macro(text: &str, notes: &mut Vec<String>) -> Result<String, String> {
    if let Some((_, fields)) = FOREIGN_MACROS.iter().find(|(name, _)| *name == text) {
        notes.push(format!("{text} is written {fields:?}"));
        return Ok((*fields).to_owned());
    }
    if text == "@reboot" {
        notes.push(
            "runs on every worker, once at each boot of its machine: for this machine alone, require a label that only its worker has"
                .to_owned(),
        );
    }
    parse(text)?;
    Ok(text.to_owned())
}

fn parse(text: &str) -> Result<(), String> {
    Schedule::cron(&[text], Tz::UTC, DateTime::UNIX_EPOCH).map(drop).map_err(|error| error.to_string())
}

/// Rewrites the day fields where cron combines them otherwise.
fn settle_days(
    times: &[String],
    sets: &[Set],
    fields: &mut [String],
    notes: &mut Vec<String>,
) -> Result<(), String> {
    let (days, weekdays) = (sets[DAY].values, sets[WEEKDAY].values);
    let stars = times[DAY].starts_with('*') || times[WEEKDAY].starts_with('*');
    let is_open = |field: &str| field.split(',').any(|item| item == "*");
    let either = !is_open(&fields[DAY]) && !is_open(&fields[WEEKDAY]);
    let (all_days, all_weekdays) = (days == ALL_DAYS, weekdays == ALL_WEEKDAYS);
    // What `*` in a list hides, and what a whole field under AND means, is `*`.
    let (day, weekday) = match (stars, all_days, all_weekdays) {
        (true, false, false) => {
            // Both of them cut days out, and cron wants both: only AND could say it.
            return Err(format!(
                "cron runs {:?} on days that match both day fields, because one begins with '*'; here either suffices, so \
                 keep one of them and test the other in the command, such as [ \"$(date +\\%u)\" = 1 ] && …",
                times.join(" ")
            ));
        }
        (true, true, _) => ("*", fields[WEEKDAY].clone()),
        (true, false, true) => (fields[DAY].as_str(), "*".to_owned()),
        (false, false, false) if either => return Ok(()),
        (false, ..) => ("*", "*".to_owned()),
    };
    let (day, weekday) = (day.to_owned(), if all_weekdays { "*".to_owned() } else { weekday });
    let same = |before: &str, after: &str| before == after || is_open(before) && after == "*";
    let unchanged = same(&fields[DAY], &day) && same(&fields[WEEKDAY], &weekday);
    if !(unchanged || all_days && all_weekdays) {
        notes.push(format!(
            "the days {:?} and {:?} are written {day:?} and {weekday:?}, which means here what cron makes of them",
            times[DAY], times[WEEKDAY]
        ));
    }
    fields[DAY] = day;
    fields[WEEKDAY] = weekday;
    Ok(())
}

/// The values of a field in cron's grammar; none if cron would refuse it.
fn read_field(text: &str, range: &Range) -> Option<Set> {
    let mut set = Set { values: 0, long_step: false, lone_step: false };
    for item in text.split(',') {
        let (span, step) = match item.split_once('/') {
            Some((span, step)) => (span, Some(number(step)?)),
            None => (item, None),
        };
        let (first, last) = if span == "*" {
            (range.low, range.high)
        } else if let Some((first, last)) = span.split_once('-') {
            (value(first, range)?, value(last, range)?)
        } else {
            let first = value(span, range)?;
            set.lone_step |= step.is_some();
            (first, if step.is_some() { range.high } else { first })
        };
        if first > last || step == Some(0) {
            return None;
        }
        let step = step.unwrap_or(1);
        // The largest step that is taken here; 7 is a second Sunday, not a value more.
        set.long_step |= step > if range.high == 7 { 6 } else { range.high };
        for value in (first..=last).step_by(usize::try_from(step).ok()?) {
            set.values |= 1 << value;
        }
    }
    if range.high == 7 && set.values & (1 << 7) != 0 {
        set.values = set.values & ALL_WEEKDAYS | 1;
    }
    Some(set)
}

fn value(text: &str, range: &Range) -> Option<u32> {
    let named = range.names.iter().position(|name| name.eq_ignore_ascii_case(text));
    let value = match named {
        Some(position) => u32::try_from(position).ok()? + range.low,
        None => number(text)?,
    };
    (range.low..=range.high).contains(&value).then_some(value)
}

fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Values as a list of single ones and ranges.
fn list(values: u64) -> String {
    let mut items: Vec<String> = Vec::new();
    let mut value = 0;
    while value < 64 {
        if values >> value & 1 == 0 {
            value += 1;
            continue;
        }
        let first = value;
        while value < 64 && values >> value & 1 == 1 {
            value += 1;
        }
        items.push(if value - first == 1 { first.to_string() } else { format!("{first}-{}", value - 1) });
    }
    items.join(",")
}
