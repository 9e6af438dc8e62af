//! The civil times that an expression names, as bit sets, and the walk from one to the next.
//!
//! A civil time is a number of seconds on the wall clock since 1970-01-01 00:00:00, whatever zone the
//! clock hangs in; `civil` turns it into an instant. The walk jumps field by field, so that its cost does
//! not depend on how far the next time is: at most a look at each of 1,560 months.

use chrono::{Datelike, NaiveDate};

use super::field::{FIRST_YEAR, LAST_YEAR};

pub(super) const DAY: i64 = 86_400;

/// One parsed cron expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expression {
    pub(super) text: Box<str>,
    /// Each bit is a value of the field.
    pub(super) seconds: u64,
    pub(super) minutes: u64,
    pub(super) hours: u32,
    pub(super) months: u16,
    pub(super) days: Days,
    pub(super) years: Years,
    /// The hour is a rhythm (`*`, `*/2`), not a time.
    pub(super) hour_is_open: bool,
    /// So is the minute.
    pub(super) minute_is_open: bool,
}

/// The day rules: when both day fields are restricted, either suffices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Days {
    pub(super) month_restricted: bool,
    pub(super) of_month: u32,
    pub(super) last: bool,
    pub(super) last_workday: bool,
    pub(super) workdays: u32,
    pub(super) week_restricted: bool,
    /// From here on bit 0 is Sunday.
    pub(super) of_week: u8,
    pub(super) last_of_week: u8,
    /// Bit (n - 1) · 7 + weekday.
    pub(super) nth_of_week: u64,
}

/// Years from 1970 to 2099.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Years([u64; 3]);

impl Expression {
    /// The first civil time after `after`, or none up to the end of 2099.
    pub(super) fn next_civil(&self, after: i64) -> Option<i64> {
        let start = after.saturating_add(1).max(0);
        let (today, second) = (start / DAY, start % DAY);
        let day = self.next_day(today)?;
        let time = if day == today { self.next_time(second) } else { self.next_time(0) };
        if let Some(time) = time {
            return Some(day * DAY + time);
        }
        Some(self.next_day(today + 1)? * DAY + self.next_time(0)?)
    }

    /// The first time of day, in seconds, not before `second`.
    fn next_time(&self, second: i64) -> Option<i64> {
        let at = |hour: u32, minute: u32, second: u32| {
            Some(i64::from(hour) * 3_600 + i64::from(minute) * 60 + i64::from(second))
        };
        let (hour, minute, second) = clock(second);
        let hours = u64::from(self.hours);
        if bit(hours, hour) {
            if bit(self.minutes, minute)
                && let Some(second) = next_bit(self.seconds, second)
            {
                return at(hour, minute, second);
            }
            if let Some(minute) = next_bit(self.minutes, minute + 1) {
                return at(hour, minute, next_bit(self.seconds, 0)?);
            }
        }
        at(next_bit(hours, hour + 1)?, next_bit(self.minutes, 0)?, next_bit(self.seconds, 0)?)
    }

    /// The first matching day, counted from 1970-01-01, not before `day`.
    fn next_day(&self, day: i64) -> Option<i64> {
        let date = NaiveDate::from_epoch_days(i32::try_from(day).ok()?)?;
        let (mut year, mut month, mut day) = (u32::try_from(date.year()).ok()?, date.month(), date.day());
        loop {
            let next_year = self.years.next_from(year)?;
            if next_year > year {
                (year, month, day) = (next_year, 1, 1);
            }
            let Some(next_month) = next_bit(u64::from(self.months), month) else {
                (year, month, day) = (year + 1, 1, 1);
                continue;
            };
            if next_month > month {
                (month, day) = (next_month, 1);
            }
            let first = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, 1)?;
            let mask = self.days.mask(first.weekday().num_days_from_sunday(), length(year, month));
            if let Some(day) = next_bit(u64::from(mask), day) {
                return Some(i64::from(first.to_epoch_days()) + i64::from(day) - 1);
            }
            (month, day) = (month + 1, 1);
        }
    }

    /// Whether the hour that begins at this civil time has any of its times.
    pub(super) fn has_hour(&self, civil: i64) -> bool {
        let (day, second) = (civil.div_euclid(DAY), civil.rem_euclid(DAY));
        bit(u64::from(self.hours), clock(second).0) && self.next_day(day) == Some(day)
    }

    /// How many civil times a matching day has.
    pub(super) fn times_per_day(&self) -> u64 {
        self.times_per_hour() * u64::from(self.hours.count_ones())
    }

    /// How many a matching hour has.
    pub(super) fn times_per_hour(&self) -> u64 {
        u64::from(self.seconds.count_ones()) * u64::from(self.minutes.count_ones())
    }
}

impl Days {
    /// The matching days of a month as bits 1 to 31.
    fn mask(&self, first_weekday: u32, length: u32) -> u32 {
        let valid = ((1_u64 << (length + 1)) - 2) as u32;
        if !self.month_restricted && !self.week_restricted {
            return valid;
        }
        let mut mask = 0;
        if self.month_restricted {
            mask |= self.month_mask(first_weekday, length);
        }
        if self.week_restricted {
            mask |= self.week_mask(first_weekday, length);
        }
        mask & valid
    }

    fn month_mask(&self, first_weekday: u32, length: u32) -> u32 {
        let mut mask = self.of_month;
        if self.last {
            mask |= 1 << length;
        }
        if self.last_workday {
            mask |= 1 << workday(length, first_weekday, length);
        }
        for day in bits(u64::from(self.workdays)).take_while(|day| *day <= length) {
            mask |= 1 << workday(day, first_weekday, length);
        }
        mask
    }

    fn week_mask(&self, first_weekday: u32, length: u32) -> u32 {
        const WEEKS: u64 = 1 | 1 << 7 | 1 << 14 | 1 << 21 | 1 << 28;
        let first_such = |weekday: u32| 1 + (weekday + 7 - first_weekday) % 7;
        let mut mask = 0_u64;
        for weekday in bits(u64::from(self.of_week)) {
            mask |= WEEKS << first_such(weekday);
        }
        for weekday in bits(u64::from(self.last_of_week)) {
            let first = first_such(weekday);
            mask |= 1 << (first + (length - first) / 7 * 7);
        }
        for index in bits(self.nth_of_week) {
            mask |= 1 << (first_such(index % 7) + index / 7 * 7);
        }
        // Days beyond 31 fall off here, days beyond this month's end in the caller.
        (mask & 0xFFFF_FFFF) as u32
    }
}

impl Years {
    pub(super) fn insert(&mut self, year: u32) {
        if (FIRST_YEAR..=LAST_YEAR).contains(&year) {
            let index = year - FIRST_YEAR;
            self.0[(index / 64) as usize] |= 1 << (index % 64);
        }
    }

    pub(super) fn next_from(&self, year: u32) -> Option<u32> {
        let mut index = year.saturating_sub(FIRST_YEAR);
        while let Some(word) = self.0.get((index / 64) as usize) {
            if let Some(found) = next_bit(*word, index % 64) {
                return Some(FIRST_YEAR + index / 64 * 64 + found);
            }
            index = (index / 64 + 1) * 64;
        }
        None
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        std::iter::successors(self.next_from(FIRST_YEAR), |year| self.next_from(year + 1))
    }
}

/// The workday nearest to `day`, in the same month: Saturday yields Friday, Sunday Monday, but never across
/// the month's ends.
fn workday(day: u32, first_weekday: u32, length: u32) -> u32 {
    match (first_weekday + day - 1) % 7 {
        6 if day > 1 => day - 1,
        6 => day + 2,
        0 if day < length => day + 1,
        0 => day - 2,
        _ => day,
    }
}

fn length(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn clock(second: i64) -> (u32, u32, u32) {
    let second = second.clamp(0, DAY - 1) as u32;
    (second / 3_600, second / 60 % 60, second % 60)
}

pub(super) fn bit(set: u64, index: u32) -> bool {
    set >> index & 1 == 1
}

/// The lowest bit of `set` not below `from`.
pub(super) fn next_bit(set: u64, from: u32) -> Option<u32> {
    let rest = set.checked_shr(from)?;
    (rest != 0).then(|| from + rest.trailing_zeros())
}

pub(super) fn bits(set: u64) -> impl Iterator<Item = u32> {
    std::iter::successors(next_bit(set, 0), move |bit| next_bit(set, bit + 1))
}
