//! Where the clock is changed. Named cases first, then every zone's changes against a slow and plain model.

use std::collections::BTreeSet;

use chrono::{Offset, TimeDelta, TimeZone, Timelike};
use chrono_tz::TZ_VARIANTS;

use super::*;

/// The next instants as the zone's clock shows them, offset included.
fn local(zone: Tz, expression: &str, from: &str, count: usize) -> Vec<String> {
    upcoming(&cron_in(zone, expression), instant(from))
        .take(count)
        .map(|at| at.with_timezone(&zone).format("%d %H:%M%:z").to_string())
        .collect()
}

#[test]
fn skipped_hour_fires_a_fixed_time_once_after_the_gap() {
    let daily = local(Tz::America__New_York, "30 2 * * *", "2026-03-07T00:00:00-05:00", 3);
    assert_eq!(daily, ["07 02:30-05:00", "08 03:00-04:00", "09 02:30-04:00"]);
    let several = local(Tz::America__New_York, "0,20,40 2,3 * * *", "2026-03-08T00:00:00-05:00", 4);
    assert_eq!(several, ["08 03:00-04:00", "08 03:20-04:00", "08 03:40-04:00", "09 02:00-04:00"]);
    let monthly = local(Tz::Europe__Berlin, "15 2 29 3 *", "2026-01-01T00:00:00Z", 2);
    assert_eq!(monthly, ["29 03:00+02:00", "29 02:15+02:00"]);
}

#[test]
fn skipped_hour_is_passed_over_by_intervals() {
    let half_hours = local(Tz::America__New_York, "*/30 * * * *", "2026-03-08T01:00:00-05:00", 3);
    assert_eq!(half_hours, ["08 01:30-05:00", "08 03:00-04:00", "08 03:30-04:00"]);
    let late_minutes = local(Tz::America__New_York, "59 * * * *", "2026-03-08T01:00:00-05:00", 2);
    assert_eq!(late_minutes, ["08 01:59-05:00", "08 03:59-04:00"]);
    let pinned_hour = local(Tz::America__New_York, "*/15 2 * * *", "2026-03-08T01:00:00-05:00", 2);
    assert_eq!(pinned_hour, ["08 03:00-04:00", "09 02:00-04:00"]);
}

#[test]
fn doubled_hour_fires_a_fixed_time_once() {
    let daily = local(Tz::America__New_York, "30 1 * * *", "2026-10-31T00:00:00-04:00", 3);
    assert_eq!(daily, ["31 01:30-04:00", "01 01:30-04:00", "02 01:30-05:00"]);
    let several = local(Tz::America__New_York, "0,40 1,2 * * *", "2026-11-01T00:50:00-04:00", 5);
    assert_eq!(
        several,
        ["01 01:00-04:00", "01 01:40-04:00", "01 02:00-05:00", "01 02:40-05:00", "02 01:00-05:00"]
    );
    let schedule = cron_in(Tz::America__New_York, "0,40 1,2 * * *");
    assert_eq!(
        schedule.next_after(instant("2026-11-01T01:10:00-05:00")),
        Some(instant("2026-11-01T02:00:00-05:00")),
        "from within the second pass"
    );
}

#[test]
fn doubled_hour_is_followed_by_intervals() {
    let half_hours = local(Tz::America__New_York, "*/30 * * * *", "2026-11-01T00:59:00-04:00", 5);
    assert_eq!(
        half_hours,
        ["01 01:00-04:00", "01 01:30-04:00", "01 01:00-05:00", "01 01:30-05:00", "01 02:00-05:00"]
    );
    let hourly = local(Tz::Europe__Berlin, "45 * * * *", "2026-10-25T01:50:00+02:00", 3);
    assert_eq!(hourly, ["25 02:45+02:00", "25 02:45+01:00", "25 03:45+01:00"]);
    let by_night = local(Tz::Europe__Berlin, "*/30 2 * * *", "2026-10-25T01:50:00+02:00", 5);
    assert_eq!(
        by_night,
        ["25 02:00+02:00", "25 02:30+02:00", "25 02:00+01:00", "25 02:30+01:00", "26 02:00+01:00"]
    );
}

#[test]
fn half_hour_shift_of_lord_howe() {
    let zone = Tz::Australia__Lord_Howe;
    let fixed = local(zone, "15 2 * * *", "2026-10-03T00:00:00+10:30", 3);
    assert_eq!(fixed, ["03 02:15+10:30", "04 02:30+11:00", "05 02:15+11:00"]);
    let fixed = local(zone, "45 1 * * *", "2026-04-04T00:00:00+11:00", 3);
    assert_eq!(fixed, ["04 01:45+11:00", "05 01:45+11:00", "06 01:45+10:30"]);
    let quarters = local(zone, "*/15 * * * *", "2026-04-05T01:30:00+11:00", 5);
    assert_eq!(
        quarters,
        ["05 01:45+11:00", "05 01:30+10:30", "05 01:45+10:30", "05 02:00+10:30", "05 02:15+10:30"]
    );
    let hourly = local(zone, "0 * * * *", "2026-10-04T00:30:00+10:30", 3);
    assert_eq!(hourly, ["04 01:00+10:30", "04 03:00+11:00", "04 04:00+11:00"]);
}

#[test]
fn skipped_midnight_fires_at_the_first_instant_of_the_day() {
    for (zone, from, expected) in [
        (Tz::America__Sao_Paulo, "2018-11-03T12:00:00Z", ["04 01:00-02:00", "05 00:00-02:00"]),
        (Tz::Asia__Beirut, "2026-03-28T12:00:00Z", ["29 01:00+03:00", "30 00:00+03:00"]),
        (Tz::Africa__Cairo, "2026-04-23T12:00:00Z", ["24 01:00+03:00", "25 00:00+03:00"]),
    ] {
        assert_eq!(local(zone, "0 0 * * *", from, 2), expected, "{zone}");
    }
}

#[test]
fn doubled_midnight_of_saint_johns_fires_once() {
    // Up to 2011 the clock there was put back at 00:01 to 23:01 of the day before.
    let zone = Tz::America__St_Johns;
    let noons = local(zone, "0 0,12 * * *", "2010-11-06T06:00:00-02:30", 4);
    assert_eq!(noons, ["06 12:00-02:30", "07 00:00-02:30", "07 12:00-03:30", "08 00:00-03:30"]);
    let schedule = cron_in(zone, "0 0,12 * * *");
    let second_pass = instant("2010-11-06T23:30:00-03:30");
    assert_eq!(schedule.count_in(second_pass, instant("2010-11-07T23:00:00-03:30"), 9), 1);
    assert_eq!(schedule.count_in(second_pass, instant("2010-11-07T23:59:59-03:30"), 9), 1);
}

#[test]
fn skipped_times_count_beside_those_after_the_gap() {
    let (from, until) = (instant("2026-03-29T01:50:00+01:00"), instant("2026-03-30T00:00:00+02:00"));
    assert_eq!(cron_in(Tz::Europe__Berlin, "15,45 2,3 * * *").count_in(from, until, 9), 3);
    // Nuuk goes from 22:59:59 to 00:00 of the next day.
    let (from, until) = (instant("2030-03-30T12:30:00-02:00"), instant("2030-03-31T23:59:59-01:00"));
    assert_eq!(cron_in(Tz::America__Nuuk, "30 12,23 * * *").count_in(from, until, 9), 3);
}

#[test]
fn skipped_day_of_the_date_line_is_left_out() {
    let zone = Tz::Pacific__Apia;
    let midnights = local(zone, "0 0 * * *", "2011-12-28T20:00:00-10:00", 3);
    assert_eq!(midnights, ["29 00:00-10:00", "31 00:00+14:00", "01 00:00+14:00"]);
    let nights = local(zone, "30 2 * * *", "2011-12-28T20:00:00-10:00", 3);
    assert_eq!(nights, ["29 02:30-10:00", "31 02:30+14:00", "01 02:30+14:00"]);
    let hourly = local(zone, "0 * * * *", "2011-12-29T22:30:00-10:00", 2);
    assert_eq!(hourly, ["29 23:00-10:00", "31 00:00+14:00"]);
    assert_eq!(cron_in(zone, "0 12 30 12 * 2011").next_after(DateTime::UNIX_EPOCH), None);
}

#[test]
fn leap_day_comes_every_fourth_year() {
    let days: Vec<_> = upcoming(&cron_in(Tz::Europe__Berlin, "0 12 29 2 *"), instant("2026-01-01T00:00:00Z"))
        .take(3)
        .map(|at| at.to_rfc3339())
        .collect();
    assert_eq!(days, ["2028-02-29T11:00:00+00:00", "2032-02-29T11:00:00+00:00", "2036-02-29T11:00:00+00:00"]);
}

#[test]
fn the_clock_is_changed_up_to_the_last_year() {
    let summer = cron_in(Tz::America__New_York, "0 12 1 7 * 2099");
    assert_eq!(summer.next_after(DateTime::UNIX_EPOCH), Some(instant("2099-07-01T12:00:00-04:00")));
}

// Every zone.

const MINUTE: i64 = 60;
const DAY: i64 = 86_400;

fn offset(zone: Tz, at: i64) -> i64 {
    let utc = to_instant(at).unwrap().naive_utc();
    i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc())
}

/// The instants between 2020 and 2030 at which a zone's offset changes, and by how much.
fn changes(zone: Tz) -> Vec<(i64, i64)> {
    let (start, end) =
        (instant("2020-01-01T00:00:00Z").timestamp(), instant("2031-01-01T00:00:00Z").timestamp());
    let mut found = Vec::new();
    let mut before = offset(zone, start);
    for day in (start..end).step_by(DAY as usize) {
        let after = offset(zone, day + DAY);
        if after != before {
            let minute = (day..=day + DAY).step_by(MINUTE as usize).find(|at| offset(zone, *at) == after);
            found.push((minute.unwrap(), after - before));
            before = after;
        }
    }
    found
}

/// One zone for each history of changes, with a few of its changes: the first and the last ones.
fn zones() -> Vec<(Tz, Vec<(i64, i64)>)> {
    let mut seen = BTreeSet::new();
    let mut zones = Vec::new();
    for zone in TZ_VARIANTS {
        let mut changes = changes(zone);
        if !changes.is_empty() && seen.insert((offset(zone, 0), changes.clone())) {
            if changes.len() > 6 {
                changes.drain(4..changes.len() - 2);
            }
            zones.push((zone, changes));
        }
    }
    assert!(zones.len() > 50, "{}", zones.len());
    zones
}

/// The rules of `civil`, minute by minute, for an expression without day fields.
struct Model {
    schedule: Schedule,
    minutes: u64,
    hours: u32,
    in_every_pass: bool,
    makes_up: bool,
}

impl Model {
    fn new(zone: Tz, expression: &str) -> Model {
        let schedule = cron_in(zone, expression);
        let Part::Cron(parsed) = &schedule.0.parts[0] else { panic!("{expression}") };
        let [minute, hour] = [0, 1].map(|index| expression.split(' ').nth(index).unwrap().starts_with('*'));
        let (minutes, hours) = (parsed.minutes, parsed.hours);
        Model { schedule, minutes, hours, in_every_pass: minute || hour, makes_up: !hour }
    }

    fn names(&self, civil: i64) -> bool {
        let time = to_instant(civil).unwrap();
        self.minutes >> time.minute() & 1 == 1 && self.hours >> time.hour() & 1 == 1
    }

    fn instants(&self, locals: &[(i64, i64)]) -> Vec<i64> {
        let mut highest = i64::MIN;
        let mut previous = locals[0].1 - MINUTE;
        let mut instants = Vec::new();
        for &(at, local) in locals {
            let first_pass = local > highest;
            let mut skipped = (previous + MINUTE..local).step_by(MINUTE as usize);
            let due = self.names(local) && (first_pass || self.in_every_pass)
                || self.makes_up && first_pass && skipped.any(|civil| self.names(civil));
            instants.extend(due.then_some(at));
            (highest, previous) = (highest.max(local), local);
        }
        instants
    }
}

#[test]
fn every_zone_agrees_with_the_model_around_its_changes() {
    let expressions = [
        "30 2 * * *",
        "0 0 * * *",
        "15 1,3,23 * * *",
        "*/15 * * * *",
        "0 * * * *",
        "*/20 0-3 * * *",
        "10 */2 * * *",
    ];
    for (zone, changes) in zones() {
        let models = expressions.map(|expression| Model::new(zone, expression));
        for (change, _) in changes {
            let (start, end) = (change - DAY, change + 8 * 3_600);
            let locals: Vec<_> =
                (start..=end).step_by(MINUTE as usize).map(|at| (at, at + offset(zone, at))).collect();
            for model in &models {
                let expected = model.instants(&locals);
                let found: Vec<_> = upcoming(&model.schedule, to_instant(start - 1).unwrap())
                    .map(|at| at.timestamp())
                    .take_while(|at| *at <= end)
                    .collect();
                assert_eq!(found, expected, "{} in {zone} around {change}", model.schedule);
            }
        }
    }
}

#[test]
fn fixed_times_fire_once_every_civil_day_in_every_zone() {
    for (zone, changes) in zones() {
        for expression in ["30 2 * * *", "0 0 * * *", "45 23 * * *"] {
            let schedule = cron_in(zone, expression);
            // Made up for after a gap that ends at midnight, a time is still of the day before.
            let date = |at: DateTime<Utc>| {
                let local = at.with_timezone(&zone).naive_local();
                let on_time = expression.starts_with(&local.format("%-M %-H ").to_string());
                if on_time { local.date() } else { (local - TimeDelta::seconds(1)).date() }
            };
            for (change, _) in &changes {
                let start =
                    to_instant(*change).unwrap().with_timezone(&zone).date_naive() - TimeDelta::days(3);
                let before = to_instant(change - 6 * DAY).unwrap();
                let dates: Vec<_> =
                    upcoming(&schedule, before).map(date).skip_while(|date| *date < start).take(7).collect();
                let expected: Vec<_> = start.iter_days().take(7).collect();
                assert_eq!(dates, expected, "{expression} in {zone} around {change}");
            }
        }
    }
}

#[test]
fn intervals_are_evenly_spaced_where_the_shift_is_a_multiple() {
    for (zone, changes) in zones() {
        for (expression, spacing) in [("0 * * * *", 3_600), ("*/15 * * * *", 900), ("* * * * *", 60)] {
            let schedule = cron_in(zone, expression);
            for (change, _) in changes.iter().filter(|(_, shift)| shift % spacing == 0) {
                let before = to_instant(change - 4 * 3_600).unwrap();
                let instants: Vec<_> = upcoming(&schedule, before)
                    .take_while(|at| at.timestamp() < change + 4 * 3_600)
                    .collect();
                assert!(instants.len() > 6);
                for pair in instants.windows(2) {
                    assert_eq!(
                        (pair[1] - pair[0]).num_seconds(),
                        spacing,
                        "{expression} in {zone} at {}",
                        pair[0]
                    );
                }
            }
        }
    }
}
