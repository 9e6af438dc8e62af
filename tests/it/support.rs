//! What the integration tests start, share and wait for.

pub(crate) mod browser;
pub(crate) mod dev;
pub(crate) mod link;
pub(crate) mod servers;
pub(crate) mod wait;
