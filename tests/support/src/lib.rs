//! What tests of whole processes share: real servers on free ports, a browser, links that break, waits with deadlines.
//!
//! It panics where a test should fail. Nothing that it starts outlives the process that started it.

pub mod browser;
pub mod link;
pub mod peers;
pub mod servers;
pub mod wait;
