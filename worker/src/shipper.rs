//! Batches from the spool to the run log, until it has them. While the run log is away the spool grows.

use std::{sync::Arc, time::Duration};

use common::runlog::{LogEntry, RunLog, RunLogError};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::spool::Spool;

/// A batch's entries and bytes, at most about.
const ENTRIES: usize = 500;
const BYTES: u64 = 4 << 20;

/// Between two tries while the run log is away.
const RETRY: Duration = Duration::from_millis(500);

/// Ships until `shutdown`.
pub async fn run(spool: Spool, runlog: Arc<dyn RunLog>, shutdown: CancellationToken) {
    let mut away = false;
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = spool.filled() => {}
        }
        match ship(&spool, &*runlog).await {
            Ok(_) => {
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
    while let Ok(true) = ship(spool, runlog).await {}
}

/// Ships one batch; false: there was nothing.
async fn ship(spool: &Spool, runlog: &dyn RunLog) -> Result<bool, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut groups = spool.read(ENTRIES, BYTES).await.map_err(text)?;
    if groups.is_empty() {
        return Ok(false);
    }
    // What the run log does not take is read again: what was read can be given away, outputs of a megabyte among it.
    let entries: Vec<_> = groups.iter_mut().flat_map(|group| std::mem::take(&mut group.entries)).collect();
    append(runlog, &entries).await?;
    spool.shipped(groups).await.map_err(text)?;
    Ok(true)
}

/// Appends all; a batch that is refused is appended one by one, so that one bad record does not hold up the
/// others for ever.
async fn append(runlog: &dyn RunLog, entries: &[LogEntry]) -> Result<(), String> {
    match runlog.append(entries).await {
        Ok(()) => Ok(()),
        Err(RunLogError::Refused(_)) if entries.len() > 1 => {
            let mut refused = Vec::new();
            for entry in entries {
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
            Ok(())
        }
        Err(error) => Err(error.chain()),
    }
}
