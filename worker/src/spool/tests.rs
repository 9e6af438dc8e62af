//! What both kinds of spool promise, and what is the disk's own.

use std::fs;

use common::runlog::{TickOutcome, TickRecord};

use super::*;

fn ticks(n: u64) -> LogEntry {
    LogEntry::Ticks(TickRecord {
        job_name: "a".parse().unwrap(),
        from: "2026-11-22T01:02:03Z".parse().unwrap(),
        to: "2026-11-22T01:02:03Z".parse().unwrap(),
        count: n,
        outcome: TickOutcome::Missed,
        reason: String::new(),
        worker: "w".parse().unwrap(),
        expires: 0,
    })
}

async fn waiting(spool: &Spool) -> (Vec<Spooled>, Vec<LogEntry>) {
    let groups = spool.read(100, 1 << 20).await.unwrap();
    let entries = groups.iter().flat_map(|group| group.entries.clone()).collect();
    (groups, entries)
}

/// `open` opens what was opened before once more.
async fn keeps_over_a_restart_until_shipped(open: impl Fn() -> Spool) {
    let spool = open();
    assert!(waiting(&spool).await.1.is_empty());
    spool.keep(ticks(1)).await;
    spool.keep(ticks(2)).await;
    drop(spool);

    let spool = open();
    spool.keep(ticks(3)).await;
    spool.filled().await;
    let (groups, entries) = waiting(&spool).await;
    assert_eq!(entries, [ticks(1), ticks(2), ticks(3)]);
    spool.shipped(groups.clone()).await.unwrap();
    // At the end of a worker there are two who ship.
    spool.shipped(groups).await.unwrap();
    assert!(waiting(&spool).await.1.is_empty());

    spool.keep(ticks(4)).await;
    spool.keep(ticks(5)).await;
    let first = spool.read(1, 1 << 20).await.unwrap();
    assert_eq!(first.len(), 1, "at least one group, and no more than was asked for");
    spool.shipped(first).await.unwrap();
    assert_eq!(waiting(&spool).await.1, [ticks(5)]);
}

#[tokio::test]
async fn what_was_kept_is_on_the_disk_until_it_is_shipped() {
    let dir = tempfile::tempdir().unwrap();
    keeps_over_a_restart_until_shipped(|| Spool::open(dir.path(), Load::new(1)).unwrap()).await;
}

#[tokio::test]
async fn what_was_kept_is_in_memory_until_it_is_shipped() {
    let memory = Arc::new(Memory::default());
    keeps_over_a_restart_until_shipped(|| Spool::in_memory(&memory)).await;
}

#[tokio::test]
async fn a_line_that_does_not_parse_is_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("00000000000000000007.jsonl"), b"rubbish\n").unwrap();
    let spool = Spool::open(dir.path(), Load::new(1)).unwrap();
    spool.keep(ticks(1)).await;
    let (groups, entries) = waiting(&spool).await;
    assert_eq!((groups.len(), entries), (2, vec![ticks(1)]));
    spool.shipped(groups).await.unwrap();
    assert_eq!(fs::read(dir.path().join("00000000000000000007.unreadable")).unwrap(), b"rubbish");
}

#[tokio::test]
async fn a_life_that_has_ended_keeps_nothing_more() {
    let memory = Arc::new(Memory::default());
    memory.set_sync_time(std::time::Duration::from_millis(5));
    let spool = Spool::in_memory(&memory);
    spool.keep(ticks(1)).await;
    let late = spool.keep(ticks(2));
    memory.end_life();
    late.await;
    assert!(waiting(&spool).await.1.is_empty(), "it sees nothing either");
    assert_eq!(waiting(&Spool::in_memory(&memory)).await.1, [ticks(1)]);
}
