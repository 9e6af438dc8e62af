//! The manager through its router, on the embedded store and run log.

mod away;
mod bad_input;
mod clock_ahead;
mod gdts;
mod guard;
mod jobs;
mod lost_answers;
mod page;
mod preconditions;
mod restore;
mod runs;
mod serving;
mod support;
mod tasks;
mod ticks;
mod workers;
