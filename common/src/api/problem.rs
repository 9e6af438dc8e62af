//! A problem document (RFC 9457) with the fields that are wrong.

use serde::{Deserialize, Serialize};

use crate::job::FieldError;

/// `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What kind of problem: a stable word, such as `invalid-job` or `not-found`.
    #[serde(rename = "type")]
    pub kind: String,
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
