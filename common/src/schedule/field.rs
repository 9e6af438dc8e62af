//! One field of an expression: its limits, and its text as items.
//!
//! What GDTS's library refuses is refused here too (`L-3`, a bare `L` as weekday, `1#6`, `W`, three-digit
//! numbers); a list with one bad item is bad as a whole.

use super::error::Fault;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Second,
    Minute,
    Hour,
    DayOfMonth,
    Month,
    DayOfWeek,
    Year,
}

pub(super) const FIRST_YEAR: u32 = 1970;
pub(super) const LAST_YEAR: u32 = 2099;

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

impl Field {
    pub(super) const ALL: [Field; 7] = [
        Field::Second,
        Field::Minute,
        Field::Hour,
        Field::DayOfMonth,
        Field::Month,
        Field::DayOfWeek,
        Field::Year,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Field::Second => "second",
            Field::Minute => "minute",
            Field::Hour => "hour",
            Field::DayOfMonth => "day of month",
            Field::Month => "month",
            Field::DayOfWeek => "day of week",
            Field::Year => "year",
        }
    }

    /// The smallest and the largest value; the largest is also the largest step.
    pub(super) fn limits(self) -> (u32, u32) {
        match self {
            Field::Second | Field::Minute => (0, 59),
            Field::Hour => (0, 23),
            Field::DayOfMonth => (1, 31),
            Field::Month => (1, 12),
            Field::DayOfWeek => (0, 6),
            Field::Year => (FIRST_YEAR, LAST_YEAR),
        }
    }

    pub(super) fn allowed(self) -> &'static str {
        match self {
            Field::Second | Field::Minute => "0-59, lists (0,30), ranges (10-20) and steps (*/15)",
            Field::Hour => "0-23, lists (9,17), ranges (9-17 or 22-2) and steps (*/6)",
            Field::DayOfMonth => {
                "1-31, lists, ranges (1-7), steps (*/10), L (last day), LW and 15W (workdays)"
            }
            Field::Month => "1-12 or JAN-DEC, lists, ranges (NOV-FEB) and steps (*/3)",
            Field::DayOfWeek => {
                "0-7 (0 and 7 are Sunday) or SUN-SAT, lists, ranges (FRI-MON), FRIL (last Friday) \
                 and FRI#2 (second Friday)"
            }
            Field::Year => "1970-2099, lists, ranges (2026-2030) and steps (2026/2)",
        }
    }

    pub(super) fn example(self) -> &'static str {
        match self {
            Field::Second | Field::Minute => "*/15",
            Field::Hour => "9-17",
            Field::DayOfMonth => "1,15",
            Field::Month => "JAN",
            Field::DayOfWeek => "MON-FRI",
            Field::Year => "2026-2030",
        }
    }

    fn wraps(self) -> bool {
        !matches!(self, Field::DayOfMonth | Field::Year)
    }

    /// A number or a name as a value of this field; weekday 7 stays 7.
    fn value(self, text: &str) -> Option<u32> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let (min, max) = self.limits();
            let max = if self == Field::DayOfWeek { 7 } else { max };
            let digits = if self == Field::Year { 4..=4 } else { 1..=2 };
            return digits
                .contains(&text.len())
                .then(|| text.parse().ok())?
                .filter(|value| (min..=max).contains(value));
        }
        let names: &[&str] = match self {
            Field::Month => &MONTHS,
            Field::DayOfWeek => &WEEKDAYS,
            _ => return None,
        };
        let index = names.iter().position(|name| *name == text || name[..3] == *text)?;
        u32::try_from(index).ok().map(|index| index + self.limits().0)
    }

    fn step(self, text: &str) -> Option<u32> {
        let digits = if self == Field::Year { 4 } else { 2 };
        let numeric = text.len() <= digits && text.bytes().all(|byte| byte.is_ascii_digit());
        let step = text.parse().ok().filter(|_| numeric)?;
        (1..=self.limits().1).contains(&step).then_some(step)
    }
}

/// One entry of a field's list. Weekdays count from 0, Sunday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    All,
    Span(Span),
    /// `L` as day: the last of the month.
    LastDay,
    /// `LW`: the last workday of the month.
    LastWorkday,
    /// `15W`: the workday nearest that day, within the month.
    Workday(u32),
    /// `5L`: the last such weekday of the month.
    LastWeekday(u32),
    /// `5#2`: the nth such weekday of the month, n from 1.
    NthWeekday(u32, u32),
}

/// `first`, `first + step`, … up to `last`. A `last` beyond the field's maximum has wrapped around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    first: u32,
    last: u32,
    step: u32,
    /// Written without an end (`*/5`, `3/5`), as a rhythm rather than as times.
    pub(super) open: bool,
}

impl Item {
    /// The item as the `cron` crate reads it: ascending, in numbers, Sunday being 1. None for what only we know.
    pub(super) fn to_plain(self, field: Field) -> Option<String> {
        let (min, max) = field.limits();
        let shift = u32::from(field == Field::DayOfWeek);
        match self {
            Item::All if field == Field::Year => Some(format!("{min}-{max}")),
            Item::All => Some("*".to_owned()),
            Item::Span(Span { first, last, step, .. }) if last <= max => {
                Some(format!("{}-{}/{step}", first + shift, last + shift))
            }
            Item::Span(_) => {
                let values = self.values(field).into_iter().flatten();
                Some(values.map(|value| (value + shift).to_string()).collect::<Vec<_>>().join(","))
            }
            _ => None,
        }
    }

    /// The values that it names. None for what only we know.
    pub(super) fn values(self, field: Field) -> Option<impl Iterator<Item = u32>> {
        let (min, max) = field.limits();
        let (first, last, step) = match self {
            Item::All => (min, max, 1),
            Item::Span(Span { first, last, step, .. }) => (first, last, step),
            _ => return None,
        };
        let size = max - min + 1;
        Some((first..=last).step_by(step as usize).map(move |value| min + (value - min) % size))
    }
}

/// The items of a field's list. Empty ones are ignored when another remains.
pub(super) fn parse_items(field: Field, text: &str) -> Result<Vec<Item>, Fault> {
    let items: Vec<Item> = text
        .split(',')
        .filter(|item| !item.is_empty())
        .map(|item| parse_item(field, item))
        .collect::<Result<_, _>>()?;
    if items.is_empty() {
        return Err(Fault::in_field(field, text, "is a list without an item"));
    }
    Ok(items)
}

fn parse_item(field: Field, raw: &str) -> Result<Item, Fault> {
    let text = raw.to_ascii_lowercase();
    if text == "*" || text == "?" {
        return Ok(Item::All);
    }
    let special = match field {
        Field::DayOfMonth => special_day(&text),
        Field::DayOfWeek => special_weekday(&text),
        _ => None,
    };
    special.map_or_else(|| parse_span(field, raw, &text).map(Item::Span), Ok)
}

fn special_day(text: &str) -> Option<Item> {
    match text {
        "l" => Some(Item::LastDay),
        "lw" => Some(Item::LastWorkday),
        _ => text.strip_suffix('w').and_then(|day| Field::DayOfMonth.value(day)).map(Item::Workday),
    }
}

fn special_weekday(text: &str) -> Option<Item> {
    let weekday = |name: &str| Field::DayOfWeek.value(name).map(|day| day % 7);
    if let Some((day, nth)) = text.split_once('#') {
        let nth = ["1", "2", "3", "4", "5"].iter().position(|digit| *digit == nth)?;
        return Some(Item::NthWeekday(weekday(day)?, u32::try_from(nth).ok()? + 1));
    }
    text.strip_suffix('l').and_then(weekday).map(Item::LastWeekday)
}

fn parse_span(field: Field, raw: &str, text: &str) -> Result<Span, Fault> {
    let (min, max) = field.limits();
    let (head, step) = match text.split_once('/') {
        None => (text, None),
        Some((head, step)) => {
            let parsed = field.step(step).ok_or_else(|| {
                Fault::in_field(field, raw, format!("has a step that is not a number from 1 to {max}"))
            })?;
            (head, Some(parsed))
        }
    };
    let value =
        |text: &str| field.value(text).ok_or_else(|| Fault::in_field(field, raw, explain(field, text)));
    if head == "*" {
        return Ok(Span { first: min, last: max, step: step.unwrap_or(1), open: true });
    }
    let Some((first, last)) = head.split_once('-') else {
        let first = single(field, value(head)?);
        let last = if step.is_some() { max } else { first };
        return Ok(Span { first, last, step: step.unwrap_or(1), open: step.is_some() });
    };
    let (first, last) = (value(first)?, value(last)?);
    let last = if first == last { single(field, last) } else { last };
    let first = single(field, first);
    let step = step.unwrap_or(1);
    if first <= last {
        return Ok(Span { first, last, step, open: false });
    }
    if !field.wraps() {
        return Err(Fault::in_field(field, raw, "is a range that runs backwards"));
    }
    Ok(Span { first, last: last + (max - min + 1), step, open: false })
}

/// Sunday is 7 only as the end of a range.
fn single(field: Field, value: u32) -> u32 {
    if field == Field::DayOfWeek { value % 7 } else { value }
}

fn explain(field: Field, text: &str) -> String {
    let numeric = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match (field, text) {
        (_, _) if numeric => "is out of range".to_owned(),
        (Field::DayOfWeek, "l") => "needs the weekday before the L".to_owned(),
        (Field::DayOfMonth, "w") => "needs the day before the W".to_owned(),
        (Field::DayOfWeek, text) if text.contains('#') => "takes 1 to 5 after the #".to_owned(),
        (Field::Month | Field::DayOfWeek, _) => "is neither a number nor a name".to_owned(),
        _ => "is not a number".to_owned(),
    }
}
