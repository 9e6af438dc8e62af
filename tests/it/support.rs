//! What the integration tests start and watch.

pub(crate) mod browser;
pub(crate) mod dev;
pub(crate) mod wait;
