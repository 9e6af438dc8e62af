//! Cron text: whatever it is, it is refused in words, or its instants ascend and are those that it names, counting and
//! searching agree with going through them, and it reads as it prints.
//!
//! The first four bytes choose a zone and an instant; then come the expressions, one a line.

#![no_main]

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use common::schedule::Schedule;
use fuzz::slow::{Days, Times};
use libfuzzer_sys::fuzz_target;

const ZONES: [Tz; 8] = [
    Tz::UTC,
    Tz::Europe__Berlin,
    Tz::America__New_York,
    Tz::Australia__Lord_Howe,
    Tz::Africa__Casablanca,
    Tz::Pacific__Apia,
    Tz::Antarctica__Troll,
    Tz::America__Sao_Paulo,
];

/// Where clocks are changed, and where time begins and ends.
const AROUND: [&str; 12] = [
    "2026-11-22T01:30:15Z",
    "2026-03-29T01:00:00Z",
    "2026-10-25T01:00:00Z",
    "2026-03-08T07:00:00Z",
    "2026-11-01T06:00:00Z",
    "2026-04-04T15:00:00Z",
    "2011-12-30T10:00:00Z",
    "2018-11-04T03:00:00Z",
    "2028-02-29T00:00:00Z",
    "1970-01-01T00:00:00Z",
    "2099-12-31T23:59:59Z",
    "9999-12-31T00:00:00Z",
];

fuzz_target!(|input: &[u8]| {
    let [zone, around, high, low, text @ ..] = input else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let zone = ZONES[usize::from(*zone) % ZONES.len()];
    let around: DateTime<Utc> = AROUND[usize::from(*around) % AROUND.len()].parse().expect("an instant");
    let from = around + TimeDelta::seconds(i64::from(i16::from_be_bytes([*high, *low])) * 3);
    let anchor = DateTime::<Utc>::from_timestamp(1_772_323_207, 0).expect("in 2026");
    let expressions: Vec<&str> = text.split('\n').collect();
    match Schedule::cron(&expressions, zone, anchor) {
        Err(error) => {
            assert!(expressions.get(error.index()).is_some() && !error.problem().is_empty());
            assert!(error.to_string().contains(error.example()) && error.to_string().len() < 2048);
        }
        Ok(schedule) => {
            let printed = schedule.to_string();
            let again = Schedule::cron(&printed.split("; ").collect::<Vec<_>>(), zone, anchor);
            assert_eq!(again.as_ref(), Ok(&schedule), "{printed:?}");
            assert!(!schedule.describe().is_empty());
            going_through_agrees(&schedule, from);
            let only = Times::read(text, Days::Quorate).filter(|_| expressions.len() == 1 && zone == Tz::UTC);
            if let Some(times) = only {
                the_next_is_named(&schedule, &times, from);
            }
        }
    }
});

fn going_through_agrees(schedule: &Schedule, from: DateTime<Utc>) {
    let second = TimeDelta::seconds(1);
    let (mut at, mut count) = (from, 0);
    for _ in 0..8 {
        let Some(next) = schedule.next_after(at) else { break };
        assert!(next > at && next.timestamp_subsec_nanos() == 0, "{schedule} after {at}");
        assert_eq!(schedule.latest_in(at, next), Some(next), "{schedule} after {at}");
        assert_eq!(schedule.latest_in(at, next - second), None, "{schedule} after {at}");
        assert_eq!(schedule.next_after(at + (next - at - second) / 2), Some(next), "{schedule} after {at}");
        (at, count) = (next, count + 1);
    }
    assert_eq!(schedule.count_in(from, at, u64::MAX), count, "{schedule} from {from} to {at}");
    assert_eq!(schedule.latest_in(from, at), (count > 0).then_some(at), "{schedule} from {from}");
    // As the workers and managers ask, of a job that nobody ran for long.
    let later = from + TimeDelta::days(5);
    let (all, capped) = (schedule.count_in(from, later, u64::MAX), schedule.count_in(from, later, 1_000));
    assert_eq!(capped, all.min(1_000), "{schedule} from {from}");
    let middle = from + TimeDelta::seconds(5 * 86_400 / 3 + 77);
    let parts = schedule.count_in(from, middle, u64::MAX) + schedule.count_in(middle, later, u64::MAX);
    assert_eq!(all, parts, "{schedule} from {from}");
    assert_eq!(all > 0, schedule.latest_in(from, later).is_some(), "{schedule} from {from}");
}

fn the_next_is_named(schedule: &Schedule, times: &Times, from: DateTime<Utc>) {
    let next = schedule.next_after(from);
    assert!(next.is_none_or(|next| times.has(next)), "{schedule}: {next:?} after {from}");
    let until = next.unwrap_or(from + TimeDelta::seconds(2_000)).min(from + TimeDelta::seconds(2_000));
    let between = (1..(until - from).num_seconds()).map(|passed| from + TimeDelta::seconds(passed));
    for passed_over in between {
        assert!(!times.has(passed_over), "{schedule}: {next:?} after {from}, not {passed_over}");
    }
}
