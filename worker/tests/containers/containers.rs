//! Containers, on Docker's engine and on podman's.

mod away;
pub(crate) mod life;
mod run;
mod stop;
mod support;
