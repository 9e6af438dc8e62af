//! The first SIGINT or SIGTERM asks the process to end, the second ends it.

use std::{io, sync::mpsc};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::telemetry;

/// A token that the first SIGINT or SIGTERM cancels; the second ends the process, as a shell would report it.
///
/// Signals are heard by a thread of their own, so that they are while everything else waits for something, and until the
/// process is gone.
pub(crate) fn shutdown_token() -> io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let shutdown = token.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ready, listens) = mpsc::sync_channel(1);
    // Lives as long as the process: there is no end of it to wait for.
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            let signals = signal(SignalKind::interrupt())
                .and_then(|interrupt| Ok((interrupt, signal(SignalKind::terminate())?)));
            match signals {
                Ok(signals) => {
                    // Whoever asked for the token waits for this.
                    let _ = ready.send(Ok(()));
                    hear(signals, shutdown).await
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        });
    })?;
    listens.recv().map_err(io::Error::other)??;
    Ok(token)
}

/// Acts before it says so: what is said may find no reader.
async fn hear((mut interrupt, mut terminate): (Signal, Signal), shutdown: CancellationToken) {
    // Nobody would hear the next signal: also a panic ends the process.
    let shutdown = shutdown.drop_guard();
    let name = next(&mut interrupt, &mut terminate).await.0;
    drop(shutdown);
    tracing::info!("{name}: shutting down; a second one ends at once");
    let (name, number) = next(&mut interrupt, &mut terminate).await;
    tracing::warn!("{name} again: ending at once");
    telemetry::flush();
    std::process::exit(128 + number);
}

/// Cancel safe: a signal that came is seen by the next call.
async fn next(interrupt: &mut Signal, terminate: &mut Signal) -> (&'static str, i32) {
    tokio::select! {
        _ = interrupt.recv() => ("SIGINT", 2),
        _ = terminate.recv() => ("SIGTERM", 15),
    }
}
