//! Quorate's promises, checked on a real cluster of separate processes while its parts are killed, stopped and frozen.
//!
//! A [`cluster`] runs jobs that write the [`truth`] about themselves to a file outside of the scheduler. The
//! [`checker`] compares it with what should have run and with the run log's [`records`]. A scenario in [`scenarios`]
//! says what is done to the cluster, and what of it may show.

pub mod api;
pub mod checker;
pub mod cluster;
pub mod growth;
pub mod mounts;
pub mod nemesis;
pub mod options;
pub mod plot;
pub mod records;
pub mod scenarios;
pub mod trial;
pub mod truth;
