//! What holds for any schedule, asked at any time.

use croner::parser::{CronParser, Seconds, Year};
use proptest::prelude::*;

use super::*;

const ZONES: [Tz; 8] = [
    Tz::UTC,
    Tz::America__New_York,
    Tz::Europe__Berlin,
    Tz::Australia__Lord_Howe,
    Tz::America__Sao_Paulo,
    Tz::Africa__Casablanca,
    Tz::Antarctica__Troll,
    Tz::Pacific__Apia,
];

/// Around changes of the clock in these zones, and elsewhere.
fn any_from() -> impl Strategy<Value = DateTime<Utc>> {
    let near = |text: &str| {
        let at = instant(text).timestamp();
        at - 90_000..at + 90_000
    };
    prop_oneof![
        near("2026-03-08T07:00:00Z"),
        near("2026-11-01T06:00:00Z"),
        near("2026-03-29T01:00:00Z"),
        near("2026-10-25T01:00:00Z"),
        near("2026-04-04T15:00:00Z"),
        near("2018-11-04T03:00:00Z"),
        near("2011-12-30T10:00:00Z"),
        0..4_200_000_000_i64,
    ]
    .prop_map(|second| to_instant(second).unwrap())
}

/// Spans, lists and steps of numbers, ascending only: what every library reads alike.
fn plain_field(min: u32, max: u32) -> impl Strategy<Value = String> {
    let span = (min..=max, min..=max, 1..=max).prop_map(move |(one, other, step)| {
        let (first, last) = (one.min(other), one.max(other));
        match step % 3 {
            0 => format!("{first}-{last}"),
            1 => format!("{first}-{last}/{}", step.min(max - min)),
            _ => first.to_string(),
        }
    });
    prop_oneof![
        3 => Just("*".to_owned()),
        2 => (min..=max).prop_map(|value| value.to_string()),
        1 => (2..=(max - min).min(30)).prop_map(|step| format!("*/{step}")),
        1 => proptest::collection::vec(span, 1..4).prop_map(|items| items.join(",")),
    ]
}

fn plain_expression() -> impl Strategy<Value = String> {
    (plain_field(0, 59), plain_field(0, 23), plain_field(1, 31), plain_field(1, 12), plain_field(0, 6))
        .prop_map(|(minute, hour, day, month, weekday)| format!("{minute} {hour} {day} {month} {weekday}"))
}

/// Any dialect of ours, with seconds now and then.
fn any_expression() -> impl Strategy<Value = String> {
    let special = prop_oneof![
        Just("0 0 L * *"),
        Just("30 1 LW * *"),
        Just("0 2 15W * FRI#2"),
        Just("*/5 22-2 * NOV-FEB SAT-MON"),
        Just("@daily"),
        Just("@hourly"),
        Just("@every 77s"),
        Just("59-1 1-3 * * 5L"),
        Just("0 0 29 2 *"),
        Just("*/20 30 2 * * * *"),
        Just("10,50 * 1 * * * *"),
        Just("@reboot"),
        Just("0 0 30 2 *"),
    ];
    prop_oneof![2 => plain_expression(), 1 => special.prop_map(str::to_owned),
        1 => (plain_field(0, 59), plain_expression()).prop_map(|(second, rest)| format!("{second} {rest} *"))]
}

fn any_schedule() -> impl Strategy<Value = Schedule> {
    let list = proptest::collection::vec(any_expression(), 1..4);
    (list, proptest::sample::select(&ZONES[..]))
        .prop_map(|(list, zone)| Schedule::cron(&list, zone, instant("2026-03-01T00:00:07Z")).unwrap())
}

fn croner(expression: &str) -> croner::Cron {
    let parser =
        CronParser::builder().seconds(Seconds::Optional).year(Year::Optional).sloppy_ranges(true).build();
    parser.parse(expression).unwrap()
}

/// The next instants up to the year 2099, where we end and croner does not.
fn assert_as_croner(expression: &str, from: DateTime<Utc>, count: usize) {
    let ours: Vec<_> = upcoming(&cron(expression), from).take(count).collect();
    let end = instant("2100-01-01T00:00:00Z");
    let mut theirs = Vec::new();
    let mut at = from;
    let reference = croner(expression);
    while theirs.len() < count
        && let Ok(next) = reference.find_next_occurrence(&at, false)
        && next < end
    {
        theirs.push(next);
        at = next;
    }
    assert_eq!(ours, theirs, "{expression} from {from}");
}

#[test]
fn croner_agrees_in_utc() {
    let times =
        ["*/7 * * * *", "0 0 * * *", "30 9 * * *", "5-50/9 3,4,21 * * *", "59 23 * * *", "0 */5 * * *"];
    let days = [
        "* * *",
        "1 * *",
        "31 * *",
        "29 2 *",
        "*/10 * *",
        "L * *",
        "15W * *",
        "1W * *",
        "* * 1-5",
        "* * 0",
        "* * 7",
        "* * 5L",
        "* * FRI#2",
        "* * 0#5",
        "13 * FRI",
        "1,15 JAN-MAR *",
        "* */5 SAT,SUN",
        "5-25/5 6 WED",
    ];
    let mut compared = 0;
    for (time, day) in times.iter().flat_map(|time| days.map(|day| (time, day))) {
        let expression = format!("{}{day}", time.strip_suffix("* * *").unwrap());
        for from in ["2026-11-22T01:30:15Z", "2028-02-28T23:59:59Z"] {
            assert_as_croner(&expression, instant(from), 8);
        }
        compared += 1;
    }
    for expression in ["*/5 * * * * * *", "10-20 0 12 L * * *", "0 0 0 1 1 * 2030-2040/4", "7 7 7 7 7 * *"] {
        assert_as_croner(expression, instant("2026-11-22T01:30:15Z"), 8);
        compared += 1;
    }
    assert!(compared > 60, "{compared}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn plain_expressions_agree_with_croner(expression in plain_expression(), from in 0..4_000_000_000_i64) {
        assert_as_croner(&expression, to_instant(from).unwrap(), 3);
    }

    #[test]
    fn next_tick_is_later_and_the_first(schedule in any_schedule(), from in any_from(), part in 0.0..1.0_f64) {
        if let Some(next) = schedule.next_after(from) {
            prop_assert!(next > from);
            prop_assert_eq!(next.timestamp_subsec_nanos(), 0);
            let seconds = (next - from).num_seconds() - 1;
            let between = from + chrono::TimeDelta::seconds((seconds as f64 * part) as i64);
            prop_assert_eq!(schedule.next_after(between), Some(next), "asked at {}", between);
        }
    }

    #[test]
    fn a_schedule_reads_as_it_prints(expression in any_expression(), from in any_from()) {
        let schedule = cron(&expression);
        let again = cron(&schedule.to_string());
        prop_assert_eq!(&again, &schedule);
        prop_assert_eq!(again.next_after(from), schedule.next_after(from));
        prop_assert!(!schedule.describe().is_empty());
    }

    #[test]
    fn latest_and_count_agree_with_iteration(
        schedule in any_schedule(), from in any_from(), span in prop_oneof![0..4_000_i64, 0..400_000_i64], cap in 0..900_u64,
    ) {
        let until = from + chrono::TimeDelta::seconds(span);
        let instants: Vec<_> = upcoming(&schedule, from).take_while(|at| *at <= until).take(5_000).collect();
        if instants.len() < 5_000 {
            prop_assert_eq!(schedule.latest_in(from, until), instants.last().copied());
            prop_assert_eq!(schedule.count_in(from, until, u64::MAX), instants.len() as u64);
        }
        prop_assert_eq!(schedule.count_in(from, until, cap), cap.min(instants.len() as u64));
    }

    #[test]
    fn arbitrary_text_neither_panics_nor_hangs(text in "\\PC{0,40}|[0-9*/,?LW# @a-z-]{0,60}") {
        survives(&text);
    }

    #[test]
    fn mutated_expressions_neither_panic_nor_hang(
        expression in any_expression(), at in any::<prop::sample::Index>(), with in "[ -~]{0,3}|\\PC", cut in 0..3_usize,
    ) {
        let mut letters: Vec<char> = expression.chars().collect();
        let start = at.index(letters.len());
        let end = (start + cut).min(letters.len());
        letters.splice(start..end, with.chars());
        survives(&letters.into_iter().collect::<String>());
    }
}

fn survives(text: &str) {
    match Schedule::cron(&[text], Tz::America__New_York, DateTime::UNIX_EPOCH) {
        Err(error) => assert!(error.to_string().len() > 20),
        Ok(schedule) => {
            for from in [DateTime::<Utc>::MIN_UTC, DateTime::UNIX_EPOCH, instant("2026-03-08T06:59:59Z")] {
                assert!(schedule.next_after(from).is_none_or(|next| next > from), "{text}");
            }
            assert!(schedule.next_after(DateTime::<Utc>::MAX_UTC).is_none(), "{text}");
            assert!(!schedule.describe().is_empty());
        }
    }
}

#[test]
fn the_ends_of_time_are_answered() {
    let (min, max) = (DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
    let every = Schedule::every(Duration::from_secs(u64::MAX >> 1), max).unwrap();
    for schedule in [
        cron("* * * * * * *"),
        cron("0 0 30 2 *"),
        cron("@every 1s"),
        every,
        Schedule::at(max),
        Schedule::at(min),
    ] {
        for (from, until) in [(min, max), (max, min), (min, min), (max, max)] {
            assert!(schedule.next_after(from).is_none_or(|next| next > from));
            assert!(schedule.latest_in(from, until).is_none_or(|at| from < at && at <= until));
            assert!(schedule.count_in(from, until, 1_000) <= 1_000);
        }
    }
}

#[test]
fn a_long_gap_is_not_walked_tick_by_tick() {
    let (from, until) = (instant("1990-01-01T00:00:00Z"), instant("2090-01-01T00:00:00Z"));
    let schedule = cron_in(Tz::Europe__Berlin, "* * * * * * *");
    assert_eq!(schedule.latest_in(from, until), Some(until));
    assert_eq!(schedule.count_in(from, until, u64::MAX), (until - from).num_seconds().unsigned_abs());
    let every = cron("@every 1s");
    assert_eq!(every.count_in(from, until, u64::MAX), (until - from).num_seconds().unsigned_abs());
}

#[test]
fn what_several_expressions_missed_is_not_counted_tick_by_tick() {
    let (from, until) = (instant("2020-01-01T00:30:00Z"), instant("2026-01-01T00:00:00Z"));
    let of =
        |list: &[&str]| Schedule::cron(list, Tz::Europe__Berlin, instant("2026-03-01T00:00:07Z")).unwrap();
    let mut dense = vec!["* * * * * * *", "*/2 * * * * * *"];
    dense.resize(MAX_EXPRESSIONS, "0 0 30 2 *");
    let all = (until - from).num_seconds().unsigned_abs();
    assert_eq!(of(&dense).count_in(from, until, u64::MAX), all);
    // Of the odd seconds 59 of 60 are left when each minute's second is among them.
    let odd = of(&["1/2 * * * * * *", "0 * * * * * *"]);
    assert_eq!(odd.count_in(from, until, u64::MAX), all / 60 * 31);
}
