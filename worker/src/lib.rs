//! Quorate's worker: what runs jobs.

pub mod driver;
pub mod guard;
pub mod output;
