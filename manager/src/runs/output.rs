//! A run's output: from its worker while it executes, from the run log afterwards.

use std::time::Duration;

use common::{
    api::OutputView,
    id::RunId,
    live::LiveError,
    runlog::{Piece, RunLogError, RunRecord},
};
use tokio::time::timeout;

use crate::{
    cache::{Active, HeldRun},
    problem::ApiError,
    state::App,
};

/// A worker that takes longer counts as not to be reached.
const WORKER_WITHIN: Duration = Duration::from_secs(4);

/// The output of one attempt (the newest without) behind byte `from`.
pub(crate) async fn read(
    app: &App,
    run: RunId,
    attempt: Option<u32>,
    from: u64,
) -> Result<OutputView, ApiError> {
    let active = app.cache.active_run(run);
    let asked = |number: u32| attempt.is_none_or(|attempt| attempt == number);
    match &active {
        Some(Active::Held(held)) if asked(held.held.attempt) => {
            if let Some(view) = live(app, held, from).await? {
                return Ok(view);
            }
        }
        Some(Active::Wanted(wanted)) if asked(wanted.attempt) => {
            return Ok(nothing_yet(wanted.attempt, from));
        }
        _ => {}
    }
    let newest = match &active {
        Some(Active::Held(held)) => Some(held.held.attempt),
        Some(Active::Wanted(wanted)) => Some(wanted.attempt),
        None => None,
    };
    match (app.ask_runlog(record(app, run, attempt.or(newest))).await?, newest) {
        (Some(record), _) => Ok(finished(&record, from)),
        // Between its end and its record, or its worker is gone and nobody has found it yet.
        (None, Some(number)) if asked(number) => Ok(nothing_yet(number, from)),
        (None, _) => Err(ApiError::NoSuchRun(run)),
    }
}

/// The record of an attempt, of the newest in the run log without a number. Reads that one's output only: a run can
/// have many large ones, and who waits for more looks here several times a second.
async fn record(app: &App, run: RunId, attempt: Option<u32>) -> Result<Option<RunRecord>, RunLogError> {
    let number = match attempt {
        Some(number) => number,
        None => {
            let attempts = app.runlog.attempts(&run).await?;
            let Some(newest) = attempts.last() else { return Ok(None) };
            newest.attempt
        }
    };
    app.runlog.attempt(&run, number).await
}

/// `None`: its worker does not execute it any more, or is gone.
async fn live(app: &App, run: &HeldRun, from: u64) -> Result<Option<OutputView>, ApiError> {
    let Some(worker) = app.cache.worker(run.held.worker.as_str()) else { return Ok(None) };
    match timeout(WORKER_WITHIN, app.live.read(&worker, &run.held.run, from)).await {
        Ok(Ok(live)) => Ok(Some(OutputView {
            attempt: live.attempt,
            complete: false,
            output: live.output,
            pieces: live.pieces,
            next: live.next,
            truncated: live.truncated,
        })),
        Ok(Err(LiveError::NotRunning)) => Ok(None),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(LiveError::Unreachable("it does not answer".to_owned()).into()),
    }
}

fn nothing_yet(attempt: u32, from: u64) -> OutputView {
    OutputView { attempt, next: from, ..OutputView::default() }
}

fn finished(record: &RunRecord, from: u64) -> OutputView {
    let total = record.output.len();
    let mut start = usize::try_from(from).unwrap_or(total).min(total);
    // An offset inside a character was counted in bytes that this record replaced.
    while !record.output.is_char_boundary(start) {
        start += 1;
    }
    OutputView {
        attempt: record.attempt,
        complete: true,
        output: record.output[start..].to_owned(),
        pieces: pieces_behind(&record.pieces, start as u64),
        next: total as u64,
        truncated: record.truncated,
    }
}

/// The pieces behind byte `start`, the first one cut.
fn pieces_behind(pieces: &[Piece], start: u64) -> Vec<Piece> {
    let mut skip = start;
    let mut rest = Vec::new();
    for piece in pieces {
        let length = u64::from(piece.2);
        if length > skip {
            let left = u32::try_from(length - skip).unwrap_or(piece.2);
            rest.push(Piece(piece.0, piece.1, left));
        }
        skip = skip.saturating_sub(length);
    }
    rest
}

#[cfg(test)]
mod tests {
    use common::runlog::Stream;

    use super::*;

    #[test]
    fn the_pieces_behind_an_offset_add_up_to_the_rest() {
        let pieces = [Piece(0, Stream::Out, 3), Piece(5, Stream::Err, 4), Piece(9, Stream::Out, 1)];
        assert_eq!(pieces_behind(&pieces, 0), pieces);
        assert_eq!(pieces_behind(&pieces, 5), [Piece(5, Stream::Err, 2), Piece(9, Stream::Out, 1)]);
        assert_eq!(pieces_behind(&pieces, 7), [Piece(9, Stream::Out, 1)]);
        assert_eq!(pieces_behind(&pieces, 8), []);
    }
}
