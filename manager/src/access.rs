//! Who asks, and who may.

mod caller;
pub(crate) mod origin;
mod role;

pub(crate) use caller::Caller;
pub use role::Role;
