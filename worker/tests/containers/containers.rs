//! Containers, on Docker's engine and on podman's.

mod run;
mod support;
