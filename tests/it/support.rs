//! What the integration tests start, share and wait for; what other tests share too is in `test-support`.

pub(crate) mod dev;
pub(crate) use test_support::{browser, link, peers, servers, wait};
