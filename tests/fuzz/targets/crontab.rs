//! Crontab files: every line is accounted for, and every job of one is a good job.

#![no_main]

use chrono::{DateTime, Utc};
use common::crontab::{self, Format, Options};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, Vec<u8>)| {
    let (system, text) = input;
    let now = DateTime::<Utc>::from_timestamp(1_800_000_000, 0).expect("in 2027");
    let options = Options {
        format: if system { Format::System } else { Format::User },
        file: "crontab".to_owned(),
        source: String::new(),
        name_prefix: String::new(),
        zone: chrono_tz::Tz::UTC,
        user: None,
        require: Vec::new(),
        now,
    };
    let crontab = crontab::parse(&text, &options);
    let count = crontab.count();
    assert_eq!(count.jobs + count.settings + count.comments + count.blank + count.problems, count.lines);
    for (line, job) in crontab.jobs() {
        assert!(job.check(now).is_ok(), "line {line}: {:?}", job.check(now));
    }
});
