//! Civil time ↔ instants in a zone, and with it the instants of an expression.
//!
//! Where the clock is put forward, civil times are skipped; where it is put back, they repeat. An expression
//! whose minute or hour is a rhythm (`*`, `*/n`, `a/n`, all values) follows the clock through a repeated
//! period; any other fires in the first pass only. An expression whose hour is not a rhythm makes up for
//! skipped times: once for all of them, at the first instant after the gap. So `30 2 * * *` fires once every
//! day, `*/30 * * * *` every 30 minutes all through, and `*/15 2 * * *` is neither silent on the day that
//! lacks 02:00 nor for an hour on the day that has it twice.
//!
//! A date that a zone leaves out altogether (Samoa's 30 December 2011) is not made up for: the runs of
//! that day have no day to run on.
//!
//! Instants are whole seconds since 1970. Every instant comes from one function, `next_instant`; the others
//! search with it, so that they cannot disagree.

use chrono::{DateTime, LocalResult, Offset, TimeZone};
use chrono_tz::Tz;

use super::calendar::{DAY, Expression};

pub(super) const HOUR: i64 = 3_600;

/// Before every civil time of 1970 in every zone.
const FIRST: i64 = -2 * DAY;
/// After every civil time of 2099 in every zone.
const LAST: i64 = 4_102_444_800 + 2 * DAY;

impl Expression {
    fn repeats(&self) -> bool {
        self.hour_is_open || self.minute_is_open
    }

    fn makes_up(&self) -> bool {
        !self.hour_is_open
    }

    /// How it is read where the clock is changed.
    pub(super) fn manner(&self) -> Manner {
        Manner { makes_up: self.makes_up(), repeats: self.repeats() }
    }

    /// The first instant after `from`.
    pub(super) fn next_instant(&self, zone: Tz, from: i64) -> Option<i64> {
        let from = from.clamp(FIRST, LAST);
        let mut civil = from + offset_at(zone, from);
        if let Reading::Twice { first, second } = read(zone, civil) {
            let fold = Fold::find(zone, first, second);
            match (self.repeats(), from >= second) {
                // All of the fold has had its turn: do not walk it again.
                (false, true) => civil = fold.end - 1,
                (true, false) => {
                    if let Some(next) = self.next_civil(civil).filter(|next| *next < fold.end) {
                        return Some(from + next - civil);
                    }
                    civil = fold.begin - 1;
                }
                (false, false) | (true, true) => {}
            }
        }
        self.next_instant_of(zone, from, civil)
    }

    /// The first instant after `from` that stands for a civil time after `civil`.
    fn next_instant_of(&self, zone: Tz, from: i64, mut civil: i64) -> Option<i64> {
        loop {
            let next = self.next_civil(civil)?;
            civil = match read(zone, next) {
                Reading::Once(at) if at > from => return Some(at),
                Reading::Twice { first, .. } if first > from => return Some(first),
                Reading::Twice { second, .. } if second > from && self.repeats() => return Some(second),
                Reading::Once(_) | Reading::Twice { .. } => next,
                Reading::Skipped(gap) => {
                    // No gap is longer than a day: one that holds a whole date holds nothing else.
                    let midnight = next - next.rem_euclid(DAY);
                    let date_exists = gap.begin > midnight || gap.end < midnight + DAY;
                    if self.makes_up() && date_exists && gap.at > from {
                        return Some(gap.at);
                    }
                    gap.end - 1
                }
            };
        }
    }

    /// The last instant after `after` and not after `until`: a search by halves, so that its cost grows
    /// with the logarithm of the time between them.
    pub(super) fn latest_instant(&self, zone: Tz, after: i64, until: i64) -> Option<i64> {
        let until = until.clamp(FIRST, LAST);
        let due = |after: i64| self.next_instant(zone, after).filter(|next| *next <= until);
        let mut low = due(after)?;
        let mut high = until;
        // Most often the answer is close to the end.
        let mut step = 1;
        while until - step > low {
            if let Some(found) = due(until - step) {
                low = found;
                break;
            }
            high = until - step;
            step *= 2;
        }
        while low < high {
            let middle = low + (high - low) / 2;
            match due(middle) {
                Some(found) => low = found,
                None => high = middle,
            }
        }
        Some(low)
    }

    /// How many instants are after `after` and not after `until`, at most `cap`. Days and hours that the
    /// clock leaves alone are counted as a whole.
    pub(super) fn count_instants(&self, zone: Tz, after: i64, until: i64, cap: u64) -> u64 {
        let blocks = [(DAY, self.times_per_day()), (HOUR, self.times_per_hour())];
        let (mut after, mut count) = (after, 0);
        while count < cap
            && let Some(next) = self.next_instant(zone, after).filter(|next| *next <= until)
        {
            let whole = blocks.iter().find_map(|(length, times)| {
                let start = plain_block(zone, next, *length, self.manner())?;
                let last = start + length - 1;
                (start > after && last <= until).then_some((last, *times))
            });
            let (last, times) = whole.unwrap_or((next, 1));
            after = last;
            count += times;
        }
        count.min(cap)
    }
}

/// What expressions do where the clock is changed.
#[derive(Clone, Copy)]
pub(super) struct Manner {
    /// They make up for skipped times.
    pub(super) makes_up: bool,
    /// They follow the clock through repeated times.
    pub(super) repeats: bool,
}

/// The start of the civil day or hour around `instant`, if each of its civil times is an instant of its own there, and
/// nothing else is due.
pub(super) fn plain_block(zone: Tz, instant: i64, length: i64, manner: Manner) -> Option<i64> {
    let Manner { makes_up, repeats } = manner;
    let offset = offset_at(zone, instant);
    let start = instant - (instant + offset).rem_euclid(length);
    // What is made up for at the end of a gap comes on top.
    let before = if makes_up { start - 1 } else { start };
    if offset_at(zone, before) != offset || offset_at(zone, start + length - 1) != offset {
        return None;
    }
    let in_second_pass =
        || matches!(read(zone, start + offset), Reading::Twice { second, .. } if start >= second);
    (repeats || !in_second_pass()).then_some(start)
}

/// What a civil time stands for.
enum Reading {
    Once(i64),
    Twice { first: i64, second: i64 },
    Skipped(Gap),
}

/// The clock goes forward at an instant: civil times from `begin` up to `end` do not exist.
struct Gap {
    at: i64,
    begin: i64,
    end: i64,
}

/// The clock goes back: civil times from `begin` up to `end` exist twice.
struct Fold {
    begin: i64,
    end: i64,
}

impl Gap {
    /// The gap around a civil time that does not exist. No offset reaches a day, which bounds the search.
    fn find(zone: Tz, civil: i64) -> Gap {
        let at = bisect(civil - DAY, civil + DAY, |at| at + offset_at(zone, at) >= civil);
        Gap { at, begin: at + offset_at(zone, at - 1), end: at + offset_at(zone, at) }
    }
}

impl Fold {
    /// The fold around a civil time, given the instants of its two passes.
    fn find(zone: Tz, first: i64, second: i64) -> Fold {
        let before = offset_at(zone, first);
        let at = bisect(first, second, |at| offset_at(zone, at) != before);
        Fold { begin: at + offset_at(zone, at), end: at + before }
    }
}

/// The first instant after `low` and up to `high` at which `holds`, which it does at `high` and not at `low`.
fn bisect(mut low: i64, mut high: i64, holds: impl Fn(i64) -> bool) -> i64 {
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if holds(middle) { high = middle } else { low = middle }
    }
    high
}

fn read(zone: Tz, civil: i64) -> Reading {
    let Some(local) = DateTime::from_timestamp(civil, 0) else {
        return Reading::Once(civil);
    };
    let at = |offset: &<Tz as TimeZone>::Offset| civil - i64::from(offset.fix().local_minus_utc());
    match zone.offset_from_local_datetime(&local.naive_utc()) {
        LocalResult::Single(offset) => Reading::Once(at(&offset)),
        LocalResult::Ambiguous(one, other) => {
            let (one, other) = (at(&one), at(&other));
            Reading::Twice { first: one.min(other), second: one.max(other) }
        }
        LocalResult::None => Reading::Skipped(Gap::find(zone, civil)),
    }
}

pub(super) fn offset_at(zone: Tz, instant: i64) -> i64 {
    DateTime::from_timestamp(instant, 0)
        .map_or(0, |utc| i64::from(zone.offset_from_utc_datetime(&utc.naive_utc()).fix().local_minus_utc()))
}
