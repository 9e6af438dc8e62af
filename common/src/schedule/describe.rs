//! A schedule in English: "at 09:30 on weekdays". Made from the values, not the text, so that it says what
//! will happen: `*/25` is "at minutes 0, 25 and 50 of every hour", not "every 25 minutes".

use super::calendar::{Days, Expression, Years, bits};
use super::field::{FIRST_YEAR, LAST_YEAR};
use super::{Part, to_instant};

/// More times of day than this are given as minutes and hours.
const MAX_TIMES: u64 = 6;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const SUNDAY: u8 = 1;
const SATURDAY: u8 = 1 << 6;

pub(super) fn part(part: &Part) -> String {
    match part {
        Part::Cron(expression) => cron(expression),
        Part::Every { period, .. } => every(*period),
        Part::At(at) => match to_instant(*at) {
            Some(at) => format!("once, at {}", at.format("%Y-%m-%d %H:%M:%S UTC")),
            None => "never".to_owned(),
        },
        Part::Reboot => "at boot of each worker".to_owned(),
    }
}

fn every(period: i64) -> String {
    match period {
        _ if period % 3_600 == 0 => rhythm(period / 3_600, "hour"),
        _ if period % 60 == 0 => rhythm(period / 60, "minute"),
        _ => rhythm(period, "second"),
    }
}

fn rhythm(count: i64, unit: &str) -> String {
    if count == 1 { format!("every {unit}") } else { format!("every {count} {unit}s") }
}

fn cron(expression: &Expression) -> String {
    let (time, is_times) = time(expression);
    let mut text = time;
    let days = days(&expression.days);
    match &days {
        Some(days) => text = format!("{text} {days}"),
        None if is_times => text += " every day",
        None => {}
    }
    let months: Vec<u32> = bits(u64::from(expression.months)).collect();
    if months.len() < 12 {
        text = format!("{text} in {}", ranges(&months, |month| MONTHS[month as usize - 1].to_owned()));
    }
    let years: Vec<u32> = expression.years.iter().collect();
    if !is_every_year(&expression.years) {
        text = format!("{text} in {}", ranges(&years, |year| year.to_string()));
    }
    text
}

fn is_every_year(years: &Years) -> bool {
    years.iter().eq(FIRST_YEAR..=LAST_YEAR)
}

/// The time of day, and whether it is a list of times rather than a rhythm.
fn time(expression: &Expression) -> (String, bool) {
    let seconds = Set::new(expression.seconds, 60);
    let minutes = Set::new(expression.minutes, 60);
    let hours = Set::new(u64::from(expression.hours), 24);
    if hours.is_full() && minutes.is_full() {
        return (seconds.on_its_own("second", "minute", "every minute"), false);
    }
    let at_one_second = seconds.values.len() == 1 && minutes.values.len() == 1;
    if !seconds.is_only_zero() && !at_one_second {
        return (precise(&seconds, &minutes, &hours), false);
    }
    let second = seconds.values.first().copied().unwrap_or(0);
    if expression.times_per_day() <= MAX_TIMES && !(hours.step() > 1 && expression.hour_is_open) {
        return (times(&minutes, &hours, second), true);
    }
    if second != 0 {
        return (precise(&seconds, &minutes, &hours), false);
    }
    if hours.is_full() {
        return (minutes.on_its_own("minute", "hour", "every hour"), false);
    }
    let hours_step = i64::from(hours.step());
    if hours_step > 0 && minutes.values.len() == 1 {
        let every = rhythm(hours_step, "hour");
        let text =
            if minutes.is_only_zero() { every } else { format!("{every} at minute {}", minutes.list()) };
        return (text, false);
    }
    (within(&minutes, &hours), false)
}

/// Hours × minutes as clock times.
fn times(minutes: &Set, hours: &Set, second: u32) -> String {
    let clock = |hour: u32, minute: u32| match second {
        0 => format!("{hour:02}:{minute:02}"),
        _ => format!("{hour:02}:{minute:02}:{second:02}"),
    };
    let times =
        hours.values.iter().flat_map(|hour| minutes.values.iter().map(move |minute| clock(*hour, *minute)));
    format!("at {}", join(&times.collect::<Vec<_>>()))
}

/// Minutes of some of the hours.
fn within(minutes: &Set, hours: &Set) -> String {
    let what = match i64::from(minutes.step()) {
        0 if minutes.is_only_zero() => "every hour".to_owned(),
        0 => format!("at {} {} of every hour", minutes.noun("minute"), minutes.list()),
        step => rhythm(step, "minute"),
    };
    let (first, last) = (hours.values[0], hours.values[hours.values.len() - 1]);
    if last - first + 1 == hours.values.len() as u32 {
        let end = minutes.values[minutes.values.len() - 1];
        return format!("{what} from {first:02}:{:02} to {last:02}:{end:02}", minutes.values[0]);
    }
    format!("{what} in the {} {}", hours.noun("hour"), hours.list())
}

/// Every field by its name, for what has no idiom.
fn precise(seconds: &Set, minutes: &Set, hours: &Set) -> String {
    let mut text = seconds.on_its_own("second", "minute", "every minute");
    if !minutes.is_full() {
        text += &format!(" in {} {}", minutes.noun("minute"), minutes.list());
    }
    if !hours.is_full() {
        text += &format!(" of {} {}", hours.noun("hour"), hours.list());
    } else if !minutes.is_full() {
        text += " of every hour";
    }
    text
}

fn days(days: &Days) -> Option<String> {
    let of_month = days.month_restricted.then(|| month_days(days));
    let of_week = days.week_restricted.then(|| week_days(days));
    match (of_month, of_week) {
        (Some(month), Some(week)) => Some(format!("{month}, and {week}")),
        (month, week) => month.or(week),
    }
}

fn month_days(days: &Days) -> String {
    let numbers: Vec<u32> = bits(u64::from(days.of_month)).collect();
    let mut parts = Vec::new();
    if !numbers.is_empty() {
        parts.push(format!("the {}", ranges(&numbers, ordinal)));
    }
    parts.extend(
        bits(u64::from(days.workdays)).map(|day| format!("the workday nearest the {}", ordinal(day))),
    );
    if days.last_workday {
        parts.push("the last workday".to_owned());
    }
    if days.last {
        parts.push("the last day".to_owned());
    }
    format!("on {} of the month", join(&parts))
}

fn week_days(days: &Days) -> String {
    let mut parts = Vec::new();
    match days.of_week {
        0 => {}
        0b111_1111 => parts.push("every day of the week".to_owned()),
        0b011_1110 => parts.push("weekdays".to_owned()),
        set if set == SUNDAY | SATURDAY => parts.push("weekends".to_owned()),
        // The week is read from Monday, so that FRI-SUN stays together.
        set => parts.extend(
            (1..=7)
                .map(|day| day % 7)
                .filter(|day| set >> day & 1 == 1)
                .map(|day| format!("{}s", WEEKDAYS[day])),
        ),
    }
    let of_month =
        |which: &str, weekday: u32| format!("the {which} {} of the month", WEEKDAYS[weekday as usize]);
    parts.extend(bits(days.nth_of_week).map(|index| of_month(&ordinal(index / 7 + 1), index % 7)));
    parts.extend(bits(u64::from(days.last_of_week)).map(|weekday| of_month("last", weekday)));
    format!("on {}", join(&parts))
}

/// The values of a field whose smallest is 0.
struct Set {
    values: Vec<u32>,
    size: u32,
}

impl Set {
    fn new(set: u64, size: u32) -> Set {
        Set { values: bits(set).collect(), size }
    }

    fn is_full(&self) -> bool {
        self.values.len() == self.size as usize
    }

    fn is_only_zero(&self) -> bool {
        self.values == [0]
    }

    /// The distance between values that are 0, n, 2n, … all around the clock; 0 when they are not.
    fn step(&self) -> u32 {
        let [0, step, ..] = *self.values else { return 0 };
        let regular = self.values.iter().copied().eq((0..self.size).step_by(step as usize));
        if regular && self.size.is_multiple_of(step) { step } else { 0 }
    }

    fn noun(&self, noun: &str) -> String {
        if self.values.len() == 1 { noun.to_owned() } else { format!("{noun}s") }
    }

    fn list(&self) -> String {
        ranges(&self.values, |value| value.to_string())
    }

    /// This field with the larger ones full: `on_zero` when it is 0 alone.
    fn on_its_own(&self, noun: &str, of: &str, on_zero: &str) -> String {
        match i64::from(self.step()) {
            0 if self.is_only_zero() => on_zero.to_owned(),
            0 => format!("at {} {} of every {of}", self.noun(noun), self.list()),
            step => rhythm(step, noun),
        }
    }
}

/// Ascending values in words, three or more in a row as "a to b".
fn ranges(values: &[u32], name: impl Fn(u32) -> String) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for value in values {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *value => *last = *value,
            _ => runs.push((*value, *value)),
        }
    }
    let words: Vec<String> = runs
        .into_iter()
        .flat_map(|(first, last)| match last - first {
            0 => vec![name(first)],
            1 => vec![name(first), name(last)],
            _ => vec![format!("{} to {}", name(first), name(last))],
        })
        .collect();
    join(&words)
}

fn join(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn ordinal(number: u32) -> String {
    let suffix = match (number % 10, number % 100) {
        (1, 1 | 21 | 31) => "st",
        (2, 2 | 22) => "nd",
        (3, 3 | 23) => "rd",
        _ => "th",
    };
    format!("{number}{suffix}")
}
