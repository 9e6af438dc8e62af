//! Quorate's domain, ports and wire types.

pub mod schedule;
