//! Ships batches from the spool until the run log has them. While the run log is away, or refuses everything, the
//! spool grows. A record that it refuses for its content, while it takes others, is set aside: see
//! [`Spool::set_aside`].

use std::{io, sync::Arc, time::Duration};

use common::{
    id::RunId,
    runlog::{LogEntry, Refusal, RunLog, RunLogError},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    run::task::{Attempt, attempt_of},
    spool::Spool,
};

#[cfg(test)]
mod tests;

/// A batch's entries and bytes, at most about.
const ENTRIES: usize = 500;
const BYTES: u64 = 4 << 20;

/// With so much, the largest record does not come alone.
const LARGE_BYTES: u64 = 24 << 20;

/// Between the beginnings of two batches that are not full: what comes by and by is shipped together, which costs the
/// run log a part of what it costs one by one. A lone record is shipped at once.
const PACE: Duration = Duration::from_millis(20);

/// Between two tries while the run log is away.
const RETRY: Duration = Duration::from_millis(500);

/// How often somebody is told that the run log takes nothing.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Tells which attempts of tasks the run log has got.
pub type Logged = mpsc::UnboundedSender<(RunId, u32)>;

/// Ships until `shutdown`.
pub async fn run(spool: Spool, runlog: Arc<dyn RunLog>, logged: Option<Logged>, shutdown: CancellationToken) {
    // When it was last said.
    let mut away: Option<Instant> = None;
    let mut next = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            ((), ()) = async { tokio::join!(spool.filled(), sleep_until(next)) } => {}
        }
        let begun = Instant::now();
        match ship(&spool, &*runlog, logged.as_ref()).await {
            Ok(shipped) => {
                let is_full = shipped.is_some_and(|entries| entries >= ENTRIES);
                next = if is_full { begun } else { begun + PACE };
                if away.take().is_some() {
                    tracing::info!("the run log is back");
                }
            }
            Err(error) => {
                if away.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
                    tracing::warn!(error, "run logs cannot be shipped; they are kept on disk");
                    away = Some(Instant::now());
                }
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return,
                    () = sleep(RETRY) => {}
                }
            }
        }
    }
}

/// Ships what there is, once each; for the end of a worker.
pub async fn flush(spool: &Spool, runlog: &dyn RunLog) {
    while let Ok(Some(_)) = ship(spool, runlog, None).await {}
}

/// Ships one batch; says of how many entries. None: there was nothing.
async fn ship(spool: &Spool, runlog: &dyn RunLog, logged: Option<&Logged>) -> Result<Option<usize>, String> {
    let text = |error: io::Error| error.to_string();
    let mut bytes = BYTES;
    loop {
        let mut groups = spool.read(ENTRIES, bytes).await.map_err(text)?;
        if groups.is_empty() {
            return Ok(None);
        }
        // Taken out, not copied: of a group that was shipped only its place counts, and it is read again if this fails.
        let entries: Vec<_> =
            groups.iter_mut().flat_map(|group| std::mem::take(&mut group.entries)).collect();
        let refused = append(runlog, &entries).await?;
        match refused.first().filter(|_| refused.len() == entries.len()) {
            // A large one, read alone: whether it is that one or us, those behind it tell.
            Some(_) if entries.len() == 1 && bytes == BYTES => bytes = LARGE_BYTES,
            // All refused: it is us that the run log does not want, as by a wrong rule.
            Some(first) => return Err(first.error.clone()),
            None => {
                set_aside(spool, &refused).await.map_err(text)?;
                spool.shipped(groups).await.map_err(text)?;
                if let Some(logged) = logged {
                    // Nobody listens any more when the worker is ending.
                    for attempt in tasks_of(&entries) {
                        let _ = logged.send(attempt);
                    }
                }
                return Ok(Some(entries.len()));
            }
        }
    }
}

fn tasks_of(entries: &[LogEntry]) -> impl Iterator<Item = Attempt> {
    entries.iter().filter_map(|entry| match entry {
        LogEntry::Run(record) => attempt_of(record),
        LogEntry::Ticks(_) => None,
    })
}

/// An entry that the run log refuses for what is in it, and why.
struct Refused<'a> {
    entry: &'a LogEntry,
    error: String,
}

/// Appends all but those that the run log refuses for what is in them, which it returns. A batch with such a one is
/// appended one by one, so that it does not hold up the others for ever. Any other error says nothing of an entry.
async fn append<'a>(runlog: &dyn RunLog, entries: &'a [LogEntry]) -> Result<Vec<Refused<'a>>, String> {
    match runlog.append(entries).await {
        Ok(()) => return Ok(Vec::new()),
        Err(RunLogError::Refused(Refusal::Record(_))) => {}
        Err(error) => return Err(error.chain()),
    }
    let refused = one_by_one(runlog, entries.iter().collect()).await?;
    if refused.len() == entries.len() {
        return Ok(refused);
    }
    // Once more: the rule may have been put right while the others were appended.
    one_by_one(runlog, refused.into_iter().map(|refused| refused.entry).collect()).await
}

/// Appends each by itself; returns those that are refused for what is in them.
async fn one_by_one<'a>(runlog: &dyn RunLog, entries: Vec<&'a LogEntry>) -> Result<Vec<Refused<'a>>, String> {
    let mut refused = Vec::new();
    for entry in entries {
        match runlog.append(std::slice::from_ref(entry)).await {
            Ok(()) => {}
            Err(error @ RunLogError::Refused(Refusal::Record(_))) => {
                refused.push(Refused { entry, error: error.chain() });
            }
            Err(error) => return Err(error.chain()),
        }
    }
    Ok(refused)
}

/// Keeps what the run log will never take where a person finds it.
async fn set_aside(spool: &Spool, refused: &[Refused<'_>]) -> io::Result<()> {
    let Some(first) = refused.first() else { return Ok(()) };
    let entries = refused.iter().map(|refused| refused.entry.clone()).collect();
    match spool.set_aside(entries).await? {
        Some(file) => {
            let (records, error) = (refused.len(), &first.error);
            tracing::error!(records, file = %file.display(), error, "the run log refuses some records; they are in this file");
        }
        None => {
            for Refused { entry, error } in refused {
                tracing::error!(
                    error,
                    ?entry,
                    "the run log refuses a record, and the file for refused records is full; here it is"
                );
            }
        }
    }
    Ok(())
}
