//! Values in the store that nobody in their right mind would put there, as a manager shows them: whatever one of them
//! is, every answer comes, and a good job is listed beside it.
//!
//! The first byte chooses the key; then comes the value.

#![no_main]

use std::sync::{LazyLock, Mutex};

use common::store::Key;
use fuzz::served::{Answer, Served};
use libfuzzer_sys::fuzz_target;

const RUN: &str = "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b";

/// What a manager shows of it all.
const PATHS: [&str; 11] = [
    "/api/v1/jobs/a",
    "/api/v1/jobs?sort=next&state=active",
    "/api/v1/jobs?sort=-ended",
    "/api/v1/jobs/a/ticks",
    "/api/v1/jobs/b/ticks?from=2026-11-22T09:00:00Z&to=2026-11-22T11:00:00Z&fold=false",
    "/api/v1/runs",
    "/api/v1/runs/01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b",
    "/api/v1/runs/01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b/output",
    "/api/v1/workers",
    "/job/list",
    "/worker/list",
];

static SERVED: LazyLock<Mutex<Served>> = LazyLock::new(Mutex::default);

fuzz_target!(|input: &[u8]| {
    let [place, value @ ..] = input else { return };
    let mut served = SERVED.lock().expect("a panic ends it all");
    let served = served.fresh();
    good_job(served);
    let key = key(served, *place);
    served.set(&key, Some(value));
    for path in PATHS {
        let answer = get(served, path);
        assert!(answer.status < 500, "{key} makes {path} {answer:?}");
        let is_seen = path != PATHS[0] || key != served.keys.jobs.key("a") || answer.status != 404;
        assert!(is_seen, "{key} was written, and the manager does not know it yet");
    }
    let list = get(served, "/api/v1/jobs");
    assert!(list.status == 200 && list.text.contains(r#""name":"b""#), "{key} makes {list:?}");
    let saved = served.send("POST", "/api/v1/jobs/a/run", "", b"").expect("a path of this file");
    assert!(saved.status < 500, "{key} makes {saved:?}");
    served.set(&key, None);
});

fn good_job(served: &mut Served) {
    if get(served, "/api/v1/jobs/b").status == 404 {
        let job = br#"{"trigger": {"cron": ["* * * * *"]}, "driver": {"shell": {"command": "date"}}}"#;
        let answer = served.send("PUT", "/api/v1/jobs/b", "application/json", job);
        assert_eq!(answer.expect("a path of this file").status, 201);
    }
}

fn key(served: &Served, place: u8) -> Key {
    let keys = &served.keys;
    match place % 11 {
        0 => keys.jobs.key("a"),
        1 => keys.locks.key("a"),
        2 => keys.locks.key("b"),
        3 => keys.workers.key("w"),
        4 => keys.queue.key(RUN),
        5 => keys.queue.key("a@next"),
        6 => keys.runs.key(RUN),
        7 => keys.kills.key("a"),
        8 => keys.epoch(),
        9 => keys.marks.key("w"),
        _ => keys.managers.key("other"),
    }
}

fn get(served: &mut Served, path: &str) -> Answer {
    served.send("GET", path, "", b"").expect("a path of this file")
}
