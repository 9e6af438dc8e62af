//! What both kinds of spool promise, and what is the disk's own.

use std::{fs, io::Write as _, time::Duration};

use common::{
    runlog::{TickOutcome, TickRecord},
    worker::Readiness,
};

use super::*;

/// A record of so many ticks.
pub(crate) fn ticks(n: u64) -> LogEntry {
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
    assert_eq!(fs::read(dir.path().join("00000000000000000007.8.unreadable")).unwrap(), b"rubbish");
}

#[tokio::test]
async fn a_record_that_was_torn_by_a_crash_is_dropped_and_the_others_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Load::new(1)).unwrap();
    spool.keep(ticks(1)).await;
    drop(spool);
    let segment = dir.path().join("00000000000000000000.jsonl");
    let whole = fs::read(&segment).unwrap();
    fs::write(&segment, [&whole[..], &whole[..20]].concat()).unwrap();
    let spool = Spool::open(dir.path(), Load::new(1)).unwrap();
    let (groups, entries) = waiting(&spool).await;
    assert_eq!(entries, [ticks(1)]);
    spool.shipped(groups).await.unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is kept aside");
}

#[tokio::test]
async fn segments_are_bounded_and_removed_and_an_unfinished_one_is_shipped_again() {
    const ALL: u64 = 3_000;
    let dir = tempfile::tempdir().unwrap();
    let open = || Spool::open(dir.path(), Load::new(1)).unwrap();
    let counts = |groups: &[Spooled]| -> Vec<u64> {
        let entries = groups.iter().flat_map(|group| &group.entries);
        let count = |entry: &LogEntry| match entry {
            LogEntry::Ticks(record) => record.count,
            LogEntry::Run(_) => u64::MAX,
        };
        entries.map(count).collect()
    };
    let spool = open();
    futures::future::join_all((0..ALL).map(|n| spool.keep(ticks(n)))).await;
    let files = || fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
    assert!(
        files().count() > 1 && files().all(|bytes| bytes <= 512 << 10),
        "{:?}",
        files().collect::<Vec<_>>()
    );

    let mut shipped = Vec::new();
    while shipped.len() < 2_500 {
        let groups = spool.read(70, 1 << 20).await.unwrap();
        let read = counts(&groups);
        assert!((1..=70).contains(&read.len()), "{}", read.len());
        shipped.extend(read);
        spool.shipped(groups).await.unwrap();
    }
    drop(spool);

    // What a crash leaves: the segment that was not shipped as a whole comes again, and nothing is missing.
    let spool = open();
    let rest = spool.read(usize::MAX, u64::MAX).await.unwrap();
    let again = counts(&rest);
    assert!(again.len() < 2_000, "{} again", again.len());
    let mut seen: Vec<u64> = shipped.iter().chain(&again).copied().collect();
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.into_iter().eq(0..ALL), "each is there");
    shipped.sort_unstable();
    assert!(shipped.windows(2).all(|two| two[0] < two[1]), "none came twice before the crash");
    spool.shipped(rest).await.unwrap();
    assert_eq!(files().count(), 0);
}

#[tokio::test]
async fn what_is_kept_after_somebody_has_removed_the_files_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Load::new(1)).unwrap();
    spool.keep(ticks(1)).await;
    for file in fs::read_dir(dir.path()).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    spool.keep(ticks(2)).await;
    let (groups, entries) = waiting(&spool).await;
    assert_eq!(entries, [ticks(2)]);
    spool.shipped(groups).await.unwrap();
    assert!(waiting(&spool).await.1.is_empty());
    let nothing = tokio::time::timeout(Duration::from_millis(50), spool.filled()).await;
    assert!(nothing.is_err(), "what is gone is not looked for for ever");
}

#[tokio::test]
async fn a_line_that_is_longer_than_was_asked_for_is_read_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Load::new(1)).unwrap();
    spool.keep(ticks(1)).await;
    spool.keep(ticks(2)).await;
    let groups = spool.read(100, 10).await.unwrap();
    assert_eq!(groups.iter().flat_map(|group| group.entries.clone()).next(), Some(ticks(1)));
    spool.shipped(groups).await.unwrap();
}

#[tokio::test]
async fn a_life_that_has_ended_keeps_nothing_more() {
    let memory = Arc::new(Memory::default());
    memory.set_sync_time(Duration::from_millis(5));
    let spool = Spool::in_memory(&memory);
    spool.keep(ticks(1)).await;
    let late = spool.keep(ticks(2));
    memory.end_life();
    late.await;
    assert!(waiting(&spool).await.1.is_empty(), "it sees nothing either");
    assert_eq!(waiting(&Spool::in_memory(&memory)).await.1, [ticks(1)]);
}

#[tokio::test]
async fn what_is_set_aside_is_a_line_each_in_a_file_that_is_bounded_and_not_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), Load::new(1)).unwrap();
    let path = dir.path().join("refused");
    assert_eq!(spool.set_aside(vec![ticks(1), ticks(2)]).await.unwrap(), Some(path.clone()));
    // What a crash leaves.
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"ticks\":").unwrap();
    assert_eq!(spool.set_aside(vec![ticks(3)]).await.unwrap(), Some(path.clone()));
    let text = fs::read_to_string(&path).unwrap();
    let count = |line| serde_json::from_str::<serde_json::Value>(line).ok()?["ticks"]["count"].as_u64();
    assert_eq!(text.lines().map(count).collect::<Vec<_>>(), [Some(1), Some(2), None, Some(3)]);
    drop(spool);

    let spool = Spool::open(dir.path(), Load::new(1)).unwrap();
    assert!(waiting(&spool).await.1.is_empty());
    file.set_len(1 << 30).unwrap();
    assert_eq!(spool.set_aside(vec![ticks(4)]).await.unwrap(), None);
    assert_eq!(fs::metadata(&path).unwrap().len(), 1 << 30);
}

const PATIENCE: Duration = Duration::from_secs(10);

async fn becomes(load: &Load, readiness: Readiness) {
    let is_so = async {
        while load.readiness() != readiness {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, is_so).await;
    assert!(waited.is_ok(), "it is {:?}, not {readiness:?}", load.readiness());
}

/// Its worker claims nothing, so that nothing is kept any more, and there is nothing to ship.
#[tokio::test]
async fn a_full_spool_whose_files_somebody_has_removed_is_not_full_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let large = fs::File::create(dir.path().join("00000000000000000000.jsonl")).unwrap();
    large.set_len(1 << 30).unwrap();
    let load = Load::new(1);
    let spool = Spool::open(dir.path(), load.clone()).unwrap();
    spool.keep(ticks(1)).await;
    assert_eq!(load.readiness(), Readiness::DiskFull);
    for file in fs::read_dir(dir.path()).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    assert!(waiting(&spool).await.1.is_empty());
    tokio::select! {
        () = spool.filled() => panic!("there is nothing to ship"),
        () = becomes(&load, Readiness::Ready) => {}
    }
}

#[tokio::test]
async fn a_disk_that_takes_nothing_is_failing_until_it_takes_something_whatever_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spool");
    let load = Load::new(1);
    let spool = Spool::open(&path, load.clone()).unwrap();
    spool.keep(ticks(1)).await;
    let (groups, _) = waiting(&spool).await;
    // In a directory that is not there nothing can be kept.
    fs::remove_dir_all(&path).unwrap();
    let keeping = tokio::spawn({
        let spool = spool.clone();
        async move { spool.keep(ticks(2)).await }
    });
    becomes(&load, Readiness::DiskFailing).await;
    spool.shipped(groups).await.unwrap();
    assert_eq!(load.readiness(), Readiness::DiskFailing);

    fs::create_dir(&path).unwrap();
    tokio::time::timeout(PATIENCE, keeping).await.expect("it is kept").unwrap();
    assert_eq!(load.readiness(), Readiness::Ready);
    assert_eq!(waiting(&spool).await.1, [ticks(2)]);
}
