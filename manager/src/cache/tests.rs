//! The cache, fed by hand.

use std::time::Duration;

use chrono::{DateTime, Utc};
use common::{
    lock::Lock,
    run::RunState,
    store::{Entry, Key, key::Keys},
};
use tokio::time::Instant;

use super::{
    list::{JobFilter, Position, Sort},
    table::Row,
    *,
};
use crate::view::JobState;

fn keys() -> Keys {
    Keys::new("/q/").unwrap()
}

fn entry(key: Key, value: &[u8], revision: Revision) -> Entry {
    Entry { key, value: value.into(), create_revision: revision, mod_revision: revision, lease: None }
}

fn read<R: Row>(name: &str, entry: &Entry) -> (Box<str>, Option<R>) {
    (name.into(), R::read(name, entry).ok())
}

fn job(name: &str, revision: Revision) -> (Box<str>, Option<JobRow>) {
    let value = format!(r#"{{"name": "{name}", "command": "date", "cronExpr": "@daily"}}"#);
    let entry = entry(keys().jobs.key(name), value.as_bytes(), revision);
    read(name, &entry)
}

fn all() -> JobFilter {
    JobFilter { limit: 500, ..JobFilter::default() }
}

fn names(cache: &Cache) -> Vec<String> {
    cache.jobs(&all(), DateTime::UNIX_EPOCH).0.into_iter().map(|job| job.name).collect()
}

#[test]
fn a_new_listing_forgets_what_is_gone() {
    let cache = Cache::default();
    cache.reset(vec![job("a", Revision::new(1)), job("b", Revision::new(2))], Revision::new(2));
    cache.change(vec![job("c", Revision::new(3)), ("a".into(), None)], Revision::new(3));
    assert_eq!(names(&cache), ["b", "c"]);
    cache.reset(vec![job("c", Revision::new(3))], Revision::new(9));
    assert_eq!(names(&cache), ["c"]);
    assert!(cache.job("b").is_none());
}

#[test]
fn a_value_that_is_repaired_is_no_longer_broken() {
    let cache = Cache::default();
    let bad = entry(keys().jobs.key("a"), b"{", Revision::new(1));
    cache.change(vec![read::<JobRow>("a", &bad)], Revision::new(1));
    assert_eq!(cache.broken(None, 10).len(), 1);
    assert!(names(&cache).is_empty());
    cache.change(vec![job("a", Revision::new(2))], Revision::new(2));
    assert!(cache.broken(None, 10).is_empty());
    assert_eq!(names(&cache), ["a"]);
}

#[test]
fn a_lock_that_is_given_back_runs_no_more() {
    let cache = Cache::default();
    cache.reset(vec![job("a", Revision::new(1))], Revision::new(1));
    let held = br#"~ {"job":"a","fence":"2026-11-22T01:02:03Z","run":"01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b",
        "attempt":1,"cause":"schedule","worker":"w1","session":7,"claimed":"2026-11-22T01:02:03Z"}"#;
    let held = entry(keys().locks.key("a"), held, Revision::new(5));
    cache.change(vec![read::<LockRow>("a", &held)], Revision::new(5));
    let Some(Active::Held(run)) = cache.job("a").unwrap().active.pop() else { panic!("nothing runs") };
    assert_eq!(run.token, common::revision::Token(5));
    let free = entry(
        keys().locks.key("a"),
        &Lock::new("2026-11-22T01:02:03Z".parse().unwrap()).encode(),
        Revision::new(6),
    );
    cache.change(vec![read::<LockRow>("a", &free)], Revision::new(6));
    assert!(cache.job("a").unwrap().active.is_empty());
}

#[tokio::test]
async fn a_reader_of_its_own_write_waits_until_it_is_shown() {
    let cache = Cache::default();
    let deadline = Instant::now() + Duration::from_secs(10);
    let (shown, ()) = tokio::join!(cache.shows(Place::Jobs, Revision::new(7), deadline), async {
        cache.change(vec![job("a", Revision::new(6))], Revision::new(6));
        tokio::task::yield_now().await;
        cache.change::<JobRow>(Vec::new(), Revision::new(7));
    });
    assert!(shown);
    assert!(!cache.shows(Place::Locks, Revision::new(1), Instant::now()).await);
}

#[tokio::test]
async fn what_was_never_read_is_not_an_empty_list() {
    let cache = Cache::default();
    cache.mark_stale(Place::Queue, "away");
    assert!(!cache.loaded(Instant::now() + Duration::from_secs(10)).await);
    cache.reset::<JobRow>(Vec::new(), Revision::NONE);
    cache.reset::<LockRow>(Vec::new(), Revision::NONE);
    cache.reset::<Arc<Registration>>(Vec::new(), Revision::NONE);
    cache.reset::<Arc<QueuedRun>>(Vec::new(), Revision::NONE);
    cache.reset::<HeldRun>(Vec::new(), Revision::NONE);
    cache.reset::<TaskRun>(Vec::new(), Revision::NONE);
    assert!(!cache.is_loaded());
    cache.reset::<Arc<Drain>>(Vec::new(), Revision::NONE);
    assert!(cache.loaded(Instant::now()).await);
    assert_eq!(cache.stale(), None);
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A job of a cron expression, with a free lock that says how its last run ended.
fn with_last(cache: &Cache, name: &str, cron: &str, last: Option<(&str, &str)>) {
    let value = format!(r#"{{"name": "{name}", "command": "date", "cronExpr": "{cron}"}}"#);
    let job = entry(keys().jobs.key(name), value.as_bytes(), Revision::new(1));
    cache.change(vec![read::<JobRow>(name, &job)], Revision::new(1));
    let run = "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b";
    let last = last.map_or_else(
        || "{}".to_owned(),
        |(state, ended)| format!(r#"{{"run":"{run}","state":"{state}","ended":"{ended}","worker":"w"}}"#),
    );
    let lock =
        entry(keys().locks.key(name), format!("2026-11-22T01:02:03Z {last}").as_bytes(), Revision::new(1));
    cache.change(vec![read::<LockRow>(name, &lock)], Revision::new(1));
}

/// All pages of two jobs each.
fn paged(cache: &Cache, sort: &str, q: Option<&str>, state: Option<JobState>) -> Vec<String> {
    let sort: Sort = sort.parse().unwrap();
    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let contains = q.map(str::to_owned);
        let filter = JobFilter { contains, state, sort, after, limit: 2 };
        let (page, next) = cache.jobs(&filter, at("2026-11-22T10:00:00Z"));
        names.extend(page.into_iter().map(|job| job.name));
        let Some(next) = next else { return names };
        after = Some(Position::parse(&next, sort).unwrap());
    }
}

#[test]
fn jobs_are_sorted_searched_and_filtered_page_by_page() {
    let cache = Cache::default();
    for (name, cron, last) in [
        ("Alpha", "0 12 * * *", Some(("succeeded", "2026-11-22T09:00:00Z"))),
        ("beta", "0 11 * * *", Some(("failed", "2026-11-22T08:00:00Z"))),
        ("gamma", "0 13 * * *", None),
        ("delta", "0 11 * * *", Some(("lost", "2026-11-22T07:00:00Z"))),
        ("none alpha", "0 0 1 1 * 1999", None),
    ] {
        with_last(&cache, name, cron, last);
    }
    // A lock without a job, in the middle of the others.
    let orphan = entry(keys().locks.key("c"), b"2026-11-22T01:02:03Z {}", Revision::new(1));
    cache.change(vec![read::<LockRow>("c", &orphan)], Revision::new(1));
    let by = |sort: &str| paged(&cache, sort, None, None);
    assert_eq!(by("name"), ["Alpha", "beta", "delta", "gamma", "none alpha"]);
    assert_eq!(by("-name"), ["none alpha", "gamma", "delta", "beta", "Alpha"]);
    assert_eq!(by("next"), ["beta", "delta", "Alpha", "gamma", "none alpha"]);
    assert_eq!(by("-ended"), ["Alpha", "beta", "delta", "none alpha", "gamma"]);
    assert_eq!(by("result"), ["delta", "beta", "Alpha", "gamma", "none alpha"]);
    assert_eq!(paged(&cache, "name", Some("ALPHA"), None), ["Alpha", "none alpha"]);
    assert_eq!(paged(&cache, "-next", Some("a"), None).len(), 5);
    let failed = Some(JobState::Last(RunState::Failed));
    assert_eq!(paged(&cache, "name", None, failed), ["beta"]);
    assert_eq!(paged(&cache, "next", Some("gam"), failed), [""; 0]);
    assert!("colour".parse::<Sort>().is_err() && Position::parse("beta", "next".parse().unwrap()).is_none());
}
