//! Text → expression. Our part is what the `cron` crate reads differently or not at all: how many fields
//! there are and what they mean, macros, names, weekday numbers, wrapped ranges, `L`, `W` and `#`. What is
//! left, plain ascending values, goes through the crate.

use std::str::FromStr;
use std::time::Duration;

use cron::TimeUnitSpec;

use super::calendar::{Days, Expression, Years};
use super::error::Fault;
use super::field::{Field, Item, LAST_YEAR, Span, parse_items};

/// A longer text is refused: the longest useful expression lists every value and has about 500 bytes.
pub const MAX_EXPRESSION_BYTES: usize = 1024;

const MACROS: [(&str, &str); 7] = [
    ("@yearly", "0 0 0 1 1 * *"),
    ("@annually", "0 0 0 1 1 * *"),
    ("@monthly", "0 0 0 1 * * *"),
    ("@weekly", "0 0 0 * * 0 *"),
    ("@daily", "0 0 0 * * * *"),
    ("@midnight", "0 0 0 * * * *"),
    ("@hourly", "0 0 * * * * *"),
];

/// What one expression of a list turns out to be.
#[derive(Debug)]
pub(super) enum Parsed {
    Cron(Expression),
    Every(i64),
    Reboot,
}

pub(super) fn parse(text: &str) -> Result<Parsed, Fault> {
    if text.len() > MAX_EXPRESSION_BYTES {
        return Err(Fault::of_whole(text, format!("is longer than {MAX_EXPRESSION_BYTES} bytes")));
    }
    let text = text.trim_ascii();
    if text.starts_with('@') { parse_macro(text) } else { parse_fields(text, text).map(Parsed::Cron) }
}

/// What stands in a field of a cron expression that was parsed before; none for a field left out.
pub(super) fn field_text(text: &str, field: Field) -> Option<&str> {
    let given = text.split_ascii_whitespace().count();
    let left_out = usize::from(given < 7);
    text.split_ascii_whitespace().nth((field as usize).checked_sub(left_out)?).filter(|_| given >= 5)
}

/// The whole seconds of a period, at least one.
pub(super) fn period_seconds(got: &str, period: Duration) -> Result<i64, Fault> {
    if period.as_secs() == 0 || period.subsec_nanos() != 0 {
        return Err(Fault::of_period(got, "is not a span of whole seconds, at least one"));
    }
    i64::try_from(period.as_secs()).map_err(|_| Fault::of_period(got, "is too long a span"))
}

fn parse_macro(text: &str) -> Result<Parsed, Fault> {
    if let Some((_, fields)) = MACROS.iter().find(|(name, _)| *name == text) {
        return parse_fields(text, fields).map(Parsed::Cron);
    }
    if text == "@reboot" {
        return Ok(Parsed::Reboot);
    }
    let (name, argument) = text.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((text, ""));
    if name == "@every" {
        let argument = argument.trim_ascii();
        if crate::span::names_calendar_unit(argument) {
            let problem = "names months or years, which have no fixed length (\"m\" is minutes)";
            return Err(Fault::of_period(argument, problem));
        }
        let period = humantime::parse_duration(argument)
            .map_err(|_| Fault::of_period(argument, "does not name a span of time"))?;
        return period_seconds(argument, period).map(Parsed::Every);
    }
    let known =
        |name: &str| name == "@every" || name == "@reboot" || MACROS.iter().any(|(known, _)| *known == name);
    let problem = if known(name) {
        "has text after the macro"
    } else if known(&name.to_ascii_lowercase()) {
        "is a macro that is written in lower case"
    } else {
        "is not a macro"
    };
    Err(Fault::of_whole(text, problem))
}

fn parse_fields(text: &str, fields: &str) -> Result<Expression, Fault> {
    let given: Vec<&str> = fields.split_ascii_whitespace().collect();
    let texts: [&str; 7] = match *given.as_slice() {
        [minute, hour, day, month, weekday] => ["0", minute, hour, day, month, weekday, "*"],
        [minute, hour, day, month, weekday, year] => ["0", minute, hour, day, month, weekday, year],
        [second, minute, hour, day, month, weekday, year] => {
            [second, minute, hour, day, month, weekday, year]
        }
        [] => return Err(Fault::of_whole(text, "is empty")),
        [_, .., _] if given.len() > 7 => {
            return Err(Fault::of_whole(given[7], format!("has {} fields, too many", given.len())));
        }
        _ => return Err(Fault::of_whole(text, format!("has {} of at least 5 fields", given.len()))),
    };
    let mut items: [Vec<Item>; 7] = Default::default();
    for (index, field) in Field::ALL.into_iter().enumerate() {
        items[index] = parse_items(field, texts[index]).map_err(|mut fault| {
            if field == Field::Year && given.len() == 6 {
                fault.problem +=
                    " (the last of 6 fields is the year: seconds need 7 fields, the second first)";
            }
            fault
        })?;
    }
    build(text, &items)
}

fn build(text: &str, items: &[Vec<Item>; 7]) -> Result<Expression, Fault> {
    let plain = Field::ALL.map(|field| plain_field(field, &items[field as usize]));
    let parsed =
        cron::Schedule::from_str(&plain.join(" ")).map_err(|_| Fault::of_whole(text, "is not understood"))?;
    let mut years = Years::default();
    parsed.years().iter().for_each(|year| years.insert(year));
    let minutes = collect(parsed.minutes(), 0);
    let hours = collect(parsed.hours(), 0) as u32;
    Ok(Expression {
        text: text.split_ascii_whitespace().collect::<Vec<_>>().join(" ").into(),
        seconds: collect(parsed.seconds(), 0),
        minutes,
        hours,
        months: collect(parsed.months(), 0) as u16,
        days: days(&parsed, &items[Field::DayOfMonth as usize], &items[Field::DayOfWeek as usize]),
        years,
        hour_is_open: is_open(&items[Field::Hour as usize]) || hours.count_ones() == 24,
        minute_is_open: is_open(&items[Field::Minute as usize]) || minutes.count_ones() == 60,
    })
}

fn days(parsed: &cron::Schedule, of_month: &[Item], of_week: &[Item]) -> Days {
    let has_plain = |field: Field, items: &[Item]| items.iter().any(|item| item.to_plain(field).is_some());
    let mut days = Days {
        month_restricted: !of_month.contains(&Item::All),
        of_month: 0,
        last: of_month.contains(&Item::LastDay),
        last_workday: of_month.contains(&Item::LastWorkday),
        workdays: 0,
        week_restricted: !of_week.contains(&Item::All),
        of_week: 0,
        last_of_week: 0,
        nth_of_week: 0,
    };
    if has_plain(Field::DayOfMonth, of_month) {
        days.of_month = collect(parsed.days_of_month(), 0) as u32;
    }
    if has_plain(Field::DayOfWeek, of_week) {
        days.of_week = collect(parsed.days_of_week(), 1) as u8;
    }
    for item in of_month.iter().chain(of_week) {
        match *item {
            Item::Workday(day) => days.workdays |= 1 << day,
            Item::LastWeekday(weekday) => days.last_of_week |= 1 << weekday,
            Item::NthWeekday(weekday, nth) => days.nth_of_week |= 1 << ((nth - 1) * 7 + weekday),
            Item::All | Item::Span(_) | Item::LastDay | Item::LastWorkday => {}
        }
    }
    days
}

/// A field for the `cron` crate; one that holds only what the crate does not know is `*` there, unread. Of several items
/// each value is given once: ranges that wrap would become sixty numbers each, and the crate takes its time with them.
fn plain_field(field: Field, items: &[Item]) -> String {
    let all = "*".to_owned();
    match items {
        [item] => item.to_plain(field).unwrap_or(all),
        items if items.contains(&Item::All) => Item::All.to_plain(field).unwrap_or(all),
        items => {
            let mut named = [false; LAST_YEAR as usize + 1];
            let values = items.iter().filter_map(|item| item.values(field)).flatten();
            values.for_each(|value| named[value as usize] = true);
            let shift = usize::from(field == Field::DayOfWeek);
            let named = named.iter().enumerate().filter(|(_, named)| **named);
            let plain: Vec<String> = named.map(|(value, _)| (value + shift).to_string()).collect();
            if plain.is_empty() { all } else { plain.join(",") }
        }
    }
}

fn collect(values: &impl TimeUnitSpec, first: u32) -> u64 {
    values.iter().fold(0, |set, value| set | 1 << (value - first))
}

fn is_open(items: &[Item]) -> bool {
    items.iter().any(|item| matches!(item, Item::All | Item::Span(Span { open: true, .. })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_ranges_are_no_more_than_the_values_that_they_name() {
        let plain = |field, text: &str| plain_field(field, &parse_items(field, text).unwrap());
        assert_eq!(plain(Field::Minute, "58-1,0-2,59"), "0,1,2,58,59");
        assert_eq!(plain(Field::DayOfWeek, "SAT-MON,7,2"), "1,2,3,7");
        assert_eq!(plain(Field::DayOfMonth, "L,15W"), "*");
        assert_eq!(plain(Field::Year, "2026-2028,*"), "1970-2099");
        let many = vec!["9-8"; 250].join(",");
        assert_eq!(plain(Field::Minute, &many), plain(Field::Minute, "9-8,9"));
        assert!(plain(Field::Minute, &many).len() < 200);
    }
}
