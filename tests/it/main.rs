//! The integration tests: one binary, one module a promise to users.

mod deploy;
mod support;
mod ui;
