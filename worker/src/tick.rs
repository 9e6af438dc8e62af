//! The way of a tick, from its instant to a verdict.

pub(crate) mod decide;
pub(crate) mod lead;
pub(crate) mod marks;
pub mod misfire;
pub(crate) mod scheduler;
pub mod verdict;
mod why;
