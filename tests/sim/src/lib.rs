//! Quorate in virtual time: the real code of [`worker`] and [`manager`], on the embedded store, with clocks, networks, disks
//! and programs that a seed breaks. Hours pass in seconds, and the same seed plays the same.
//!
//! Time stands still while anything is to be done, and jumps to the next timer when nothing is (tokio's paused clock
//! on one thread). What goes from one process to another goes over the [`network`], which lets it in in an order that
//! depends on nothing else. A [`node`] is a machine; an [`editor`] asks managers
//! for changes through their [`door`]; [`plan`] says what is broken when; the [`ledger`] hears
//! from the [`driver`] what really ran and from the [`runlog`] what is on record, and judges each tick.

pub mod clock;
pub mod door;
pub mod driver;
pub mod editor;
pub mod ledger;
pub mod link;
pub mod load;
pub mod network;
pub mod node;
pub mod plan;
pub mod report;
pub mod runlog;
pub mod wire;
pub mod world;
