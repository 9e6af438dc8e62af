//! Cron's fields read the slow way: sets of numbers, looked up. It shares nothing with the code that it judges, and
//! knows numbers, `*`, lists, ascending ranges and steps only: of anything else it says nothing.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, NaiveDateTime, Timelike, Utc};

/// Second, minute, hour, day of month, month, weekday and year: smallest and largest value.
const LIMITS: [(u32, u32); 7] = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 7), (1970, 2099)];

const DAY: usize = 3;
const WEEKDAY: usize = 5;

/// How the two day fields are combined.
#[derive(Clone, Copy, Debug)]
pub enum Days {
    /// Either suffices, unless one of them has an item `*`.
    Quorate,
    /// Either suffices, unless one of them begins with `*`.
    Cron,
}

/// An expression as sets of values.
#[derive(Debug)]
pub struct Times {
    values: Vec<BTreeSet<u32>>,
    either: bool,
}

impl Times {
    /// Reads an expression of 5, 6 or 7 fields; none if it is not of the kind that is understood here.
    pub fn read(text: &str, days: Days) -> Option<Self> {
        let given: Vec<&str> = text.split_ascii_whitespace().collect();
        let mut fields = given.clone();
        if given.len() < 7 {
            fields.insert(0, "0");
        }
        if given.len() == 5 {
            fields.push("*");
        }
        if !(5..=7).contains(&given.len()) {
            return None;
        }
        let is_open = |field: &str| match days {
            Days::Quorate => field.split(',').any(|item| item == "*"),
            Days::Cron => field.starts_with('*'),
        };
        let either = !is_open(fields[DAY]) && !is_open(fields[WEEKDAY]);
        let values = fields.iter().zip(LIMITS).map(|(field, limits)| read_field(field, limits, days));
        Some(Self { values: values.collect::<Option<_>>()?, either })
    }

    /// Whether a clock in UTC that shows this is one of its times.
    pub fn has(&self, at: DateTime<Utc>) -> bool {
        let at: NaiveDateTime = at.naive_utc();
        let Ok(year) = u32::try_from(at.year()) else { return false };
        let shown = [
            at.second(),
            at.minute(),
            at.hour(),
            at.day(),
            at.month(),
            at.weekday().num_days_from_sunday(),
            year,
        ];
        let has = |field: usize| self.values[field].contains(&shown[field]);
        let day = if self.either { has(DAY) || has(WEEKDAY) } else { has(DAY) && has(WEEKDAY) };
        day && [0, 1, 2, 4, 6].into_iter().all(has)
    }
}

fn read_field(text: &str, (low, high): (u32, u32), days: Days) -> Option<BTreeSet<u32>> {
    let number = |text: &str| {
        let digits = if high == 2099 { 4..=4 } else { 1..=2 };
        let fits = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u32>().ok().filter(|_| fits)
    };
    let value = |text: &str| number(text).filter(|value| (low..=high).contains(value));
    let mut values = BTreeSet::new();
    for item in text.split(',') {
        let (span, step) = match item.split_once('/') {
            Some((span, step)) => (span, number(step).filter(|step| *step > 0)?),
            None => (item, 1),
        };
        let last = if high == 7 { 6 } else { high };
        let (first, last) = match span.split_once('-') {
            _ if span == "*" => (low, last),
            Some((first, last)) => (value(first)?, value(last)?),
            // The crons do not agree on what it is.
            None if item.contains('/') && matches!(days, Days::Cron) => return None,
            None if item.contains('/') => (value(span)? % if high == 7 { 7 } else { u32::MAX }, last),
            None => (value(span)?, value(span)?),
        };
        if first > last {
            return None;
        }
        let of_field = (first..=last).step_by(step as usize);
        values.extend(of_field.map(|value| if high == 7 { value % 7 } else { value }));
    }
    Some(values)
}
