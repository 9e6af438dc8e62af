//! What the driver's errors mean to us: does trying again help?

use std::time::Duration;

use mongodb::error::{Error, ErrorKind, WriteFailure};

use super::super::{Refusal, RunLogError};

/// A duplicate `_id`.
pub(super) const DUPLICATE_KEY: i32 = 11_000;

/// The server's errors that trying again cannot help: not authorized, failed to parse, type mismatch, wrong
/// credentials, failed validation, a document or key that is too large, and their like. All others may pass: an
/// election, a shutdown, a full disk, a limit that ran out.
const HOPELESS: [i32; 14] = [2, 9, 13, 14, 18, 59, 72, 73, 121, 166, 10_334, 17_280, 17_419, 8_000];

/// Those of them that are a document's own when they are said of its write: a bad value, failed to parse, type
/// mismatch, failed validation, too large. The others are the call's, also there: what a shard says of a whole call,
/// the router says of each document.
const OF_DOCUMENT: [i32; 7] = [2, 9, 14, 121, 10_334, 17_280, 17_419];

/// Why a call failed, in words, and whether another one may succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("MongoDB at {hosts}: {problem}")]
pub(super) struct Failure {
    hosts: String,
    pub(super) problem: String,
    outlook: Outlook,
}

/// What another try would meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outlook {
    /// It may succeed.
    Passing,
    /// The same, whatever it carries, until a person has dealt with it.
    CallRefused,
    /// The same, with this document.
    DocumentRefused,
}

impl Failure {
    pub(super) fn new(hosts: &str, error: &Error) -> Self {
        Self { hosts: hosts.to_owned(), problem: words(&error.kind), outlook: outlook(error) }
    }

    /// What the server says of one document's write.
    pub(super) fn of_write(hosts: &str, code: i32, problem: String) -> Self {
        Self { hosts: hosts.to_owned(), problem, outlook: outlook_of_write(code) }
    }

    /// No answer in time.
    pub(super) fn silent(hosts: &str, limit: Duration) -> Self {
        Self {
            hosts: hosts.to_owned(),
            problem: format!("no answer within {} ms", limit.as_millis()),
            outlook: Outlook::Passing,
        }
    }

    /// A document that it will never take.
    pub(super) fn refused(hosts: &str, problem: String) -> Self {
        Self { hosts: hosts.to_owned(), problem, outlook: Outlook::DocumentRefused }
    }

    pub(super) fn is_hopeless(&self) -> bool {
        self.outlook != Outlook::Passing
    }

    pub(super) fn is_of_document(&self) -> bool {
        self.outlook == Outlook::DocumentRefused
    }
}

impl From<Failure> for RunLogError {
    fn from(failure: Failure) -> Self {
        match failure.outlook {
            Outlook::Passing => Self::Unavailable(Box::new(failure)),
            Outlook::CallRefused => Self::Refused(Refusal::Request(Box::new(failure))),
            Outlook::DocumentRefused => Self::Refused(Refusal::Record(Box::new(failure))),
        }
    }
}

fn outlook_of_write(code: i32) -> Outlook {
    if OF_DOCUMENT.contains(&code) { Outlook::DocumentRefused } else { outlook_of_call(code) }
}

fn outlook_of_call(code: i32) -> Outlook {
    if HOPELESS.contains(&code) { Outlook::CallRefused } else { Outlook::Passing }
}

fn outlook(error: &Error) -> Outlook {
    if error.contains_label("RetryableWriteError") || error.contains_label("NetworkError") {
        return Outlook::Passing;
    }
    match error.kind.as_ref() {
        ErrorKind::Authentication { .. }
        | ErrorKind::InvalidArgument { .. }
        | ErrorKind::InvalidTlsConfig { .. }
        | ErrorKind::IncompatibleServer { .. }
        | ErrorKind::Bson(_) => Outlook::CallRefused,
        ErrorKind::Command(command) => outlook_of_call(command.code),
        ErrorKind::Write(WriteFailure::WriteError(error)) => outlook_of_write(error.code),
        _ => Outlook::Passing,
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

#[cfg(test)]
mod tests {
    use mongodb::{
        bson::{deserialize_from_document, doc},
        error::{CommandError, WriteError},
    };

    use super::*;

    fn is_of_document(error: Failure) -> bool {
        matches!(RunLogError::from(error), RunLogError::Refused(Refusal::Record(_)))
    }

    fn is_of_call(error: Failure) -> bool {
        matches!(RunLogError::from(error), RunLogError::Refused(Refusal::Request(_)))
    }

    fn passes(error: Failure) -> bool {
        matches!(RunLogError::from(error), RunLogError::Unavailable(_))
    }

    fn failure(kind: ErrorKind) -> Failure {
        Failure::new("h", &Error::from(kind))
    }

    fn of_command(code: i32) -> Failure {
        let error: CommandError = deserialize_from_document(doc! { "code": code, "errmsg": "no" }).unwrap();
        failure(ErrorKind::Command(error))
    }

    fn of_replacement(code: i32) -> Failure {
        let error: WriteError = deserialize_from_document(doc! { "code": code, "errmsg": "no" }).unwrap();
        failure(ErrorKind::Write(WriteFailure::WriteError(error)))
    }

    fn of_insert(code: i32) -> Failure {
        Failure::of_write("h", code, "no".to_owned())
    }

    #[test]
    fn a_missing_permission_is_never_a_documents_own() {
        for code in [13, 18, 8_000] {
            assert!(is_of_call(of_command(code)), "{code}");
            assert!(is_of_call(of_insert(code)), "{code}, as a router says it");
            assert!(is_of_call(of_replacement(code)), "{code}");
        }
    }

    #[test]
    fn a_rule_and_a_limit_are_a_documents_own_when_they_are_said_of_it() {
        for code in [121, 10_334, 17_419] {
            assert!(is_of_document(of_insert(code)), "{code}");
            assert!(is_of_document(of_replacement(code)), "{code}");
            assert!(is_of_call(of_command(code)), "{code}");
        }
        assert!(is_of_document(Failure::refused("h", "it is no document".to_owned())));
    }

    #[test]
    fn an_election_and_a_full_disk_pass() {
        for code in [10_107, 14_031, 189] {
            for failure in [of_command(code), of_insert(code), of_replacement(code)] {
                assert!(passes(failure), "{code}");
            }
        }
        assert!(passes(Failure::silent("h", Duration::from_secs(1))));
    }
}
