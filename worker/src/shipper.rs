//! Batches from the spool to the run log, until it has them. While the run log is away the spool grows.

use std::{sync::Arc, time::Duration};

use common::runlog::{RunLog, RunLogError};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::spool::{Spool, Spooled};

/// A batch's entries and bytes, at most about.
const ENTRIES: usize = 500;
const BYTES: u64 = 4 << 20;

/// Between the beginnings of two batches that are not full: what comes by and by is shipped together, which costs the
/// run log a part of what it costs one by one. A lone record is shipped at once.
const PACE: Duration = Duration::from_millis(20);

/// Between two tries while the run log is away.
const RETRY: Duration = Duration::from_millis(500);

/// Ships until `shutdown`.
pub async fn run(spool: Spool, runlog: Arc<dyn RunLog>, shutdown: CancellationToken) {
    let mut away = false;
    let mut next = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            ((), ()) = async { tokio::join!(spool.filled(), sleep_until(next)) } => {}
        }
        let begun = Instant::now();
        match ship(&spool, &*runlog).await {
            Ok(shipped) => {
                let is_full = shipped.is_some_and(|entries| entries >= ENTRIES);
                next = if is_full { begun } else { begun + PACE };
                if away {
                    tracing::info!("the run log is back");
                }
                away = false;
            }
            Err(error) => {
                if !away {
                    tracing::warn!(error, "run logs cannot be shipped; they are kept on disk");
                }
                away = true;
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
    while let Ok(Some(_)) = ship(spool, runlog).await {}
}

/// Ships one batch; says of how many entries. None: there was nothing.
async fn ship(spool: &Spool, runlog: &dyn RunLog) -> Result<Option<usize>, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut groups = spool.read(ENTRIES, BYTES).await.map_err(text)?;
    if groups.is_empty() {
        return Ok(None);
    }
    let entries = append(runlog, &mut groups).await?;
    spool.shipped(groups).await.map_err(text)?;
    Ok(Some(entries))
}

/// Appends all; a batch that is refused is appended one by one, so that one bad record does not hold up the
/// others for ever. Says how many.
async fn append(runlog: &dyn RunLog, groups: &mut [Spooled]) -> Result<usize, String> {
    // Taken out, not copied: of a group that was shipped only its place counts, and it is read again if this fails.
    let entries: Vec<_> = groups.iter_mut().flat_map(|group| std::mem::take(&mut group.entries)).collect();
    match runlog.append(&entries).await {
        Ok(()) => Ok(entries.len()),
        Err(RunLogError::Refused(_)) if entries.len() > 1 => {
            let mut refused = Vec::new();
            for entry in &entries {
                match runlog.append(std::slice::from_ref(entry)).await {
                    Ok(()) => {}
                    Err(error @ RunLogError::Refused(_)) => refused.push((entry, error.chain())),
                    Err(error) => return Err(error.chain()),
                }
            }
            // All refused: it is us that the run log does not want, as with bad credentials. Nothing is given up.
            if let (true, Some((_, error))) = (refused.len() == entries.len(), refused.first()) {
                return Err(error.clone());
            }
            for (entry, error) in refused {
                tracing::error!(error, ?entry, "the run log refuses a record; here it is");
            }
            Ok(entries.len())
        }
        Err(error) => Err(error.chain()),
    }
}
