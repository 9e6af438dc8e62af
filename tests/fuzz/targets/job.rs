//! A job as it is stored, posted, or put into the store by hand: refused in words that name a field, or what was read
//! is written and read alike, and can be asked for its instants, good or not.

#![no_main]

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use common::job::{FieldError, Job, JobError, StoredJob};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match StoredJob::decode("a", bytes) {
        Err(error) => is_told(&error),
        Ok(stored) => {
            assert_eq!(StoredJob::decode("a", &stored.encode()).as_ref(), Ok(&stored));
            is_a_job(&stored.job);
        }
    }
    match Job::from_json(bytes) {
        Err(error) => is_told(&error),
        Ok(job) => {
            let text = serde_json::to_vec(&job).expect("a job is JSON");
            assert_eq!(Job::from_json(&text).as_ref(), Ok(&job));
        }
    }
});

/// No field is named only where there is none, or where its name is empty.
fn is_told(error: &JobError) {
    assert!(!error.errors.is_empty());
    for FieldError { field, got, problem, example } in &error.errors {
        let names = [
            "is not JSON",
            "missing field `",
            "unknown field ``",
            "unknown field `.`",
            "a job is at most ",
        ];
        assert!(!field.is_empty() || names.iter().any(|name| problem.starts_with(name)), "{problem}");
        assert!(
            !problem.is_empty() && !example.is_empty() && got.chars().count() <= 201,
            "{field}: {problem}"
        );
    }
}

fn is_a_job(job: &Job) {
    let now = DateTime::<Utc>::from_timestamp(1_800_000_000, 0).expect("in 2027");
    let mut settled = job.clone();
    settled.settle(Tz::Europe__Berlin, now, None);
    let mut again = settled.clone();
    again.settle(Tz::UTC, now + chrono::TimeDelta::days(1), Some(&settled));
    assert_eq!(again, settled, "what is settled stays");
    let checked = settled.check(now);
    match &checked {
        Err(error) => {
            is_told(error);
            assert!(error.errors.iter().all(|error| !error.field.is_empty()), "{error}");
        }
        // It can be asked for, and comes.
        Ok(()) => match settled.schedule().expect("it was checked") {
            Some(schedule) if !schedule.fires_at_boot() => assert!(schedule.next_after(now).is_some()),
            _ => {}
        },
    }
    // A stored job need not be a good one, and is asked all the same.
    if let Ok(Some(schedule)) = job.schedule() {
        assert!(!schedule.to_string().is_empty() && !schedule.describe().is_empty());
        let (first, last) = (DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
        for (from, until) in [(first, last), (now, last), (first, now), (last, first)] {
            let next = schedule.next_after(from);
            assert!(next.is_none_or(|next| next > from));
            let latest = schedule.latest_in(from, until);
            assert!(latest.is_none_or(|latest| from < latest && latest <= until));
            assert!(schedule.count_in(from, until, 1_000) <= 1_000);
        }
    }
    let _ = (job.driver.text(), job.placement.allows(&job.labels));
}
