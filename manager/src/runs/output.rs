//! A run's output: from its worker while it executes, from the run log afterwards.

use std::time::Duration;

use common::{
    api::OutputView,
    id::RunId,
    live::LiveError,
    lock::HeldLock,
    runlog::{Gap, Piece, RunLogError, RunRecord},
};
use tokio::time::timeout;

use crate::{budget::Share, cache::Active, problem::ApiError, state::App};

/// A worker that takes longer counts as not to be reached.
const WORKER_WITHIN: Duration = Duration::from_secs(4);

/// A stored record has at most this many bytes.
const LARGEST_RECORD: usize = 16 << 20;

/// The output of one attempt (the newest without) behind byte `from`, and the share that a finished one was read with.
pub(crate) async fn read(
    app: &App,
    run: RunId,
    attempt: Option<u32>,
    from: u64,
) -> Result<(OutputView, Option<Share>), ApiError> {
    let active = app.cache.active_run(run);
    let asked = |number: u32| attempt.is_none_or(|attempt| attempt == number);
    match &active {
        Some(Active::Wanted(wanted)) if asked(wanted.attempt) => {
            return Ok((nothing_yet(wanted.attempt, from), None));
        }
        Some(active) if asked(active.attempt()) && active.ended().is_none() => {
            if let Some((held, _)) = active.held()
                && let Some(view) = live(app, held, from).await?
            {
                return Ok((view, None));
            }
        }
        _ => {}
    }
    let newest = active.as_ref().map(Active::attempt);
    // The record, what is shown of it, and its text.
    let share = app.budget.hold(3 * LARGEST_RECORD).await?;
    match (app.ask_runlog(record(app, run, attempt.or(newest))).await?, newest) {
        (Some(record), _) => Ok((finished(&record, from), Some(share))),
        // Between its end and its record, or its worker is gone and nobody has found it yet.
        (None, Some(number)) if asked(number) => Ok((nothing_yet(number, from), None)),
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
async fn live(app: &App, held: &HeldLock, from: u64) -> Result<Option<OutputView>, ApiError> {
    let Some(worker) = app.cache.worker(held.worker.as_str()) else { return Ok(None) };
    match timeout(WORKER_WITHIN, app.live.read(&worker, &held.run, from)).await {
        Ok(Ok(live)) => Ok(Some(OutputView {
            attempt: live.attempt,
            complete: false,
            output: live.output,
            pieces: live.pieces,
            next: live.next,
            truncated: live.truncated,
            gap: live.gap,
        })),
        Ok(Err(LiveError::NotRunning)) => Ok(None),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(LiveError::Unreachable("it does not answer".to_owned()).into()),
    }
}

fn nothing_yet(attempt: u32, from: u64) -> OutputView {
    OutputView { attempt, next: from, ..OutputView::default() }
}

/// Offsets count what is missing in the middle, as they did while the run executed.
fn finished(record: &RunRecord, from: u64) -> OutputView {
    let total = record.output.len();
    let middle = record.gap().filter(|_| record.gap.is_some());
    let missing = middle.map_or(0, |gap| gap.bytes.saturating_sub(from.saturating_sub(gap.at)));
    let kept_before = middle.map_or(from, |gap| match from.checked_sub(gap.at) {
        None => from,
        Some(behind) => gap.at + behind.saturating_sub(gap.bytes),
    });
    let mut start = usize::try_from(kept_before).unwrap_or(total).min(total);
    // An offset inside a character was counted in bytes that this record replaced.
    while !record.output.is_char_boundary(start) {
        start += 1;
    }
    let at = middle.map_or(0, |gap| gap.at.saturating_sub(start as u64));
    OutputView {
        attempt: record.attempt,
        complete: true,
        output: record.output[start..].to_owned(),
        pieces: pieces_behind(&record.pieces, start as u64),
        next: total as u64 + middle.map_or(0, |gap| gap.bytes),
        truncated: record.truncated,
        gap: (missing > 0).then_some(Gap { at, bytes: missing }),
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

    /// Of 20 bytes, those from 4 to 14 are gone.
    fn record() -> RunRecord {
        serde_json::from_value(serde_json::json!({
            "jobName": "a", "command": "a", "err": "", "output": "0123efghij", "planTime": 0, "scheduleTime": 0,
            "startTime": 0, "endTime": 0, "run": "01935d2e-7b1c-7c3e-9a51-0d6f2f3e4a5b", "attempt": 1,
            "state": "succeeded", "reason": "", "by": "worker", "trigger": "manual", "worker": "w", "fence": 1,
            "claimTime": 0, "truncated": 10, "gap": 4, "pieces": [[0, "out", 4], [9, "err", 6]]
        }))
        .unwrap()
    }

    #[test]
    fn offsets_in_a_record_count_what_is_missing_in_its_middle() {
        for (from, output, gap) in [
            (0, "0123efghij", Some((4, 10))),
            (3, "3efghij", Some((1, 10))),
            (4, "efghij", Some((0, 10))),
            (9, "efghij", Some((0, 5))),
            (14, "efghij", None),
            (15, "fghij", None),
            (20, "", None),
            (99, "", None),
        ] {
            let view = finished(&record(), from);
            assert_eq!((view.output.as_str(), view.next), (output, 20), "{from}");
            assert_eq!(view.gap, gap.map(|(at, bytes)| Gap { at, bytes }), "{from}");
            let sum: u32 = view.pieces.iter().map(|piece| piece.2).sum();
            assert_eq!(sum as usize, output.len(), "{from}");
        }
        let told = "0123\n[... 10 bytes of output are left out here ...]\nefghij";
        assert_eq!(record().told_output(), told);
        let of_old = RunRecord { gap: None, ..record() };
        let view = finished(&of_old, 4);
        assert_eq!((view.output.as_str(), view.next, view.gap), ("efghij", 10, None));
        let told = "0123efghij\n[... 10 bytes of output are left out here ...]\n";
        assert_eq!(of_old.told_output(), told);
    }

    #[test]
    fn the_pieces_behind_an_offset_add_up_to_the_rest() {
        let pieces = [Piece(0, Stream::Out, 3), Piece(5, Stream::Err, 4), Piece(9, Stream::Out, 1)];
        assert_eq!(pieces_behind(&pieces, 0), pieces);
        assert_eq!(pieces_behind(&pieces, 5), [Piece(5, Stream::Err, 2), Piece(9, Stream::Out, 1)]);
        assert_eq!(pieces_behind(&pieces, 7), [Piece(9, Stream::Out, 1)]);
        assert_eq!(pieces_behind(&pieces, 8), []);
    }
}
