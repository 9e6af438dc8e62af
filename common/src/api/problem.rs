//! A problem document (RFC 9457) with the fields that are wrong.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::job::FieldError;

/// `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What kind of problem: by this, and by nothing else, clients decide.
    #[serde(rename = "type")]
    pub kind: ProblemKind,
    /// The kind, for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// This case of it, with what to do.
    pub detail: String,
    /// Field by field, if fields are wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $name:literal, $status:literal, $title:literal;)+) => {
        /// What kind of problem. The words are stable; clients know them, and take one that they do not know for a refusal.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum ProblemKind {
            $($(#[doc = $doc])+ $kind,)+
            /// A kind of a later release.
            Other(String),
        }

        impl ProblemKind {
            /// All that this release knows.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// The word on the wire.
            pub fn name(&self) -> &str {
                match self {
                    $(Self::$kind => $name,)+
                    Self::Other(name) => name,
                }
            }

            /// The HTTP status that goes with it.
            pub const fn status(&self) -> u16 {
                match self {
                    $(Self::$kind => $status,)+
                    Self::Other(_) => 500,
                }
            }

            /// In words, for people.
            pub fn title(&self) -> &str {
                match self {
                    $(Self::$kind => $title,)+
                    Self::Other(name) => name,
                }
            }
        }

        impl From<String> for ProblemKind {
            fn from(name: String) -> Self {
                match name.as_str() {
                    $($name => Self::$kind,)+
                    _ => Self::Other(name),
                }
            }
        }
    };
}

kinds! {
    /// The request cannot be understood: malformed JSON, a wrong parameter.
    BadRequest = "bad-request", 400, "The request cannot be understood";
    /// Another site's page sent it.
    CrossSite = "cross-site", 403, "Another site's page sent this";
    /// No such job, run or path.
    NotFound = "not-found", 404, "There is no such thing";
    /// The path has no such method.
    MethodNotAllowed = "method-not-allowed", 405, "The path has no such method";
    /// There is a job of this name.
    JobExists = "job-exists", 409, "The job exists";
    /// What is stored under the job's name is not a job.
    BrokenJob = "broken-job", 409, "The stored job does not decode";
    /// The run has ended already.
    RunEnded = "run-ended", 409, "The run has ended";
    /// Another run has the id that was chosen for a task.
    RunExists = "run-exists", 409, "The run exists";
    /// The job's lock is held, in a form of a later release.
    UnknownLock = "unknown-lock", 409, "The job's lock is not understood";
    /// A run holds the job's lock.
    LockHeld = "lock-held", 409, "The job's lock is held";
    /// What is stored as the job's lock is not one.
    BrokenLock = "broken-lock", 409, "The stored lock does not decode";
    /// The job is at another revision than the client takes.
    Changed = "changed", 412, "The job has changed";
    /// There is a job, and the client takes none.
    Exists = "exists", 412, "The job exists";
    /// The body is too large.
    TooLarge = "too-large", 413, "The body is too large";
    /// The body is not said to be JSON.
    ContentType = "content-type", 415, "The body is not JSON";
    /// The server does not answer for this host.
    WrongHost = "wrong-host", 421, "Not a host of this server";
    /// The job or task is not valid, field by field.
    InvalidJob = "invalid-job", 422, "The job or task is not valid";
    /// A mistake in Quorate.
    Internal = "internal", 500, "Something failed here";
    /// The store refused the request for good.
    StoreRefused = "store-refused", 500, "The store refused the request";
    /// The run log refused the request for good.
    RunLogRefused = "run-log-refused", 500, "The run log refused the request";
    /// The store is away: nothing was done.
    StoreUnavailable = "store-unavailable", 503, "The store cannot be reached";
    /// The run log is away.
    RunLogUnavailable = "run-log-unavailable", 503, "The run log cannot be reached";
    /// The worker that knows is away.
    WorkerUnavailable = "worker-unavailable", 503, "The run's worker cannot be reached";
    /// Others keep writing: nothing was done.
    Contended = "contended", 503, "Others keep changing the job";
    /// There is no room for a large request or answer.
    Busy = "busy", 503, "There is no room for it now";
    /// It may have been done.
    InDoubt = "in-doubt", 503, "It may have been done";
    /// The same: it took too long.
    TooSlow = "too-slow", 503, "The request took too long";
    /// The manager's clock is ahead of the workers'.
    ClockAhead = "clock-ahead", 503, "This manager's clock is in the future";
    /// The manager's clock is behind the workers'.
    ClockBehind = "clock-behind", 503, "This manager's clock is in the past";
    /// The store takes no writes.
    StoreFull = "store-full", 507, "The store is full";
}

impl ProblemKind {
    /// True: what was sent is wrong, and would be again.
    pub const fn is_bad_input(&self) -> bool {
        matches!(self, Self::BadRequest | Self::TooLarge | Self::ContentType | Self::InvalidJob)
    }

    /// True: the job is not at a revision that the client takes.
    pub const fn is_precondition(&self) -> bool {
        matches!(self, Self::Changed | Self::Exists)
    }

    /// True: nobody knows whether what was asked for is done.
    pub const fn is_in_doubt(&self) -> bool {
        matches!(self, Self::InDoubt | Self::TooSlow)
    }
}

impl From<ProblemKind> for String {
    fn from(kind: ProblemKind) -> Self {
        match kind {
            ProblemKind::Other(name) => name,
            known => known.name().to_owned(),
        }
    }
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_its_word_and_one_of_a_later_release_is_kept() {
        for kind in ProblemKind::ALL {
            let text = serde_json::to_string(kind).unwrap();
            assert_eq!(text, format!("{:?}", kind.name()));
            assert_eq!(serde_json::from_str::<ProblemKind>(&text).unwrap(), *kind);
        }
        let later = r#"{"type":"forbidden","title":"No","status":403,"detail":"You may not."}"#;
        let problem: Problem = serde_json::from_str(later).unwrap();
        assert_eq!(problem.kind, ProblemKind::Other("forbidden".to_owned()));
        assert_eq!(serde_json::to_string(&problem).unwrap(), later);
    }

    #[test]
    fn every_kind_stands_with_its_status_in_the_documents() {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md")).unwrap();
        for kind in ProblemKind::ALL {
            let row = format!("| {} |", kind.status());
            let named = format!("`{kind}`");
            let is_told = text.lines().any(|line| line.starts_with(&row) && line.contains(&named));
            assert!(is_told, "{} {kind} is not in the table of docs/api.md", kind.status());
        }
    }
}
