//! The cache, fed by hand.

use std::time::Duration;

use common::{
    lock::Lock,
    store::{Entry, Key, key::Keys},
};
use tokio::time::Instant;

use super::{decode::decode, *};

fn keys() -> Keys {
    Keys::new("/q/").unwrap()
}

fn entry(key: Key, value: &[u8], revision: Revision) -> Entry {
    Entry { key, value: value.into(), create_revision: revision, mod_revision: revision, lease: None }
}

fn job(name: &str, revision: Revision) -> (Box<str>, Option<decode::Value>) {
    let value = format!(r#"{{"name": "{name}", "command": "date", "cronExpr": "@daily"}}"#);
    let entry = entry(keys().jobs.key(name), value.as_bytes(), revision);
    (name.into(), decode(Place::Jobs, name, &entry))
}

fn all() -> JobFilter {
    JobFilter { limit: 500, ..JobFilter::default() }
}

fn names(cache: &Cache) -> Vec<String> {
    cache.jobs(&all()).0.into_iter().map(|job| job.name).collect()
}

#[test]
fn a_new_listing_forgets_what_is_gone() {
    let cache = Cache::default();
    cache.reset(Place::Jobs, vec![job("a", 1), job("b", 2)], 2);
    cache.change(Place::Jobs, vec![job("c", 3), ("a".into(), None)], 3);
    assert_eq!(names(&cache), ["b", "c"]);
    cache.reset(Place::Jobs, vec![job("c", 3)], 9);
    assert_eq!(names(&cache), ["c"]);
    assert!(cache.job("b").is_none());
}

#[test]
fn a_value_that_is_repaired_is_no_longer_broken() {
    let cache = Cache::default();
    let bad = entry(keys().jobs.key("a"), b"{", 1);
    cache.change(Place::Jobs, vec![("a".into(), decode(Place::Jobs, "a", &bad))], 1);
    assert_eq!(cache.broken(None, 10).len(), 1);
    assert!(names(&cache).is_empty());
    cache.change(Place::Jobs, vec![job("a", 2)], 2);
    assert!(cache.broken(None, 10).is_empty());
    assert_eq!(names(&cache), ["a"]);
}

#[test]
fn a_lock_that_is_given_back_runs_no_more() {
    let cache = Cache::default();
    cache.reset(Place::Jobs, vec![job("a", 1)], 1);
    let held = br#"~ {"job":"a","fence":"2026-11-22T01:02:03Z","run":"01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b",
        "attempt":1,"cause":"schedule","worker":"w1","session":7,"claimed":"2026-11-22T01:02:03Z"}"#;
    let held = entry(keys().locks.key("a"), held, 5);
    cache.change(Place::Locks, vec![("a".into(), decode(Place::Locks, "a", &held))], 5);
    let Some(Active::Held(run)) = cache.job("a").unwrap().active.pop() else { panic!("nothing runs") };
    assert_eq!(run.token, 5);
    let free = entry(keys().locks.key("a"), &Lock::new("2026-11-22T01:02:03Z".parse().unwrap()).encode(), 6);
    cache.change(Place::Locks, vec![("a".into(), decode(Place::Locks, "a", &free))], 6);
    assert!(cache.job("a").unwrap().active.is_empty());
}

#[tokio::test]
async fn a_reader_of_its_own_write_waits_until_it_is_shown() {
    let cache = Cache::default();
    let deadline = Instant::now() + Duration::from_secs(10);
    let (shown, ()) = tokio::join!(cache.shows(Place::Jobs, 7, deadline), async {
        cache.change(Place::Jobs, vec![job("a", 6)], 6);
        tokio::task::yield_now().await;
        cache.change(Place::Jobs, Vec::new(), 7);
    });
    assert!(shown);
    assert!(!cache.shows(Place::Locks, 1, Instant::now()).await);
}

#[tokio::test]
async fn what_was_never_read_is_not_an_empty_list() {
    let cache = Cache::default();
    cache.mark_stale(Place::Queue, "away");
    assert!(!cache.loaded(Instant::now() + Duration::from_secs(10)).await);
    for place in Place::ALL {
        cache.reset(place, Vec::new(), 0);
    }
    assert!(cache.loaded(Instant::now()).await);
    assert_eq!(cache.stale(), None);
}
