use super::*;

mod describing;
mod dst;
mod parsing;
mod properties;
mod vectors;

fn instant(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

/// Anchored at the epoch.
fn cron_in(zone: Tz, expression: &str) -> Schedule {
    Schedule::cron(&[expression], zone, DateTime::UNIX_EPOCH).unwrap()
}

fn cron(expression: &str) -> Schedule {
    cron_in(Tz::UTC, expression)
}

fn upcoming(schedule: &Schedule, from: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> {
    std::iter::successors(schedule.next_after(from), |at| schedule.next_after(*at))
}

fn refusal(expression: &str) -> ScheduleError {
    match Schedule::cron(&[expression], Tz::UTC, DateTime::UNIX_EPOCH) {
        Ok(schedule) => panic!("{expression:?} became {schedule:?}"),
        Err(error) => error,
    }
}

#[test]
fn an_interval_counts_from_its_anchor() {
    let anchor = instant("2026-11-22T12:00:00.7Z");
    let schedule = Schedule::every(Duration::from_secs(90), anchor).unwrap();
    assert_eq!(schedule.next_after(anchor), Some(instant("2026-11-22T12:01:30Z")));
    assert_eq!(schedule.next_after(instant("2026-11-22T12:01:30Z")), Some(instant("2026-11-22T12:03:00Z")));
    assert_eq!(schedule.next_after(instant("2020-01-01T00:00:00Z")), Some(instant("2026-11-22T12:00:00Z")));
    assert_eq!(schedule.zone(), None);

    let same = Schedule::cron(&["@every 1m30s"], Tz::UTC, anchor).unwrap();
    assert_eq!(same.next_after(anchor), schedule.next_after(anchor));
}

#[test]
fn a_period_is_whole_seconds() {
    let every = |period| Schedule::every(period, DateTime::UNIX_EPOCH);
    for period in [Duration::ZERO, Duration::from_millis(999), Duration::from_millis(1_500), Duration::MAX] {
        let error = every(period).unwrap_err();
        assert!(error.to_string().contains("@every 90s"), "{error}");
    }
    assert!(every(Duration::from_secs(1)).is_ok());
}

#[test]
fn an_instant_comes_once_and_never_early() {
    let schedule = Schedule::at(instant("2026-11-22T12:00:00.001Z"));
    let due = instant("2026-11-22T12:00:01Z");
    assert_eq!(schedule.next_after(instant("2026-11-22T12:00:00.5Z")), Some(due));
    assert_eq!(schedule.next_after(due), None);
    assert_eq!(schedule.latest_in(instant("2026-11-22T12:00:00Z"), due), Some(due));
    assert_eq!(schedule.count_in(instant("2026-11-22T12:00:00Z"), due, 9), 1);
    assert_eq!(schedule.count_in(due, instant("2027-01-01T00:00:00Z"), 9), 0);
}

#[test]
fn a_list_fires_when_any_of_it_does_and_once_when_several_do() {
    let list = ["0 12 * * *", "@every 6h", "@reboot", "0 0 12 * * * *"];
    let schedule = Schedule::cron(&list, Tz::Europe__Berlin, DateTime::UNIX_EPOCH).unwrap();
    let next: Vec<_> = upcoming(&schedule, instant("2026-11-22T00:00:00Z")).take(4).collect();
    let expected =
        ["06:00", "11:00", "12:00", "18:00"].map(|time| instant(&format!("2026-11-22T{time}:00Z")));
    assert_eq!(next, expected);
    assert_eq!(schedule.count_in(instant("2026-11-22T00:00:00Z"), instant("2026-11-23T00:00:00Z"), 99), 5);
    assert!(schedule.fires_at_boot() && !schedule.is_reboot());
}

#[test]
fn a_reboot_has_no_instants() {
    let schedule = validate(&["@reboot"], Tz::UTC, DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH).unwrap();
    assert!(schedule.is_reboot());
    assert_eq!(schedule.next_after(DateTime::<Utc>::MIN_UTC), None);
    assert_eq!(schedule.latest_in(DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC), None);
    assert!(!cron("0 0 * * *").is_reboot());
}

#[test]
fn what_never_fires_is_refused_at_save() {
    let now = instant("2026-11-22T00:00:00Z");
    let check = |expression: &str| validate(&[expression], Tz::UTC, now, now);
    for (expression, field, got) in [
        ("0 0 30 2 *", "day of month", "30"),
        ("0 0 0 31 2,4,6,9,11 * *", "day of month", "31"),
        ("0 0 29 2 * 2027-2027", "day of month", "29"),
        ("0 0 ? 2 MON#5 2027", "day of week", "MON#5"),
        ("0 0 1 1 * 2025", "year", "2025"),
    ] {
        let error = check(expression).unwrap_err();
        assert_eq!((error.field(), error.got()), (Some(field), got), "{error}");
    }
    assert!(check("* * * * * 2026").is_ok(), "the running year");
    assert!(check("0 0 29 2 *").is_ok());
    assert!(check("0 0 30 2 MON").is_ok(), "either day field suffices");
    let error = validate(&["0 0 * * *", "0 0 30 2 *"], Tz::UTC, now, now).unwrap_err();
    assert_eq!((error.index(), error.expression()), (1, "0 0 30 2 *"));
    assert!(Schedule::cron(&["0 0 1 1 * 2025"], Tz::UTC, now).is_ok(), "stored jobs outlive their years");
    let error = validate(&["@daily"], Tz::UTC, now, instant("2100-01-02T00:00:00Z")).unwrap_err();
    assert!(error.to_string().contains("2099"), "{error}");
}

#[test]
fn a_schedule_is_small() {
    for line in include_str!("../../../tests/vectors/cron.jsonl").lines() {
        let text =
            serde_json::from_str::<serde_json::Value>(line).unwrap()["expr"].as_str().unwrap().to_owned();
        let bytes = size_of::<Schedule>()
            + 2 * size_of::<usize>()
            + size_of::<Inner>()
            + size_of::<Part>()
            + text.len();
        assert!(bytes <= 300, "{text}: {bytes} bytes");
    }
    // Each expression of a list is within the bound as well, unless its own text fills it.
    assert!(size_of::<Part>() <= 200, "{}", size_of::<Part>());
}

#[test]
fn a_schedule_is_shared_between_threads() {
    fn shared<T: Send + Sync + Clone + 'static>() {}
    shared::<Schedule>();
}
