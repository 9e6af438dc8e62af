use chrono::{TimeZone, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};

use super::*;

/// A job with every field given, with the drivers and policies of this release.
fn full() -> serde_json::Value {
    json!({
        "name": "nightly-backup", "labels": {"team": "ops"}, "description": "full backup of db3",
        "trigger": {"cron": ["30 2 * * *"], "zone": "Europe/Berlin"},
        "driver": {"shell": {"command": "backup --full", "user": "backup", "env": {"LEVEL": "9"}}},
        "overlap": "skip", "misfire": {"policy": "latest", "deadline": "1h"}, "timeout": "2h",
        "retry": {"attempts": 3, "backoff": "10s..5m"}, "delivery": "at-most-once", "on_lease_loss": "kill",
        "placement": {"policy": "hash", "require": ["disk=ssd"]}, "output": {"limit": "1MiB", "keep": "tail"}
    })
}

fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 22, 1, 2, 3).unwrap()
}

#[test]
fn a_job_is_written_as_it_was_read() {
    let job = Job::from_value(full()).unwrap();
    job.check(now()).unwrap();
    let written = serde_json::to_value(&job).unwrap();
    assert_eq!(Job::from_value(written.clone()).unwrap(), job);
    for (field, value) in full().as_object().unwrap() {
        assert_eq!(&written[field], value, "{field}");
    }
}

#[test]
fn the_documented_job_is_written_as_it_is_read() {
    let page = include_str!("../../../docs/jobs.md");
    let text = page.split("```json").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let documented: serde_json::Value = serde_json::from_str(text).unwrap();
    let job = Job::from_value(documented.clone()).unwrap();
    job.check(now()).unwrap();
    assert_eq!(serde_json::to_value(&job).unwrap(), documented);
    for field in documented.as_object().unwrap().keys() {
        assert!(page.lines().any(|line| line.starts_with('|') && line.contains(field)), "{field}");
    }
}

#[test]
fn gdts_fields_are_read() {
    let job = Job::from_json(br#"{"name":"a","command":"echo hello","cronExpr":"*/5 * * * * * *"}"#).unwrap();
    assert_eq!(job.driver.text(), "echo hello");
    assert_eq!(job.trigger.expressions(), ["*/5 * * * * * *"]);
}

#[test]
fn an_error_names_its_field_and_shows_what_is_right() {
    for (change, field, word) in [
        (json!({"nmae": "x"}), "nmae", "unknown field"),
        (json!({"name": "a/b"}), "name", "contains '/'"),
        (json!({"timeout": "soon"}), "timeout", "duration"),
        (json!({"driver": {"shell": {"command": "x", "usr": "y"}}}), "driver.shell", "usr"),
        (json!({"overlap": "sometimes"}), "overlap", "unknown variant"),
        (json!({"trigger": {"cron": ["* * * * *"], "every": "5s"}}), "trigger", "exactly one"),
        (json!({"trigger": {"cron": ["* * * * *"], "zone": "Europe/Berlni"}}), "trigger", "Europe/Berlin"),
    ] {
        let mut value = full();
        value.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let error = Job::from_value(value).unwrap_err();
        assert!(error.errors[0].field.starts_with(field), "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(!error.errors[0].example.is_empty(), "{error}");
        assert!(error.to_string().matches("use, for example,").count() == 1, "{error}");
    }
}

#[test]
fn what_was_given_and_what_is_right_are_told_once() {
    let long = "x".repeat(201);
    for (change, told) in [
        (json!({"name": ""}), r#"name: is empty; use, for example, "nightly-backup""#),
        (json!({"name": "a/b"}), r#"name: "a/b" contains '/'; use, for example, "nightly-backup""#),
        (json!({"name": long}), r#"xxxx" is longer than 200 bytes; use, for example, "nightly-backup""#),
        (
            json!({"grace": "\" 5"}),
            r#"grace: "\" 5" is not a duration; use, for example, "90s", "1h30m", "30d" or "250ms""#,
        ),
        (
            json!({"retry": {"backoff": "5"}}),
            r#"retry.backoff: "5" is not a backoff; use, for example, "10s..5m" or "30s""#,
        ),
        (
            json!({"output": {"limit": "1XB"}}),
            r#"output.limit: "1XB" is not a size; use, for example, "1MiB" or "64KiB""#,
        ),
    ] {
        let mut value = full();
        value.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let error = Job::from_value(value).unwrap_err().to_string();
        assert!(error.ends_with(told), "{error}");
    }
}

#[test]
fn all_problems_come_together() {
    let mut job = Job::from_value(full()).unwrap();
    job.trigger = Trigger::cron(vec!["0 0 30 2 *".into()]);
    job.driver = Command::Exec(Exec::default());
    job.retry.attempts = 0;
    let fields: Vec<String> =
        job.check(now()).unwrap_err().errors.into_iter().map(|error| error.field).collect();
    assert_eq!(fields, ["trigger.cron[0]", "driver.exec.argv", "retry.attempts"]);
}

#[test]
fn what_would_only_come_after_the_year_9999_is_refused() {
    for (trigger, field) in [
        (json!({"at": "+10000-01-01T00:00:00Z"}), "trigger.at"),
        (json!({"at": "9999-12-31T23:59:59.5Z"}), "trigger.at"),
        (json!({"every": "1s", "anchor": "+262142-12-31T23:59:59Z"}), "trigger.anchor"),
    ] {
        let mut job = Job::from_value(full()).unwrap();
        job.trigger = serde_json::from_value(trigger).unwrap();
        assert_eq!(job.check(now()).unwrap_err().errors[0].field, field);
        let schedule = job.schedule().unwrap().unwrap();
        assert_eq!(schedule.next_after(now()), None);
        assert_eq!(schedule.latest_in(now(), DateTime::<Utc>::MAX_UTC), None);
        assert_eq!(schedule.count_in(now(), DateTime::<Utc>::MAX_UTC, 9), 0);
    }
}

#[test]
fn of_very_many_problems_the_first_are_told() {
    let mut job = Job::from_value(full()).unwrap();
    job.placement.require = vec![String::new(); 10_000];
    job.retry.attempts = 0;
    let error = job.check(now()).unwrap_err();
    assert_eq!((error.errors.len(), error.errors[0].field.as_str()), (MOST_PROBLEMS, "retry.attempts"));
    assert!(error.to_string().len() < 10_000);
}

#[test]
fn long_texts_are_cut_where_they_are_told() {
    let mut value = full();
    value.as_object_mut().unwrap().insert("x".repeat(900_000), json!(1));
    let error = Job::from_value(value).unwrap_err();
    assert!(error.to_string().len() < 2_000, "{}", error.to_string().len());
    let mut job = Job::from_value(full()).unwrap();
    let env = [("x".repeat(100_000), "\0".to_owned())].into();
    job.driver = Command::Shell(Shell {
        environment: Environment { env, ..Environment::default() },
        ..Shell::default()
    });
    assert!(job.check(now()).unwrap_err().to_string().len() < 2_000);
}

#[test]
fn what_is_of_the_wrong_kind_is_told_without_our_own_names() {
    for (field, value) in [
        ("trigger", json!(null)),
        ("trigger", json!({"cron": 1})),
        ("driver", json!(1)),
        ("driver", json!({"shell": 1})),
        ("driver", json!({"exec": "x"})),
        ("retry", json!("x")),
        ("misfire", json!(1)),
        ("placement", json!("x")),
        ("output", json!("1MiB")),
    ] {
        let mut job = full();
        job.as_object_mut().unwrap().insert(field.to_owned(), value);
        let error = Job::from_value(job).unwrap_err();
        assert!(error.errors[0].field.starts_with(field), "{error}");
        assert!(!error.to_string().contains("struct ") && !error.to_string().contains("enum "), "{error}");
    }
}

#[test]
fn saving_fixes_zone_and_anchor_once() {
    let mut first =
        Job::from_json(br#"{"name":"a","trigger":{"every":"90s"},"driver":{"exec":{"argv":["x"]}}}"#)
            .unwrap();
    first.settle(Tz::Europe__Berlin, now(), None);
    let mut second = first.clone();
    second.trigger = Trigger::Every { period: Span::seconds(60), anchor: None };
    second.settle(Tz::UTC, now() + chrono::Duration::hours(5), Some(&first));
    assert_eq!(second.trigger, Trigger::Every { period: Span::seconds(60), anchor: Some(now()) });

    let mut cron = Job::from_json(br#"{"name":"a","command":"x","cronExpr":"* * * * *"}"#).unwrap();
    cron.settle(Tz::Europe__Berlin, now(), None);
    assert!(matches!(cron.trigger, Trigger::Cron { zone: Some(Tz::Europe__Berlin), anchor: None, .. }));
}

#[test]
fn what_was_written_by_hand_is_read_or_refused_but_never_taken_for_another() {
    let stored = StoredJob::new(Job::from_value(full()).unwrap(), now());
    assert_eq!(StoredJob::decode("nightly-backup", &stored.encode()).unwrap(), stored);
    let bare = br#"{"name":"a","command":"x","cronExpr":"* * * * *"}"#;
    assert_eq!(StoredJob::decode("a", bare).unwrap().job.driver.text(), "x");
    for (name, bytes) in
        [("b", &bare[..]), ("a", b"{"), ("a", b"\xff"), ("a", b"[]"), ("a", br#"{"v":2,"job":{}}"#)]
    {
        assert!(StoredJob::decode(name, bytes).is_err());
    }
}

#[test]
fn a_umask_is_octal_text_and_a_bad_one_is_named() {
    let with = |umask: &str| {
        let text = format!(
            r#"{{"name": "a", "trigger": {{"cron": ["* * * * *"]}},
                "driver": {{"shell": {{"command": "date", "dir": "~/x", "umask": "{umask}"}}}}}}"#
        );
        let job = Job::from_json(text.as_bytes()).unwrap();
        job.check(chrono::DateTime::UNIX_EPOCH).map(|_| job.driver.environment().unwrap().umask())
    };
    assert_eq!(Command::Shell(Shell::default()).environment().unwrap().umask(), 0o022);
    for (text, umask) in [("022", 0o022), ("0077", 0o077), ("2", 2), ("777", 0o777)] {
        assert_eq!(with(text), Ok(umask), "{text}");
    }
    for bad in ["", "8", "+22", "u=rwx", "1777", "00022", "-1"] {
        let errors = with(bad).unwrap_err().errors;
        assert_eq!(errors.len(), 1, "{bad}");
        assert_eq!((&*errors[0].field, &*errors[0].got), ("driver.shell.umask", bad));
    }
}

/// A whole job with one field changed; of a path such as `trigger.zone`.
fn changed(base: &Value, path: &str, value: Value) -> Value {
    let mut job = base.clone();
    let mut place = &mut job;
    for part in path.split('.') {
        place = place.as_object_mut().unwrap().entry(part).or_insert_with(|| json!({}));
    }
    *place = value;
    job
}

#[test]
fn a_wrong_value_is_told_at_its_own_field_and_with_a_right_one() {
    let shell = full();
    let mut exec = full();
    exec["driver"] = json!({"exec": {"argv": ["/bin/true"]}});
    let every = changed(&shell, "trigger", json!({"every": "90s"}));
    let at = changed(&shell, "trigger", json!({"at": "2031-12-24T18:00:00Z"}));
    let manual = changed(&shell, "trigger", json!({"manual": true}));
    told_at_their_fields(
        [
            (&shell, "name", json!(1), "name"),
            (&shell, "description", json!(1), "description"),
            (&shell, "labels", json!([]), "labels"),
            (&shell, "labels.team", json!(1), "labels.team"),
            (&shell, "trigger", json!("daily"), "trigger"),
            (&shell, "trigger.cron", json!(1), "trigger.cron"),
            (&shell, "trigger.cron", json!(["@daily", 1]), "trigger.cron[1]"),
            (&shell, "trigger.cron", json!(["@daily", "61 * * * *"]), "trigger.cron[1]"),
            (&shell, "trigger.zone", json!("Europe/Berlni"), "trigger.zone"),
            (&shell, "trigger.zone", json!(1), "trigger.zone"),
            (&shell, "trigger.anchor", json!("noon"), "trigger.anchor"),
            (&every, "trigger.every", json!("soon"), "trigger.every"),
            (&every, "trigger.every", json!("1M"), "trigger.every"),
            (&every, "trigger.every", json!(90), "trigger.every"),
            (&at, "trigger.at", json!("noon"), "trigger.at"),
            (&manual, "trigger.manual", json!("yes"), "trigger.manual"),
            (&shell, "driver.shell.command", json!(1), "driver.shell.command"),
            (&shell, "driver.shell.command", json!(" "), "driver.shell.command"),
            (&shell, "driver.shell.shell", json!(1), "driver.shell.shell"),
            (&shell, "driver.shell.shell", json!("bash"), "driver.shell.shell"),
            (&shell, "driver.shell.colour", json!(1), "driver.shell.colour"),
            (&exec, "driver.exec.argv", json!("true"), "driver.exec.argv"),
            (&exec, "driver.exec.argv", json!(["true", 1]), "driver.exec.argv[1]"),
            (&exec, "driver.exec.colour", json!(1), "driver.exec.colour"),
            (&shell, "overlap", json!("sometimes"), "overlap"),
            (&shell, "misfire.policy", json!("some"), "misfire.policy"),
            (&shell, "misfire.limit", json!(99), "misfire.limit"),
            (&shell, "misfire.limit", json!(-1), "misfire.limit"),
            (&shell, "misfire.deadline", json!("1 year"), "misfire.deadline"),
            (&shell, "timeout", json!("1 month"), "timeout"),
            (&shell, "output_timeout", json!("1y"), "output_timeout"),
            (&shell, "grace", json!("later"), "grace"),
            (&shell, "retry.attempts", json!(0), "retry.attempts"),
            (&shell, "retry.backoff", json!("5m..10s"), "retry.backoff"),
            (&shell, "retry.backoff", json!("10s..1M"), "retry.backoff"),
            (&shell, "retry.on", json!([1, -1]), "retry.on[1]"),
            (&shell, "retry.on", json!([256]), "retry.on[0]"),
            (&shell, "retry.on", json!([0]), "retry.on[0]"),
            (&shell, "retry.on", json!(["1"]), "retry.on[0]"),
            (&shell, "delivery", json!("thrice"), "delivery"),
            (&shell, "on_lease_loss", json!("panic"), "on_lease_loss"),
            (&shell, "placement.policy", json!("best"), "placement.policy"),
            (&shell, "placement.require", json!(["a", ""]), "placement.require[1]"),
            (&shell, "output.limit", json!("1TiB"), "output.limit"),
            (&shell, "output.limit", json!("much"), "output.limit"),
            (&shell, "output.keep", json!("middle"), "output.keep"),
        ]
        .into_iter()
        .map(|(base, path, value, field)| (base, path.to_owned(), value, field.to_owned())),
    );
}

#[test]
fn a_wrong_value_around_a_process_is_told_at_its_own_field() {
    let shell = full();
    let mut exec = full();
    exec["driver"] = json!({"exec": {"argv": ["/bin/true"]}});
    let around = [
        ("env", json!([]), "env"),
        ("env.LEVEL", json!(9), "env.LEVEL"),
        ("env.A=B", json!("9"), "env.A=B"),
        ("dir", json!("relative"), "dir"),
        ("dir", json!(1), "dir"),
        ("user", json!(1), "user"),
        ("user", json!(""), "user"),
        ("umask", json!(22), "umask"),
        ("umask", json!("9"), "umask"),
        ("stdin", json!(1), "stdin"),
    ];
    told_at_their_fields([("shell", &shell), ("exec", &exec)].into_iter().flat_map(|(driver, base)| {
        around.clone().map(|(path, value, field)| {
            (base, format!("driver.{driver}.{path}"), value, format!("driver.{driver}.{field}"))
        })
    }));
}

/// A job, where in it a value is to be changed, to which one, and the field that the error has to name.
fn told_at_their_fields<'a>(wrong: impl IntoIterator<Item = (&'a Value, String, Value, String)>) {
    for (base, path, value, field) in wrong {
        let job = Job::from_value(changed(base, &path, value.clone()));
        let error = job.and_then(|job| job.check(now())).expect_err(&format!("{path}: {value} is taken"));
        assert_eq!(error.errors[0].field, field, "{path}: {value}: {error}");
        assert!(!error.errors[0].example.is_empty(), "{path}: {value}: {error}");
    }
}

#[test]
fn a_stored_job_with_spans_or_exit_codes_that_are_no_longer_taken_goes_on() {
    let mut job = full();
    job["trigger"] = json!({"cron": ["@every 1M", "0 3 * * *"], "zone": "UTC"});
    job["timeout"] = json!("1month 2days");
    job["retry"] = json!({"attempts": 2, "backoff": "10s..1M", "on": [-1, 256, 3]});
    for stored in [json!({"v": 1, "job": job}), job] {
        let stored = StoredJob::decode("nightly-backup", stored.to_string().as_bytes()).unwrap();
        let month = 2_630_016;
        assert_eq!(stored.job.timeout, Some(Span::seconds(month + 2 * 86_400)));
        assert_eq!(stored.job.retry.backoff.most.as_secs(), month);
        assert!(stored.job.schedule().is_ok(), "{:?}", stored.job.trigger);
        // What it is written as is read again.
        let again = StoredJob::decode("nightly-backup", &stored.encode()).unwrap();
        assert_eq!(again.job, stored.job);
    }
}
