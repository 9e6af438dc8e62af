//! The first SIGINT or SIGTERM asks for the end, the second ends.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that the first SIGINT or SIGTERM cancels; the second ends the process, as a shell would report it.
///
/// Call it within the runtime.
pub(crate) fn shutdown_token() -> std::io::Result<CancellationToken> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let token = CancellationToken::new();
    let shutdown = token.clone();
    // Lives as long as the process: there is no end of it to wait for.
    tokio::spawn(async move {
        let name = next(&mut interrupt, &mut terminate).await.0;
        tracing::info!("{name}: shutting down; a second one ends at once");
        shutdown.cancel();
        let (name, number) = next(&mut interrupt, &mut terminate).await;
        tracing::warn!("{name} again: ending at once");
        std::process::exit(128 + number);
    });
    Ok(token)
}

/// Cancel safe: a signal that came is seen by the next call.
async fn next(interrupt: &mut Signal, terminate: &mut Signal) -> (&'static str, i32) {
    tokio::select! {
        _ = interrupt.recv() => ("SIGINT", 2),
        _ = terminate.recv() => ("SIGTERM", 15),
    }
}
