//! The integration tests: each module holds one promise to users against real servers.

mod store_etcd;
mod support;
