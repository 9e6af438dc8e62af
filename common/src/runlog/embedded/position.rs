//! A place between two records of a listing, as it goes out in a page and comes back in a query.

use std::{fmt, str::FromStr};

use crate::{id::RunId, runlog::RunLogError};

/// Behind the record with this planned time and id: `1795309323000.<run>/<attempt>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// Milliseconds since 1970.
    pub(super) plan_time: i64,
    /// The record's id.
    pub(super) id: String,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.plan_time, self.id)
    }
}

impl FromStr for Position {
    type Err = RunLogError;

    fn from_str(text: &str) -> Result<Self, RunLogError> {
        let read = || {
            let (plan_time, id) = text.split_once('.')?;
            let (run, attempt) = id.split_once('/')?;
            run.parse::<RunId>().ok()?;
            attempt.parse::<u32>().ok()?;
            Some(Self { plan_time: plan_time.parse().ok()?, id: id.to_owned() })
        };
        read().ok_or_else(|| RunLogError::BadPosition(text.chars().take(100).collect()))
    }
}
