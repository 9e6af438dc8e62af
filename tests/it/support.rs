//! What the integration tests share.

pub(crate) mod link;
pub(crate) mod servers;
