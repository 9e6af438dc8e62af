//! From a claim to a record.

pub(crate) mod carry_out;
pub mod claimed;
pub(crate) mod drain;
pub mod live;
pub(crate) mod lost;
pub(crate) mod orphan;
pub(crate) mod record;
pub mod retry;
pub mod runner;
pub(crate) mod task;
pub(crate) mod trust;
