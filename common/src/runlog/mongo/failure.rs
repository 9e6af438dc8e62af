//! What the driver's errors mean to us: does trying again help?

use std::time::Duration;

use mongodb::error::{Error, ErrorKind, WriteFailure};

use super::super::RunLogError;

/// A duplicate `_id`.
pub(super) const DUPLICATE_KEY: i32 = 11_000;

/// The server's errors that trying again cannot help: not authorized, failed to parse, type mismatch, wrong
/// credentials, failed validation, a document or key that is too large, and their like. All others may pass: an
/// election, a shutdown, a full disk, a limit that ran out.
const HOPELESS: [i32; 14] = [2, 9, 13, 14, 18, 59, 72, 73, 121, 166, 10_334, 17_280, 17_419, 8_000];

/// Why a call failed, in words, and whether another one may succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("MongoDB at {hosts}: {problem}")]
pub(super) struct Failure {
    hosts: String,
    pub(super) problem: String,
    hopeless: bool,
}

impl Failure {
    pub(super) fn new(hosts: &str, error: &Error) -> Self {
        Self { hosts: hosts.to_owned(), problem: words(&error.kind), hopeless: hopeless(error) }
    }

    /// No answer in time.
    pub(super) fn silent(hosts: &str, limit: Duration) -> Self {
        Self {
            hosts: hosts.to_owned(),
            problem: format!("no answer within {} ms", limit.as_millis()),
            hopeless: false,
        }
    }

    /// A document that it will never take.
    pub(super) fn refused(hosts: &str, problem: String) -> Self {
        Self { hosts: hosts.to_owned(), problem, hopeless: true }
    }

    /// A document that it did not take now.
    pub(super) fn passing(hosts: &str, problem: String) -> Self {
        Self { hosts: hosts.to_owned(), problem, hopeless: false }
    }

    pub(super) fn is_hopeless(&self) -> bool {
        self.hopeless
    }
}

impl From<Failure> for RunLogError {
    fn from(failure: Failure) -> Self {
        if failure.hopeless { Self::Refused(Box::new(failure)) } else { Self::Unavailable(Box::new(failure)) }
    }
}

pub(super) fn is_hopeless_code(code: i32) -> bool {
    HOPELESS.contains(&code)
}

fn hopeless(error: &Error) -> bool {
    if error.contains_label("RetryableWriteError") || error.contains_label("NetworkError") {
        return false;
    }
    match error.kind.as_ref() {
        ErrorKind::Authentication { .. }
        | ErrorKind::InvalidArgument { .. }
        | ErrorKind::InvalidTlsConfig { .. }
        | ErrorKind::IncompatibleServer { .. }
        | ErrorKind::Bson(_) => true,
        ErrorKind::Command(command) => is_hopeless_code(command.code),
        ErrorKind::Write(WriteFailure::WriteError(error)) => is_hopeless_code(error.code),
        _ => false,
    }
}

fn words(kind: &ErrorKind) -> String {
    match kind {
        // The driver prints its view of all servers; what a person needs is the error in there.
        ErrorKind::ServerSelection { message, .. } => match message.split_once("Error: ") {
            Some((_, cause)) => {
                let cause = cause.strip_prefix("Kind: ").unwrap_or(cause);
                let end =
                    [", labels:", " }"].iter().filter_map(|end| cause.find(end)).min().unwrap_or(cause.len());
                format!("no server answers: {}", &cause[..end])
            }
            None => "no server answers".to_owned(),
        },
        ErrorKind::Command(error) => error.message.clone(),
        ErrorKind::Write(WriteFailure::WriteError(error)) => error.message.clone(),
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => error.message.clone(),
        other => other.to_string(),
    }
}
