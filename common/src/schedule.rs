//! When a job is due.
//!
//! A schedule is made once, from cron expressions in a time zone, a period or an instant, and is then asked
//! for instants: pure, without a clock, and in bounded time whatever it holds and is asked. Instants are
//! whole seconds, and strictly ascend, also where the clock is changed.
//!
//! Cron here is GDTS's dialect: 5 fields (minute, hour, day of month, month, weekday), 6 (a **year** after
//! them) or 7 (a second before them as well), years 1970 to 2099. When both day fields are restricted,
//! either suffices.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

mod calendar;
mod civil;
mod count;
mod describe;
mod error;
mod field;
mod parser;
#[cfg(test)]
mod tests;
mod zone;

pub use self::error::ScheduleError;
pub use self::parser::MAX_EXPRESSION_BYTES;
pub use self::zone::{ZoneError, parse_zone};

use self::calendar::Expression;
use self::error::Fault;
use self::field::Field;
use self::parser::Parsed;

/// More expressions than this in one list are refused: every question asks each of them.
pub const MAX_EXPRESSIONS: usize = 64;

/// The end of the year 9999: later instants have no RFC 3339 form, and do not come.
const LAST_INSTANT: i64 = 253_402_300_799;

/// When a job is due: cron expressions (any of them fires), an interval, an instant, or `@reboot`.
///
/// Where a zone's clock is changed, an expression with a rhythm for its hour or minute (`*`, `*/n`, `a/n`,
/// every value) follows it through a repeated hour, and any other fires in the first pass only. An expression
/// whose hour is not a rhythm makes up for skipped times, once, right after the gap.
///
/// Cheap to clone. Equal when made from the same texts, zone and anchor. Prints as its expressions, joined
/// with `; `.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    zone: Option<Tz>,
    parts: Box<[Part]>,
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Cron(Expression),
    /// `anchor + n · period` for n from 0.
    Every {
        anchor: i64,
        period: i64,
    },
    At(i64),
    Reboot,
}

/// A schedule that has something to do: as [`Schedule::cron`], and refuses an expression that never fires
/// after `now`, such as 30 February or a past year. For saving; a stored job's years may pass.
pub fn validate(
    expressions: &[impl AsRef<str>],
    zone: Tz,
    anchor: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Schedule, ScheduleError> {
    let schedule = Schedule::cron(expressions, zone, anchor)?;
    let from = now.timestamp();
    for (index, part) in schedule.0.parts.iter().enumerate() {
        if !matches!(part, Part::Reboot) && part.next(zone, from).is_none() {
            let text = expressions[index].as_ref();
            return Err(ScheduleError::new(index, expressions.len(), text, part.explain_silence(text)));
        }
    }
    Ok(schedule)
}

impl Schedule {
    /// Parses a list of expressions: cron with 5, 6 or 7 fields, `@yearly @annually @monthly @weekly @daily
    /// @midnight @hourly`, `@every 90s` (counted from `anchor`) and `@reboot`, mixed freely.
    pub fn cron(
        expressions: &[impl AsRef<str>],
        zone: Tz,
        anchor: DateTime<Utc>,
    ) -> Result<Schedule, ScheduleError> {
        let of = expressions.len();
        if of == 0 {
            return Err(ScheduleError::new(0, 1, "", Fault::of_whole("", "is an empty list of expressions")));
        }
        let parse = |(index, text): (usize, &_)| {
            let text: &str = AsRef::<str>::as_ref(text);
            if index >= MAX_EXPRESSIONS {
                let problem = format!("is one of {of} expressions, more than {MAX_EXPRESSIONS}");
                return Err(ScheduleError::new(index, of, text, Fault::of_whole(text, problem)));
            }
            match parser::parse(text) {
                Ok(Parsed::Cron(expression)) => Ok(Part::Cron(expression)),
                Ok(Parsed::Every(period)) => Ok(Part::Every { anchor: anchor.timestamp(), period }),
                Ok(Parsed::Reboot) => Ok(Part::Reboot),
                Err(fault) => Err(ScheduleError::new(index, of, text, fault)),
            }
        };
        let parts = expressions.iter().enumerate().map(parse).collect::<Result<_, _>>()?;
        Ok(Schedule(Arc::new(Inner { zone: Some(zone), parts })))
    }

    /// Fires at `anchor` (less its fraction of a second) and whenever another `period` has passed since.
    pub fn every(period: Duration, anchor: DateTime<Utc>) -> Result<Schedule, ScheduleError> {
        let text = crate::span::Span(period).in_words();
        let period = parser::period_seconds(&text, period)
            .map_err(|fault| ScheduleError::new(0, 1, &format!("@every {text}"), fault))?;
        Ok(Schedule::of(Part::Every { anchor: anchor.timestamp(), period }))
    }

    /// Fires once; a fraction of a second rounds up, so that it is never early.
    pub fn at(instant: DateTime<Utc>) -> Schedule {
        let fraction = i64::from(instant.timestamp_subsec_nanos() > 0);
        Schedule::of(Part::At(instant.timestamp() + fraction))
    }

    fn of(part: Part) -> Schedule {
        Schedule(Arc::new(Inner { zone: None, parts: Box::new([part]) }))
    }

    /// The first instant strictly after `from`; none when no more come. Later for a later `from`, never
    /// earlier.
    pub fn next_after(&self, from: DateTime<Utc>) -> Option<DateTime<Utc>> {
        to_instant(self.next_second(from.timestamp())?)
    }

    /// The last instant strictly after `not_before` and at or before `until`. Its cost hardly grows with the
    /// time between them.
    pub fn latest_in(&self, not_before: DateTime<Utc>, until: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let (after, until) = (not_before.timestamp(), until.timestamp());
        let latest =
            self.0.parts.iter().filter_map(|part| part.latest(self.civil_zone(), after, until)).max();
        to_instant(latest?)
    }

    /// How many instants are strictly after `not_before` and at or before `until`, at most `cap`. One
    /// expression costs at most one step a day; several, whose instants may coincide, at most one an hour.
    pub fn count_in(&self, not_before: DateTime<Utc>, until: DateTime<Utc>, cap: u64) -> u64 {
        let (after, until) = (not_before.timestamp(), until.timestamp().min(LAST_INSTANT));
        match &*self.0.parts {
            [part] => part.count(self.civil_zone(), after, until, cap),
            parts => count::together(parts, self.civil_zone(), after, until, cap),
        }
    }

    /// True when booting is all it waits for: it has no instants.
    pub fn is_reboot(&self) -> bool {
        self.0.parts.iter().all(|part| matches!(part, Part::Reboot))
    }

    /// True when `@reboot` is among the expressions.
    pub fn fires_at_boot(&self) -> bool {
        self.0.parts.iter().any(|part| matches!(part, Part::Reboot))
    }

    /// In English: "at 09:30 on weekdays". The zone is the caller's to append.
    pub fn describe(&self) -> String {
        self.0.parts.iter().map(describe::part).collect::<Vec<_>>().join("; ")
    }

    /// The zone of cron expressions; an interval and an instant have none.
    pub fn zone(&self) -> Option<Tz> {
        self.0.zone
    }

    /// True while somebody else has a clone of it.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    fn next_second(&self, from: i64) -> Option<i64> {
        self.0.parts.iter().filter_map(|part| part.next(self.civil_zone(), from)).min()
    }

    /// Only cron expressions ask for it, and they come with one.
    fn civil_zone(&self) -> Tz {
        self.0.zone.unwrap_or(Tz::UTC)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.parts.iter().enumerate() {
            f.write_str(if index > 0 { "; " } else { "" })?;
            match part {
                Part::Cron(expression) => f.write_str(&expression.text)?,
                Part::Every { period, .. } => write!(f, "@every {period}s")?,
                Part::At(at) => match to_instant(*at) {
                    Some(at) => write!(f, "@at {}", at.format("%Y-%m-%dT%H:%M:%SZ"))?,
                    None => f.write_str("@at never")?,
                },
                Part::Reboot => f.write_str("@reboot")?,
            }
        }
        Ok(())
    }
}

impl Part {
    fn expression(&self) -> Option<&Expression> {
        match self {
            Part::Cron(expression) => Some(expression),
            _ => None,
        }
    }

    /// The first second after `from`.
    fn next(&self, zone: Tz, from: i64) -> Option<i64> {
        match self {
            Part::Cron(expression) => expression.next_instant(zone, from),
            Part::Every { anchor, .. } if from < *anchor => {
                Some(*anchor).filter(|next| *next <= LAST_INSTANT)
            }
            Part::Every { anchor, period } => {
                let passed = from.checked_sub(*anchor)? / period;
                (passed + 1).checked_mul(*period)?.checked_add(*anchor).filter(|next| *next <= LAST_INSTANT)
            }
            Part::At(at) => (from < *at && *at <= LAST_INSTANT).then_some(*at),
            Part::Reboot => None,
        }
    }

    fn latest(&self, zone: Tz, after: i64, until: i64) -> Option<i64> {
        match self {
            Part::Cron(expression) => expression.latest_instant(zone, after, until),
            Part::Every { anchor, period } => {
                let passed = until.min(LAST_INSTANT).checked_sub(*anchor).filter(|passed| *passed >= 0)?;
                Some(anchor + passed / period * period).filter(|latest| *latest > after)
            }
            Part::At(at) => Some(*at).filter(|at| after < *at && *at <= until.min(LAST_INSTANT)),
            Part::Reboot => None,
        }
    }

    fn count(&self, zone: Tz, after: i64, until: i64, cap: u64) -> u64 {
        match self {
            Part::Cron(expression) => expression.count_instants(zone, after, until, cap),
            Part::Every { period, .. } => {
                let (first, latest) = (self.next(zone, after), self.latest(zone, after, until));
                let (Some(first), Some(latest)) = (first, latest) else { return 0 };
                u64::try_from((latest - first) / period + 1).unwrap_or(0).min(cap)
            }
            Part::At(_) => u64::from(self.latest(zone, after, until).is_some()).min(cap),
            Part::Reboot => 0,
        }
    }

    /// Why no instant is left.
    fn explain_silence(&self, text: &str) -> Fault {
        let Part::Cron(expression) = self else {
            return Fault::of_whole(text, "never fires");
        };
        let (field, problem) = if expression.next_civil(-1).is_some() {
            (Field::Year, "is over: the last instant is past")
        } else if expression.days.month_restricted {
            (Field::DayOfMonth, "is a day that never comes in these months and years")
        } else {
            (Field::DayOfWeek, "is a day that never comes in these months and years")
        };
        match parser::field_text(text, field) {
            Some(got) => Fault::in_field(field, got, problem),
            None => Fault::of_whole(text, "never fires up to the year 2099"),
        }
    }
}

fn to_instant(second: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(second, 0)
}
