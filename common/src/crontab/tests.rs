use chrono::{DateTime, Datelike, Duration, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use proptest::prelude::*;

use super::*;

fn options(file: &str) -> Options {
    Options {
        format: Format::of_path(file),
        file: file.to_owned(),
        source: String::new(),
        name_prefix: String::new(),
        zone: Tz::Europe__Berlin,
        user: None,
        require: Vec::new(),
        now: Utc.with_ymd_and_hms(2026, 11, 22, 1, 2, 3).unwrap(),
    }
}

fn user(text: &str) -> Crontab {
    parse(text.as_bytes(), &options("-"))
}

/// The only job of a user's crontab.
fn job(text: &str) -> Job {
    let crontab = user(text);
    let mut jobs = crontab.jobs();
    let (_, job) = jobs.next().unwrap_or_else(|| panic!("no job in {:?}", crontab.lines));
    assert!(jobs.next().is_none());
    job.clone()
}

fn shell(job: &Job) -> &Shell {
    match &job.driver {
        Command::Shell(shell) => shell,
        _ => panic!("{job:?}"),
    }
}

/// Why the last line is not a job.
fn refusal(text: &str) -> String {
    match &user(text).lines.last().unwrap().outcome {
        Outcome::Problem { reason } => reason.clone(),
        other => panic!("{text:?} became {other:?}"),
    }
}

#[test]
fn a_system_table_is_read_with_its_users_and_settings() {
    let text = "# maintenance\n\nSHELL=/bin/bash\nPATH=/usr/sbin:/usr/bin\nMAILTO=root\n\
                17 *\t* * *\troot\tcd / && run-parts --report /etc/cron.hourly\n\
                */10 * * * * www-data [ -x /usr/lib/php/clean ] && /usr/lib/php/clean\n";
    let crontab = parse(text.as_bytes(), &options("/etc/crontab"));
    let expected = Count { lines: 7, jobs: 2, settings: 3, comments: 1, blank: 1, problems: 0 };
    assert_eq!(crontab.count(), expected, "{crontab:?}");
    let jobs: Vec<_> = crontab.jobs().collect();
    assert_eq!((jobs[0].0, jobs[1].0), (6, 7));
    let (first, second) = (shell(jobs[0].1), shell(jobs[1].1));
    assert_eq!(first.command, "cd / && run-parts --report /etc/cron.hourly");
    assert_eq!(first.shell.as_deref(), Some("/bin/bash"));
    assert_eq!(first.environment.user.as_deref(), Some("root"));
    assert_eq!(second.environment.user.as_deref(), Some("www-data"));
    assert_eq!(second.environment.env["PATH"], "/usr/sbin:/usr/bin");
    assert_eq!(jobs[0].1.trigger.expressions(), ["17 * * * *"]);
    assert!(jobs[0].1.description.starts_with("imported from /etc/crontab: 17 *"), "{:?}", jobs[0].1);
    assert!(crontab.lines[4].notes[0].contains("no mail"));
}

#[test]
fn a_setting_holds_for_the_lines_below_it_only() {
    let crontab = user("* * * * * a\nLEVEL = \"9 x\"\n'HOME'='/srv'\n* * * * * b\nLEVEL=1\n* * * * * c\n");
    let environments: Vec<_> = crontab.jobs().map(|(_, job)| shell(job).environment.clone()).collect();
    assert!(!environments[0].env.contains_key("LEVEL"));
    assert_eq!((&*environments[1].env["LEVEL"], &*environments[2].env["LEVEL"]), ("9 x", "1"));
    assert_eq!((environments[0].dir.as_deref(), environments[1].dir.as_deref()), (Some("~"), Some("/srv")));
}

#[test]
fn a_job_finds_what_cron_gives_where_the_table_says_nothing() {
    let crontab = user("* * * * * a\nSHELL=/bin/bash\nPATH=/opt/bin\n* * * * * b\n");
    let environments: Vec<_> = crontab.jobs().map(|(_, job)| shell(job).environment.clone()).collect();
    let seen = |n: usize| (&*environments[n].env["SHELL"], &*environments[n].env["PATH"]);
    assert_eq!((seen(0), seen(1)), (("/bin/sh", "/usr/bin:/bin"), ("/bin/bash", "/opt/bin")));
    for environment in &environments {
        assert_eq!((environment.dir.as_deref(), environment.umask()), (Some("~"), 0o022));
    }
}

#[test]
fn the_zone_is_the_tables_the_machines_or_unknown() {
    let zone = |text: &str| match job(text).trigger {
        Trigger::Cron { zone, .. } => zone.unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(zone("* * * * * x\n"), Tz::Europe__Berlin);
    assert_eq!(zone("CRON_TZ=Asia/Tokyo\n* * * * * x\n"), Tz::Asia__Tokyo);
    assert_eq!(zone("CRON_TZ=Asia/Tokyo\nCRON_TZ=\n* * * * * x\n"), Tz::Europe__Berlin);
    let only_for_commands = job("TZ=Asia/Tokyo\n* * * * * x\n");
    assert_eq!(shell(&only_for_commands).environment.env["TZ"], "Asia/Tokyo");
    assert_eq!(zone("TZ=Asia/Tokyo\n* * * * * x\n"), Tz::Europe__Berlin);
    // A job in a wrong zone is worse than none.
    let crontab = user("CRON_TZ=Asia/Tokio\n* * * * * x\n");
    assert_eq!(crontab.count().problems, 2);
    assert!(refusal("CRON_TZ=Asia/Tokio\n").contains("Asia/Tokyo"));
    assert!(refusal("CRON_TZ=Asia/Tokio\n* * * * * x\n").contains("line 1"));
}

#[test]
fn a_percent_sign_is_a_newline_and_what_follows_the_first_is_input() {
    for (line, command, stdin) in [
        ("mail -s x joe%Dear Joe,%%bye", "mail -s x joe", Some("Dear Joe,\n\nbye\n")),
        (r"date +\%F%a\%b%", r"date +%F", Some("a%b\n")),
        (r"printf '\n' 100\%", r"printf '\n' 100%", None),
        ("cat%", "cat", None),
        (r"echo \\x", r"echo \\x", None),
    ] {
        let job = job(&format!("0 0 * * * {line}\n"));
        assert_eq!(shell(&job).command, command);
        assert_eq!(shell(&job).environment.stdin.as_deref(), stdin, "{line}");
    }
}

#[test]
fn macros_are_kept() {
    for name in ["@reboot", "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"] {
        assert_eq!(job(&format!("{name}\tdate\n")).trigger.expressions(), [name]);
    }
    assert_eq!(job("@every_minute date\n").trigger.expressions(), ["* * * * *"]);
    assert!(refusal("@fortnightly date\n").contains("not a macro"));
    assert!(user("@reboot x\n").lines[0].notes[0].contains("a label that only its worker has"));
}

#[test]
fn what_cannot_be_carried_over_says_why() {
    for (line, reason) in [
        ("0 3 * * *", "no command"),
        ("0 3 * *", "five fields and a command"),
        ("hello", "five fields and a command"),
        ("61 3 * * * date", "minute"),
        ("0 3 30 2 * date", "never comes"),
        ("0~59 3 * * * date", "chance"),
        ("0 3 */2 * 1 date", "match both"),
        ("0 3 */100,1-7 * MON date", "match both"),
        ("SHELL=bash", "absolute"),
        ("* * * * * a\0b", "NUL"),
        ("* * * * * %only input", "no command"),
    ] {
        let got = refusal(&format!("{line}\n"));
        assert!(got.contains(reason), "{line}: {got}");
    }
    let latin = parse(b"* * * * * echo caf\xe9\n# caf\xe9\n", &options("-"));
    assert_eq!((latin.count().problems, latin.count().comments), (1, 1));
    let system = parse(b"* * * * * /bin/true\n", &options("/etc/cron.d/x"));
    assert!(format!("{:?}", system.lines[0].outcome).contains("--user"));
}

#[test]
fn what_differs_from_cron_is_noted() {
    for (line, expression, note) in [
        ("*/100 * * * * x", "0 * * * *", "larger than the field"),
        ("5/10 * * * * x", "5/10 * * * *", "differently"),
        ("0 3 1-31 * 1 x", "0 3 * * *", "written"),
        ("0 3 */1 * 1 x", "0 3 * * 1", "written"),
        ("0 9 * * FRI#2 x", "0 9 * * FRI#2", "refuse"),
        ("-*/5 * * * * x", "*/5 * * * *", "logged"),
        ("0 0 * * * root x", "0 0 * * *", "--system"),
        ("0 0 * * * -nq x", "0 0 * * *", "BSD"),
        ("0 0 * * * x\r", "0 0 * * *", "carriage return"),
    ] {
        let crontab = user(&format!("{line}\n"));
        let (_, job) = crontab.jobs().next().unwrap_or_else(|| panic!("{crontab:?}"));
        assert_eq!(job.trigger.expressions(), [expression], "{line}");
        assert!(crontab.lines[0].notes.iter().any(|text| text.contains(note)), "{crontab:?}");
        assert!(!shell(job).command.contains('\r'));
    }
    for plain in ["0 5 * * 1", "0 5 1 * *", "0 5 1,15 * FRI", "*/5 8-18 * * mon-fri", "0 0 */2 * *", "@daily"]
    {
        let crontab = user(&format!("{plain} x\n"));
        assert_eq!(crontab.lines[0].notes, Vec::<String>::new());
        assert_eq!(crontab.jobs().next().unwrap().1.trigger.expressions(), [plain]);
    }
}

#[test]
fn the_same_file_gives_the_same_names_again() {
    let text =
        "0 1 * * * /usr/bin/backup --full\n0 2 * * * /usr/bin/backup --full\n0 3 * * * %\n* * * * * ((\n";
    let names = || user(text).jobs().map(|(_, job)| job.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(), ["crontab-backup-full", "crontab-backup-full-2", "crontab"]);
    assert_eq!(names(), names());
}

#[test]
fn files_tell_their_format_and_owner_by_their_place() {
    assert_eq!(Format::of_path("/etc/crontab"), Format::System);
    assert_eq!(Format::of_path("/tmp/x/etc/cron.d/sysstat"), Format::System);
    assert_eq!(Format::of_path("/home/joe/crontab"), Format::User);
    assert_eq!(owner_by_path("/var/spool/cron/crontabs/joe"), Some("joe"));
    assert_eq!(owner_by_path("/var/spool/cron/joe"), Some("joe"));
    assert_eq!(owner_by_path("/etc/crontab"), None);
}

#[test]
fn odd_files_are_accounted_for_line_by_line() {
    assert_eq!(user("").count(), Count::default());
    assert_eq!(user("\n").count(), Count { lines: 1, blank: 1, ..Count::default() });
    assert_eq!(user("\u{feff}# x\n").count().comments, 1);
    let unended = user("# x\n* * * * * y");
    assert_eq!((unended.count().lines, unended.count().jobs, unended.notes.len()), (2, 1, 1));
    let long = user(&format!("* * * * * echo {}\n* * * * * {}\n", "x".repeat(10_000), "y".repeat(200_000)));
    assert_eq!(long.count().lines, 2);
    assert!(long.jobs().all(|(_, job)| job.description.len() < 4096));
    let many = user(&"* * * * * x\n".repeat(5_000));
    assert_eq!(many.count().jobs, 5_000);
}

/// cron's own rule, minute by minute, from the sets that a field's text stands for.
fn cron_runs(fields: &[String], at: DateTime<Utc>) -> bool {
    let holds = |text: &str, low: u32, high: u32, value: u32| {
        text.split(',').any(|item| {
            let (span, step) = item.split_once('/').unwrap_or((item, "1"));
            let (first, last) = match span.split_once('-') {
                _ if span == "*" => (low, high),
                Some((first, last)) => (first.parse().unwrap(), last.parse().unwrap()),
                None => (span.parse().unwrap(), span.parse().unwrap()),
            };
            (first..=last).step_by(step.parse().unwrap()).any(|set| set == value)
        })
    };
    let weekday = at.weekday().num_days_from_sunday();
    let day = holds(&fields[2], 1, 31, at.day());
    let of_week = holds(&fields[4], 0, 7, weekday) || weekday == 0 && holds(&fields[4], 0, 7, 7);
    let stars = fields[2].starts_with('*') || fields[4].starts_with('*');
    holds(&fields[0], 0, 59, at.minute())
        && holds(&fields[1], 0, 23, at.hour())
        && holds(&fields[3], 1, 12, at.month())
        && if stars { day && of_week } else { day || of_week }
}

fn field(low: u32, high: u32) -> impl Strategy<Value = String> {
    let value = low..=high;
    let item = prop_oneof![
        4 => Just("*".to_owned()),
        2 => (1..=high * 2).prop_map(|step| format!("*/{step}")),
        4 => value.clone().prop_map(|value| value.to_string()),
        2 => (value.clone(), value.clone()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (value.clone(), value, 1..=high).prop_map(|(a, b, step)| format!("{}-{}/{step}", a.min(b), a.max(b))),
    ];
    prop::collection::vec(item, 1..=3).prop_map(|items| items.join(","))
}

proptest! {
    #[test]
    fn every_line_of_any_text_is_accounted_for(text in prop::collection::vec(any::<u8>(), 0..400)) {
        let crontab = parse(&text, &options("-"));
        let ended = usize::from(!text.is_empty() && !text.ends_with(b"\n"));
        let lines = text.iter().filter(|byte| **byte == b'\n').count() + ended;
        let count = crontab.count();
        prop_assert_eq!(count.lines, lines);
        prop_assert_eq!(count.jobs + count.settings + count.comments + count.blank + count.problems, lines);
    }

    #[test]
    fn every_line_of_what_looks_like_a_crontab_is_accounted_for(
        rows in prop::collection::vec("[-@*0-9/,~%# a-zA-Z_=\"'$\\\\\r\té]{0,40}", 0..20),
        system in any::<bool>(),
    ) {
        let text = rows.iter().map(|row| format!("{row}\n")).collect::<String>();
        let crontab = parse(text.as_bytes(), &options(if system { "/etc/crontab" } else { "-" }));
        prop_assert_eq!(crontab.lines.len(), rows.len());
        let names: std::collections::HashSet<_> = crontab.jobs().map(|(_, job)| job.name.clone()).collect();
        prop_assert_eq!(names.len(), crontab.count().jobs);
    }

    #[test]
    fn an_imported_schedule_fires_when_cron_would_run_it(
        fields in (field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7)),
        start in 0_i64..2_000_000_000,
    ) {
        let fields = <[String; 5]>::from(fields);
        let Ok(expression) = time::expression(&fields, &mut Vec::new()) else { return Ok(()) };
        let schedule = schedule::Schedule::cron(&[&expression], Tz::UTC, DateTime::UNIX_EPOCH).unwrap();
        let from = DateTime::from_timestamp(start / 60 * 60, 0).unwrap();
        for minute in 0..1_500 {
            let at = from + Duration::minutes(minute);
            let fires = schedule.next_after(at - Duration::seconds(1)) == Some(at);
            prop_assert_eq!(fires, cron_runs(&fields, at), "{:?} as {:?} at {}", fields, expression, at);
        }
    }
}

#[test]
fn what_is_no_crontab_is_refused_and_not_run_as_a_command() {
    for text in [
        "@monthly 15 cron.monthly run-parts --report /etc/cron.monthly\n",
        "1\t5\tcron.daily\trun-parts --report /etc/cron.daily\n",
        "7 10 cron.weekly nice run-parts /etc/cron.weekly\n",
    ] {
        assert!(refusal(text).contains("is a line of an anacrontab"), "{text}: {}", refusal(text));
        let system = parse(text.as_bytes(), &options("/etc/crontab"));
        assert!(
            matches!(&system.lines[0].outcome, Outcome::Problem { reason } if reason.contains("anacrontab"))
        );
    }
    assert!(
        refusal("7 10 cron.weekly nice run-parts /etc/cron.weekly\n").contains("\"@weekly nice run-parts")
    );
    let table = "START_HOURS_RANGE=3-22\n@daily 5 backup\n20 10 x y\n";
    let crontab = parse(table.as_bytes(), &options("/etc/anacrontab"));
    assert_eq!((crontab.count().problems, crontab.count().jobs), (2, 0), "{crontab:?}");
    assert!(refusal("[Timer]\nOnCalendar=daily\n[Install]\n").contains("systemd"));
    // These are crontabs.
    for text in ["1 5 * * * a\n", "1 5 1-15 * * a\n", "1 5 L * * a\n", "@daily 15min report\n"] {
        assert_eq!(user(text).count().jobs, 1, "{text}: {:?}", user(text).lines);
    }
}
