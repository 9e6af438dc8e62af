//! What runs had printed that an earlier life of this worker lost, as after `kill -9`.
//!
//! While a run executes, the copy of its output on disk begins with the record that the run gets if its worker dies.
//! A worker that comes back keeps that record, with the output, in its spool and only then removes the copy: if it is
//! killed in between, it does so again, and the run log takes the record once. A run that had ended has a better
//! record there, or earlier in the spool, and that one stays. A run that printed nothing, or did not last long, has
//! no copy; the caretaker's record tells of it.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use common::runlog::{Known, LogEntry, RunRecord};
use tokio::task::spawn_blocking;

use super::claimed::Claimed;
use crate::{
    output::{Output, Recovered, SpillTo},
    spool::Spool,
};

/// Where the copy of a run's output goes, headed by the record of it that the next life keeps if this one dies.
pub(crate) fn spill_to(dir: &Path, claimed: &Claimed) -> SpillTo {
    let path = Output::spill_path(dir, &claimed.held.run, claimed.held.attempt);
    let (planned, held) = (claimed.planned.clone(), claimed.held.clone());
    let (token, times, task) = (claimed.held.token(claimed.revision), claimed.times(), claimed.task);
    // Most runs end before there is a copy: only then is it made.
    let head = move || {
        let known = Known { held: &held, token, task, command: planned.job.driver.text(), expires: 0 };
        serde_json::to_vec(&RunRecord::recovered(known, times)).expect("plain fields serialize")
    };
    SpillTo { path, head: Box::new(head) }
}

/// The copies that an earlier life left. To be asked before this one starts a run: its copies are in the same place.
pub(crate) fn copies(dir: &Path) -> Vec<PathBuf> {
    match Output::runs_with_spill(dir) {
        Ok(found) => found.into_iter().map(|(_, _, path)| path).collect(),
        Err(error) => {
            tracing::error!(dir = %dir.display(), %error, "cannot look for the output of lost runs; the next start does");
            Vec::new()
        }
    }
}

/// Keeps the records of lost runs, and removes the copies of their output. One that cannot be read harms no other.
pub(crate) async fn keep(copies: Vec<PathBuf>, spool: Spool, retention: Duration) {
    for path in copies {
        let reading = path.clone();
        let record = match spawn_blocking(move || read(&reading, retention)).await {
            Ok(Ok(record)) => record,
            Ok(Err(error)) if !is_of_content(&error) => {
                tracing::error!(file = %path.display(), %error, "the output of a lost run cannot be read now; the next start tries again");
                continue;
            }
            Ok(Err(error)) => {
                tracing::error!(file = %path.display(), %error, "the output of a lost run cannot be read; it is set aside");
                blocking(move || std::fs::rename(&path, path.with_extension("unreadable"))).await;
                continue;
            }
            // The runtime ends; the copy is still there.
            Err(_) => return,
        };
        tracing::warn!(job = %record.job_name, run = %record.run, "found the output of a run that was lost with this worker");
        spool.keep(LogEntry::Run(Box::new(record))).await;
        blocking(move || std::fs::remove_file(&path)).await;
    }
}

/// True when it is the copy that is wrong, and not what this process lacks just now: handles, memory, the disk.
fn is_of_content(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// The record of a lost run. It ended, as far as is known, when it last printed.
fn read(path: &Path, retention: Duration) -> io::Result<RunRecord> {
    let Recovered { head, output } = Output::recover(path)?;
    let head: RunRecord = serde_json::from_slice(&head)?;
    let lasted = output.pieces.last().map_or(0, |piece| i64::from(piece.0));
    let end = head.start_time.saturating_add(lasted);
    let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    Ok(RunRecord {
        end_time: end,
        expires: end.saturating_add(retention),
        output: output.text,
        pieces: output.pieces,
        truncated: output.truncated,
        gap: output.gap,
        ..head
    })
}

async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) {
    if let Ok(Err(error)) = spawn_blocking(work).await {
        tracing::error!(%error, "the copy of a lost run's output stays; the next start finds it again");
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use common::{
        job::{Command, Job, OutputLimit, Shell, Trigger},
        lock::HeldLock,
        revision::Revision,
        run::{Cause, RunState},
        runlog::{Author, Stream},
    };
    use tempfile::TempDir;
    use tokio::time::Instant;

    use super::*;
    use crate::{plan::Planned, session::load::Load};

    const RETENTION: Duration = Duration::from_secs(3600);

    async fn claimed(run: &str) -> Claimed {
        let command = Command::Shell(Shell { command: "backup".into(), ..Shell::default() });
        let job = Job::new("nightly".parse().unwrap(), Trigger::Manual, command);
        let at = "2026-11-22T01:02:03Z".parse().unwrap();
        let held = HeldLock {
            job: job.name.clone(),
            fence: "2026-11-22T01:02:03Z".parse().unwrap(),
            run: run.parse().unwrap(),
            attempt: 2,
            tick: Some("2026-11-22T01:02:03Z".parse().unwrap()),
            cause: Cause::Schedule,
            worker: "w1".parse().unwrap(),
            session: Revision::new(7),
            epoch: common::epoch::Epoch::default(),
            claimed: at,
            skipped: 0,
            last_skip: None,
            missed: None,
            also_missed: Vec::new(),
            claim_revision: None,
            command: None,
        };
        let planned = Arc::new(Planned {
            job: Arc::new(job),
            revision: Revision::new(1),
            created: Revision::new(1),
            schedule: None,
            paused: false,
        });
        let slot = Load::new(1).take().await.unwrap();
        Claimed {
            planned,
            task: false,
            held,
            revision: Revision::new(42),
            due: at,
            scheduled: at,
            answered: at,
            slot,
        }
    }

    /// Leaves what a killed worker leaves of a run that printed.
    async fn leave(dir: &Path, run: &str) -> PathBuf {
        let to = spill_to(dir, &claimed(run).await);
        let path = to.path.clone();
        let output = Output::new(OutputLimit::of(1000), Instant::now(), Some(to));
        output.append(Stream::Out, b"half of it ");
        output.append(Stream::Err, b"oops");
        output.spill_now();
        let copied = || Output::recover(&path).is_ok_and(|copy| copy.output.text == "half of it oops");
        while !copied() {
            tokio::task::yield_now().await;
        }
        path
    }

    async fn kept(spool: &Spool) -> Vec<RunRecord> {
        let entries = spool.read(100, 1 << 20).await.unwrap().into_iter().flat_map(|file| file.entries);
        let runs = entries.filter_map(|entry| match entry {
            LogEntry::Run(record) => Some(*record),
            LogEntry::Ticks(_) => None,
        });
        runs.collect()
    }

    #[tokio::test]
    async fn what_a_lost_run_had_printed_is_kept_once_and_a_torn_copy_harms_only_itself() {
        let dir = TempDir::new().unwrap();
        let (output, spool) = (dir.path().join("output"), dir.path().join("spool"));
        let spool = Spool::open(&spool, Load::new(1)).unwrap();
        let torn = leave(&output, "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5a").await;
        let bytes = fs::read(&torn).unwrap();
        fs::write(&torn, &bytes[..60]).unwrap();
        let empty = output.join("01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5c.1.output");
        fs::write(&empty, b"").unwrap();
        let whole = leave(&output, "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b").await;

        let found = copies(&output);
        assert_eq!(found.len(), 3);
        keep(found, spool.clone(), RETENTION).await;

        let records = kept(&spool).await;
        assert_eq!(records.len(), 1, "{records:?}");
        let record = &records[0];
        assert_eq!((record.state, record.by, record.attempt), (RunState::Lost, Author::Worker, 2));
        assert_eq!(record.output, "half of it oops");
        assert_eq!(record.pieces.iter().map(|piece| piece.1).collect::<Vec<_>>(), [Stream::Out, Stream::Err]);
        assert_eq!(
            (record.job_name.as_str(), record.command.as_str(), record.fence),
            ("nightly", "backup", common::revision::Token(42))
        );
        assert_eq!(record.tick, Some("2026-11-22T01:02:03Z".parse().unwrap()));
        assert!(record.start_time <= record.end_time);
        assert_eq!(record.expires, record.end_time + 3_600_000);
        assert!(!whole.exists() && !torn.exists() && !empty.exists());
        assert!(torn.with_extension("unreadable").exists(), "a person may look at it");
        assert_eq!(copies(&output), Vec::<PathBuf>::new());
    }

    #[tokio::test]
    async fn a_copy_that_cannot_be_read_just_now_waits_for_the_next_start() {
        let dir = TempDir::new().unwrap();
        let output = dir.path().join("output");
        let spool = Spool::open(&dir.path().join("spool"), Load::new(1)).unwrap();
        let copy = leave(&output, "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b").await;
        let elsewhere = dir.path().join("copy");
        fs::rename(&copy, &elsewhere).unwrap();
        // The system gives an error that says nothing of what is in it.
        std::os::unix::fs::symlink(&copy, &copy).unwrap();
        keep(copies(&output), spool.clone(), RETENTION).await;
        assert_eq!((copies(&output), kept(&spool).await.len()), (vec![copy.clone()], 0));
        fs::rename(&elsewhere, &copy).unwrap();
        keep(copies(&output), spool.clone(), RETENTION).await;
        assert_eq!((copies(&output).len(), kept(&spool).await.len()), (0, 1));
    }
}
