//! Crontab files: every line is accounted for once and as it stands, every job of one is a good job under a name of its
//! own, and its instants are those of cron.

#![no_main]

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use common::{
    crontab::{self, Crontab, Format, Options, Outcome},
    job::{Job, Trigger},
};
use fuzz::slow::{Days, Times};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [format, text @ ..] = input else { return };
    let now = DateTime::<Utc>::from_timestamp(1_800_000_000, 0).expect("in 2027");
    let options = Options {
        format: if format % 2 == 1 { Format::System } else { Format::User },
        file: "crontab".to_owned(),
        source: String::new(),
        name_prefix: String::new(),
        zone: Tz::UTC,
        user: None,
        require: Vec::new(),
        now,
    };
    let crontab = crontab::parse(text, &options);
    every_line_is_there(&crontab, text);
    let mut names = HashSet::new();
    for line in &crontab.lines {
        let Outcome::Job { job } = &line.outcome else { continue };
        assert_eq!(job.check(now), Ok(()), "{:?}", line.text);
        assert!(names.insert(&job.name), "{:?} is given twice", job.name);
        assert_eq!(Job::from_value(serde_json::to_value(job).expect("JSON")).as_ref(), Ok(&**job));
        it_runs_when_cron_would(job, &line.text, now);
    }
});

fn every_line_is_there(crontab: &Crontab, text: &[u8]) {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let newlines = text.iter().filter(|byte| **byte == b'\n').count();
    let count = crontab.count();
    assert_eq!(count.jobs + count.settings + count.comments + count.blank + count.problems, count.lines);
    assert_eq!(count.lines, newlines + usize::from(text.last().is_some_and(|last| *last != b'\n')));
    for (index, (line, given)) in crontab.lines.iter().zip(text.split(|byte| *byte == b'\n')).enumerate() {
        assert_eq!(line.number, index + 1);
        let given = String::from_utf8_lossy(given);
        assert_eq!(line.text, given.strip_suffix('\r').unwrap_or(&given));
        let is_left_out = matches!(line.outcome, Outcome::Comment | Outcome::Blank);
        let has_words = !line.text.trim_start_matches([' ', '\t']).trim_start_matches('#').is_empty();
        assert!(!is_left_out || !has_words || line.text.trim_start().starts_with('#'), "{:?}", line.text);
        if let Outcome::Problem { reason } = &line.outcome {
            assert!(!reason.is_empty());
        }
    }
}

fn it_runs_when_cron_would(job: &Job, line: &str, now: DateTime<Utc>) {
    let Trigger::Cron { zone: Some(Tz::UTC), .. } = job.trigger else { return };
    let columns: Vec<&str> = line.trim_start_matches([' ', '\t']).split([' ', '\t']).collect();
    let columns: Vec<&str> = columns.into_iter().filter(|column| !column.is_empty()).take(5).collect();
    let times = columns.join(" ");
    let times = times.strip_prefix('-').unwrap_or(&times);
    let Some(times) = Times::read(times, Days::Cron) else { return };
    let schedule = job.schedule().expect("it was checked").expect("it has instants");
    let next = schedule.next_after(now).expect("it was checked");
    assert!(times.has(next), "{line:?}: {next}");
    let between = (1..(next - now).num_seconds().min(20_000)).step_by(60);
    for passed_over in between.map(|passed| now + chrono::TimeDelta::seconds(passed - passed % 60)) {
        assert!(passed_over <= now || !times.has(passed_over), "{line:?}: {next}, not {passed_over}");
    }
}
