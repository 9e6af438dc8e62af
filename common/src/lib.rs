//! What Quorate's processes share: the domain (pure: no async, no clock, no I/O), the ports (traits, with their
//! adapters behind the features `etcd`, `mongo` and `embedded`), the wire types, and how they are served (`serve`).

// A process must not panic because nobody reads what it says.
#![warn(clippy::print_stderr, clippy::print_stdout)]

pub mod api;
pub mod chance;
pub mod clock;
pub mod crontab;
pub mod epoch;
pub mod handles;
pub mod id;
mod instant;
pub mod job;
pub mod live;
pub mod lock;
pub mod placement;
pub mod queue;
pub mod resources;
pub mod revision;
pub mod room;
pub mod run;
pub mod runlog;
pub mod schedule;
#[cfg(feature = "serve")]
pub mod serve;
pub mod span;
#[cfg(feature = "embedded")]
mod sqlite;
pub mod store;
pub mod task;
pub mod tick;
pub mod vital;
pub mod worker;
