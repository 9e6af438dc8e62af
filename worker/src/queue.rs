//! What is wanted beside the schedule: runs that people, retries, catch-ups and boots ask for, and kills.

pub(crate) mod freed;
pub(crate) mod hear;
pub(crate) mod kills;
pub(crate) mod line;
pub(crate) mod take;
