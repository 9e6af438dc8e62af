//! Who asks, and who may.

mod caller;
pub(crate) mod origin;

pub(crate) use caller::Caller;
