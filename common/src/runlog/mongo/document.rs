//! Records as documents and back.
//!
//! Written, a document has `_id` first, then the record's fields under the names that `record.rs` gives them, and
//! `expires` as a date. When read, what GDTS never wrote is filled in, text that is not UTF-8 is mended, and a
//! document beyond that is an error of its own.

use std::{borrow::Cow, ops::Range};

use mongodb::bson::{
    self, Bson, DateTime, RawDocument, RawDocumentBuf, Utf8Lossy, cstr, deserialize_from_slice,
    oid::ObjectId, serialize_to_raw_document_buf,
};
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use super::super::{Author, Piece, RunRecord, TickRecord};
use crate::{
    id::{JobName, NameError, RunId, WorkerId},
    run::{Cause, RunState},
    tick::Tick,
};

/// MongoDB takes 16 MiB a document; the margin is for what the driver and the server add.
const MAX_DOCUMENT_BYTES: usize = 16 * 1024 * 1024 - 64 * 1024;

/// What everything but texts and pieces takes, and more.
const FIXED_BYTES: usize = 64 * 1024;

/// What a piece takes, at most.
const PIECE_BYTES: usize = 48;

/// Who ran what GDTS logged: it does not say.
const GDTS_WORKER: &str = "gdts";

/// A document that is not a record.
#[derive(Debug, thiserror::Error)]
#[error("{id}: {problem}")]
pub(super) struct Unreadable {
    id: String,
    problem: String,
}

/// A run as a document. One that MongoDB would refuse for its size loses the end of its output, or more where something
/// is missing already, and says so in `truncated`.
pub(super) fn of_run(record: &RunRecord) -> Result<RawDocumentBuf, bson::error::Error> {
    of_run_within(MAX_DOCUMENT_BYTES, record)
}

fn of_run_within(limit: usize, record: &RunRecord) -> Result<RawDocumentBuf, bson::error::Error> {
    let document = stored(&record.id(), &record.owner(), record, record.expires)?;
    if document.as_bytes().len() <= limit {
        return Ok(document);
    }
    let cut = cut_to(limit, record.clone());
    tracing::warn!(run = %cut.run, job = %cut.job_name, truncated = cut.truncated, "cut an output to what MongoDB takes");
    stored(&cut.id(), &cut.owner(), &cut, cut.expires)
}

/// A stretch of ticks as a document.
pub(super) fn of_ticks(record: &TickRecord) -> Result<RawDocumentBuf, bson::error::Error> {
    stored(&record.id(), record.job_name.as_str(), record, record.expires)
}

fn stored(
    id: &str,
    owner: &str,
    record: &impl Serialize,
    expires: i64,
) -> Result<RawDocumentBuf, bson::error::Error> {
    let fields = serialize_to_raw_document_buf(record)?;
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("_id"), id);
    for field in fields.iter_elements() {
        let field = field?;
        if field.key() == cstr!("expires") {
            document.append(cstr!("expires"), DateTime::from_millis(expires));
        } else if field.key() == cstr!("jobName") {
            document.append(field.key(), owner);
        } else {
            document.append(field.key(), field.value()?);
        }
    }
    Ok(document)
}

fn cut_to(limit: usize, mut record: RunRecord) -> RunRecord {
    // The output is worth more than the times of its pieces: they get a third.
    let max_pieces = limit / 3 / PIECE_BYTES;
    if record.pieces.len() > max_pieces {
        record.pieces.dedup_by(|next, piece| {
            let joined = next.1 == piece.1;
            if joined {
                piece.2 = piece.2.saturating_add(next.2);
            }
            joined
        });
    }
    if record.pieces.len() > max_pieces {
        record.pieces.clear();
    }
    let rest =
        record.command.len() + record.err.len() + record.reason.len() + record.pieces.len() * PIECE_BYTES;
    let room = limit.saturating_sub(rest + FIXED_BYTES);
    let length = record.output.len();
    if length > room {
        // Behind what is missing already, or the end.
        let gap = record.gap.map(|gap| usize::try_from(gap).unwrap_or(length).min(room));
        let mut start = gap.unwrap_or(room);
        while !record.output.is_char_boundary(start) {
            start -= 1;
        }
        let mut end = gap.map_or(length, |gap| gap + (length - room));
        while !record.output.is_char_boundary(end) {
            end += 1;
        }
        record.truncated += (end - start) as u64;
        record.gap = gap.map(|_| start as u64);
        record.output.drain(start..end);
        cut_pieces(&mut record.pieces, start..end);
    }
    record
}

/// Takes these bytes of an output out of its pieces.
fn cut_pieces(pieces: &mut Vec<Piece>, cut: Range<usize>) {
    let mut end = 0;
    pieces.retain_mut(|piece| {
        let start = end;
        end += piece.2 as usize;
        let taken = cut.end.min(end).saturating_sub(cut.start.max(start));
        piece.2 -= u32::try_from(taken).unwrap_or(piece.2);
        piece.2 > 0
    });
}

/// A run as it was stored, by us or by GDTS.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredRun {
    #[serde(rename = "_id")]
    id: Bson,
    job_name: String,
    #[serde(default)]
    command: String,
    #[serde(default)]
    err: String,
    #[serde(default)]
    output: String,
    #[serde(deserialize_with = "millis")]
    plan_time: i64,
    #[serde(deserialize_with = "millis")]
    schedule_time: i64,
    #[serde(deserialize_with = "millis")]
    start_time: i64,
    #[serde(deserialize_with = "millis")]
    end_time: i64,
    run: Option<RunId>,
    #[serde(default)]
    task: bool,
    attempt: Option<u32>,
    state: Option<RunState>,
    #[serde(default)]
    reason: String,
    by: Option<Author>,
    trigger: Option<Cause>,
    tick: Option<Tick>,
    worker: Option<WorkerId>,
    #[serde(default)]
    fence: i64,
    #[serde(default, deserialize_with = "optional_millis")]
    claim_time: Option<i64>,
    exit_code: Option<i32>,
    signal: Option<i32>,
    #[serde(default)]
    truncated: u64,
    gap: Option<u64>,
    #[serde(default)]
    pieces: Vec<Piece>,
    #[serde(default, deserialize_with = "optional_millis")]
    expires: Option<i64>,
}

/// A run from its document.
pub(super) fn read_run(document: &RawDocument) -> Result<RunRecord, Unreadable> {
    let stored: StoredRun = read(document)?;
    let unreadable = |problem: String| Unreadable { id: stored.id.to_string(), problem };
    let run = match (stored.run, &stored.id) {
        (Some(run), _) => run,
        (None, Bson::ObjectId(id)) => run_of(*id),
        (None, _) => return Err(unreadable("it has no run and its _id is none of GDTS's".to_owned())),
    };
    let name = if stored.task { task_name(&stored.job_name) } else { &stored.job_name };
    let job_name: JobName = name.parse().map_err(|error: NameError| unreadable(error.to_string()))?;
    let worker = match stored.worker {
        Some(worker) => worker,
        None => GDTS_WORKER.parse().map_err(|error: NameError| unreadable(error.to_string()))?,
    };
    Ok(RunRecord {
        job_name,
        command: stored.command,
        state: stored.state.unwrap_or_else(|| state_of(&stored.err)),
        err: stored.err,
        output: stored.output,
        plan_time: stored.plan_time,
        schedule_time: stored.schedule_time,
        start_time: stored.start_time,
        end_time: stored.end_time,
        run,
        task: stored.task,
        attempt: stored.attempt.unwrap_or(1),
        reason: stored.reason,
        by: stored.by.unwrap_or(Author::Worker),
        trigger: stored.trigger.unwrap_or(Cause::Schedule),
        tick: stored.tick,
        worker,
        fence: crate::revision::Token(stored.fence),
        claim_time: stored.claim_time.unwrap_or(stored.schedule_time),
        exit_code: stored.exit_code,
        signal: stored.signal,
        truncated: stored.truncated,
        gap: stored.gap,
        pieces: stored.pieces,
        expires: stored.expires.unwrap_or_default(),
    })
}

/// The name of a task whose records have this owner.
fn task_name(owner: &str) -> &str {
    owner.strip_prefix(super::super::TASKS).unwrap_or(owner)
}

/// A stretch of ticks from its document.
pub(super) fn read_ticks(document: &RawDocument) -> Result<TickRecord, Unreadable> {
    #[derive(Deserialize)]
    struct Expires {
        #[serde(default, deserialize_with = "optional_millis")]
        expires: Option<i64>,
    }
    let expires: Expires = read(document)?;
    // `expires` is a date there and a number here.
    let mut fields = RawDocumentBuf::new();
    for field in document.iter_elements() {
        let field = field.map_err(|error| unreadable(document, &error))?;
        if field.key() != cstr!("expires") {
            fields
                .append(field.key(), field.value_utf8_lossy().map_err(|error| unreadable(document, &error))?);
        }
    }
    let mut record: TickRecord = read(&fields)?;
    record.expires = expires.expires.unwrap_or_default();
    Ok(record)
}

fn read<T: serde::de::DeserializeOwned>(document: &RawDocument) -> Result<T, Unreadable> {
    let Utf8Lossy(value) = deserialize_from_slice::<Utf8Lossy<T>>(document.as_bytes())
        .map_err(|error| unreadable(document, &error))?;
    Ok(value)
}

fn unreadable(document: &RawDocument, error: &bson::error::Error) -> Unreadable {
    let id = match document.get("_id") {
        Ok(Some(id)) => Cow::Owned(format!("{id:?}")),
        _ => Cow::Borrowed("a document without _id"),
    };
    Unreadable { id: id.into_owned(), problem: error.to_string() }
}

/// How a run of GDTS ended, by its `err`.
fn state_of(err: &str) -> RunState {
    match err {
        "" => RunState::Succeeded,
        GDTS_KILLED => RunState::Killed,
        _ => RunState::Failed,
    }
}

/// GDTS's `err` of a run that was killed.
pub(super) const GDTS_KILLED: &str = "signal: killed";

/// Milliseconds, in whatever kind of number or date they were written.
fn millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let value = Bson::deserialize(deserializer)?;
    number(&value).ok_or_else(|| serde::de::Error::custom(format!("{value} is not a time in milliseconds")))
}

fn optional_millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Ok(number(&Bson::deserialize(deserializer)?))
}

pub(super) fn number(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a fraction of a millisecond is nothing; the cast saturates"
        )]
        Bson::Double(number) => Some(*number as i64),
        Bson::DateTime(date) => Some(date.timestamp_millis()),
        _ => None,
    }
}

/// GDTS's runs have no id of ours. Theirs becomes one, as a UUID of version 8 ("custom"), and can be had back.
fn run_of(id: ObjectId) -> RunId {
    let id = id.bytes();
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&id[..6]);
    bytes[6] = 0x80;
    bytes[7] = id[6];
    bytes[8] = 0x80;
    bytes[9..14].copy_from_slice(&id[7..]);
    bytes[14..].copy_from_slice(b"gd");
    RunId::from_uuid(Uuid::from_bytes(bytes))
}

/// The id that GDTS gave a run, if the run is one of its.
pub(super) fn gdts_id(run: &RunId) -> Option<ObjectId> {
    let bytes = run.as_uuid().into_bytes();
    if bytes[6] != 0x80 || bytes[8] != 0x80 || &bytes[14..] != b"gd" {
        return None;
    }
    let mut id = [0; 12];
    id[..6].copy_from_slice(&bytes[..6]);
    id[6] = bytes[7];
    id[7..].copy_from_slice(&bytes[9..14]);
    Some(ObjectId::from_bytes(id))
}

#[cfg(test)]
mod tests;
