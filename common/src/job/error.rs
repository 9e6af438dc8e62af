//! What is wrong with a job, field by field.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Stands between what is wrong and what would be right, here and in the errors of names, durations and sizes.
pub(super) const FOR_EXAMPLE: &str = "; use, for example, ";

/// So many characters of a field's path, and of what was given, are told.
const SHOWN: usize = 200;

/// The same of what is wrong: it may name all fields that there are.
const LONGEST_PROBLEM: usize = 1000;

/// One field's problem, with what was given and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// The field's path: `trigger.cron[0]`, `driver.shell.command`; cut at 200 characters.
    pub field: String,
    /// What was given, cut at 200 characters.
    pub got: String,
    /// What is wrong with it.
    pub problem: String,
    /// What would be right.
    pub example: String,
}

impl FieldError {
    /// A problem of one field.
    pub fn new(
        field: impl Into<String>,
        got: impl fmt::Display,
        problem: impl Into<String>,
        example: impl Into<String>,
    ) -> Self {
        let cut = |text: String, most: usize| match text.char_indices().nth(most) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        };
        Self {
            field: cut(field.into(), SHOWN),
            got: cut(got.to_string(), SHOWN),
            problem: cut(problem.into(), LONGEST_PROBLEM),
            example: example.into(),
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        if !self.got.is_empty() {
            write!(f, "{:?} ", self.got)?;
        }
        f.write_str(&self.problem)?;
        if !self.example.is_empty() {
            write!(f, "{FOR_EXAMPLE}{}", self.example)?;
        }
        Ok(())
    }
}

/// More problems than this are not told at once: a request of a megabyte must not get an answer of many.
pub const MOST_PROBLEMS: usize = 50;

/// All problems of one job, or the first of them. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct JobError {
    /// In the order of the job's fields.
    pub errors: Vec<FieldError>,
}

impl From<FieldError> for JobError {
    fn from(error: FieldError) -> Self {
        Self { errors: vec![error] }
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.errors.iter().enumerate() {
            if n > 0 {
                f.write_str("; and ")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}
