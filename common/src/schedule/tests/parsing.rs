use super::*;

/// The days, as "month-day", on which an expression fires in 2026 and 2027.
fn first_instants(expression: &str, count: usize) -> Vec<String> {
    upcoming(&cron(expression), instant("2025-12-31T23:59:59Z"))
        .take(count)
        .map(|at| at.format("%Y-%m-%d %H:%M:%S").to_string())
        .collect()
}

fn assert_same(one: &str, other: &str) {
    let (one_at, other_at) = (first_instants(one, 40), first_instants(other, 40));
    assert_eq!(one_at, other_at, "{one} and {other}");
    assert_eq!(one_at.len(), 40, "{one}");
}

#[test]
fn fields_are_counted_as_gdts_does() {
    assert_eq!(first_instants("30 9 * * *", 1), ["2026-01-01 09:30:00"]);
    assert_eq!(first_instants("30 9 * * * 2028", 1), ["2028-01-01 09:30:00"]);
    assert_eq!(first_instants("5 30 9 * * * 2028", 1), ["2028-01-01 09:30:05"]);
    assert_eq!(first_instants(" \t30  9\t* * *\r\n", 1), ["2026-01-01 09:30:00"]);
    assert!(refusal("0 30 9 * * * 2028 *").problem().contains("8 fields"));
    assert!(refusal("* * * *").problem().contains("4 of at least 5"));
    assert!(refusal("").problem().contains("empty"));
    assert!(refusal("*/5 * * * * MON").to_string().contains("seconds need 7 fields"));
}

#[test]
fn macros_stand_for_fields() {
    for (name, fields) in [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * 0"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
        ("@every 90s", "@every 1m 30s"),
    ] {
        assert_same(name, fields);
    }
    for bad in [
        "@daly",
        "@Daily",
        "@daily 2030",
        "@reboot now",
        "@",
        "@every",
        "@every x",
        "@every 0s",
        "@every 1500ms",
        "@every -5s",
        "@every 99999999999999999999s",
        "@everyday",
    ] {
        refusal(bad);
    }
    assert!(refusal("@Daily").problem().contains("lower case"));
}

#[test]
fn lists_ranges_and_steps_are_read() {
    for (one, other) in [
        ("1,, * * * * * *", "1 * * * * * *"),
        (",,5 0 * * *", "5 0 * * *"),
        ("08 05 01 02 03", "8 5 1 2 3"),
        ("0 0 * 01 *", "0 0 * JAN *"),
        ("0 0 * 08-09 *", "0 0 * August-September *"),
        ("0 0 * * 07", "0 0 * * SUN"),
        ("0 0 * * monday,Wed,FRIDAY", "0 0 * * 1,3,5"),
        ("0 0 ? * ?", "0 0 * * *"),
        ("? ? ? ? ?", "* * * * *"),
        ("50/3 * * * *", "50,53,56,59 * * * *"),
        ("50-59/3 * * * *", "50,53,56,59 * * * *"),
        ("0 0 29/1 * *", "0 0 29,30,31 * *"),
        ("0 0 * 11/1 *", "0 0 * 11,12 *"),
        ("0 0 * * 4/2", "0 0 * * 4,6"),
        ("0 0 * * 7/3", "0 0 * * 0,3,6"),
        ("0 0 1 1 * 2030/3", "0 0 1 1 * 2030-2099/3"),
        ("*,5 0 * * *", "* 0 * * *"),
        ("0 0 1 * *,MON", "0 0 1 * *"),
        ("0 0 1 * */1", "0 0 * * *"),
    ] {
        if one.ends_with("2030/3") {
            assert_eq!(first_instants(one, 99), first_instants(other, 99));
        } else {
            assert_same(one, other);
        }
    }
}

#[test]
fn ranges_wrap_where_the_clock_does() {
    for (one, other) in [
        ("50-10/5 * * * * * *", "50,55,0,5,10 * * * * * *"),
        ("58-2 * * * *", "58,59,0,1,2 * * * *"),
        ("0 22-2 * * *", "0 22,23,0,1,2 * * *"),
        ("0 22-2/2 * * *", "0 22,0,2 * * *"),
        ("0 0 1 NOV-FEB *", "0 0 1 11,12,1,2 *"),
        ("0 0 1 11-2/2 *", "0 0 1 11,1 *"),
        ("0 0 * * FRI-MON", "0 0 * * 5,6,0,1"),
        ("0 0 * * 5-7", "0 0 * * 5,6,0"),
        ("0 0 * * 0-7", "0 0 * * *"),
        ("0 0 * * 7-2", "0 0 * * 0,1,2"),
        ("0 0 * * 7-7", "0 0 * * SUN"),
        ("0 0 * * SAT-7", "0 0 * * 6,0"),
        ("0 0 * * 1-7/2", "0 0 * * 1,3,5,0"),
    ] {
        assert_same(one, other);
    }
    assert_eq!(refusal("0 0 20-10 * *").problem(), "is a range that runs backwards");
    assert_eq!(refusal("0 0 1 1 * 2030-2029").field(), Some("year"));
}

#[test]
fn special_days_are_found() {
    for (expression, expected) in [
        ("0 0 L * *", ["2026-01-31", "2026-02-28", "2026-03-31"]),
        ("0 0 l 2 *", ["2026-02-28", "2027-02-28", "2028-02-29"]),
        ("0 0 LW * *", ["2026-01-30", "2026-02-27", "2026-03-31"]),
        ("0 0 15W * *", ["2026-01-15", "2026-02-16", "2026-03-16"]),
        ("0 0 1w * *", ["2026-01-01", "2026-02-02", "2026-03-02"]),
        ("0 0 31W * *", ["2026-01-30", "2026-03-31", "2026-05-29"]),
        ("0 0 * * 5L", ["2026-01-30", "2026-02-27", "2026-03-27"]),
        ("0 0 * * fridayL", ["2026-01-30", "2026-02-27", "2026-03-27"]),
        ("0 0 * * 7L", ["2026-01-25", "2026-02-22", "2026-03-29"]),
        ("0 0 * * FRI#2", ["2026-01-09", "2026-02-13", "2026-03-13"]),
        ("0 0 * * 0#5", ["2026-03-29", "2026-05-31", "2026-08-30"]),
        ("0 0 13 * FRI#2", ["2026-01-09", "2026-01-13", "2026-02-13"]),
        ("0 0 L,15 * ?", ["2026-01-15", "2026-01-31", "2026-02-15"]),
        ("0 0 29 2 *", ["2028-02-29", "2032-02-29", "2036-02-29"]),
    ] {
        let days: Vec<_> = first_instants(expression, 3).iter().map(|at| at[..10].to_owned()).collect();
        assert_eq!(days, expected, "{expression}");
    }
    assert_eq!(upcoming(&cron("0 0 29 2 *"), instant("2088-03-01T00:00:00Z")).count(), 2);
}

#[test]
fn what_the_library_refuses_stays_refused() {
    for (expression, field, got) in [
        ("0 0 L-3 * *", "day of month", "L-3"),
        ("0 0 W * *", "day of month", "W"),
        ("0 0 1-5W * *", "day of month", "1-5W"),
        ("0 0 0W * *", "day of month", "0W"),
        ("0 0 WL * *", "day of month", "WL"),
        ("0 0 0 * *", "day of month", "0"),
        ("0 0 * * L", "day of week", "L"),
        ("0 0 * * 1#6", "day of week", "1#6"),
        ("0 0 * * 1#0", "day of week", "1#0"),
        ("0 0 * * 1#", "day of week", "1#"),
        ("0 0 * * 8", "day of week", "8"),
        ("0 0 * * tues", "day of week", "tues"),
        ("0 0 * sept *", "month", "sept"),
        ("0 0 * 13 *", "month", "13"),
        ("0 24 * * *", "hour", "24"),
        ("60 * * * *", "minute", "60"),
        ("007 * * * *", "minute", "007"),
        ("-1 * * * *", "minute", "-1"),
        ("+1 * * * *", "minute", "+1"),
        ("1- * * * *", "minute", "1-"),
        ("1-2-3 * * * *", "minute", "1-2-3"),
        ("1/2/3 * * * *", "minute", "1/2/3"),
        ("*/0 * * * *", "minute", "*/0"),
        ("*/60 * * * *", "minute", "*/60"),
        ("*/005 * * * *", "minute", "*/005"),
        ("*/ * * * *", "minute", "*/"),
        ("?/5 * * * *", "minute", "?/5"),
        ("*-5 * * * *", "minute", "*-5"),
        ("*,x * * * *", "minute", "x"),
        ("0 */24 * * *", "hour", "*/24"),
        ("0 0 * */13 *", "month", "*/13"),
        ("0 0 * * */7", "day of week", "*/7"),
        ("0 0 1 1 * 1969", "year", "1969"),
        ("0 0 1 1 * 2100", "year", "2100"),
        ("0 0 1 1 * 26", "year", "26"),
        ("0 0 1 1 * *;", "year", "*;"),
        (",, * * * *", "minute", ",,"),
        ("\u{663} * * * *", "minute", "\u{663}"),
    ] {
        let error = refusal(expression);
        assert_eq!((error.field(), error.got()), (Some(field), got), "{error}");
        assert!(!error.problem().is_empty() && !error.allowed().is_empty());
        assert!(error.to_string().contains(error.example()), "{error}");
    }
}

#[test]
fn an_example_is_right_where_it_is_offered() {
    for (position, field) in field::Field::ALL.into_iter().enumerate() {
        let mut fields = ["*"; 7];
        fields[position] = field.example();
        cron(&fields.join(" "));
    }
}

#[test]
fn an_error_is_one_clear_sentence() {
    let list = ["0 0 * * *", "61 * * * *"];
    let error = Schedule::cron(&list, Tz::UTC, DateTime::UNIX_EPOCH).unwrap_err();
    assert_eq!(
        error.to_string(),
        "expression 2: minute \"61\" in \"61 * * * *\" is out of range; allowed: 0-59, lists (0,30), ranges \
         (10-20) and steps (*/15), for example */15"
    );
    assert_eq!(error.index(), 1);
}

#[test]
fn input_is_bounded() {
    let long = format!("{}1 * * * *", "1,".repeat(600));
    assert!(refusal(&long).problem().contains("longer than 1024 bytes"));
    assert!(refusal(&long).to_string().len() < 600);
    let listed = (0..60).map(|value| value.to_string()).collect::<Vec<_>>().join(",");
    assert_same(&format!("{listed} * * * *"), "* * * * *");
    let list = |count: usize| Schedule::cron(&vec!["@daily"; count], Tz::UTC, DateTime::UNIX_EPOCH);
    assert!(list(0).unwrap_err().problem().contains("empty"));
    assert!(list(MAX_EXPRESSIONS).is_ok());
    assert_eq!(list(MAX_EXPRESSIONS + 1).unwrap_err().index(), MAX_EXPRESSIONS);
}
