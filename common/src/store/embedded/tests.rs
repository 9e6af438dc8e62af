//! The conformance suite on both kinds of store, and what is this adapter's own.

use std::sync::atomic::{AtomicU32, Ordering};

use futures::StreamExt as _;
use tempfile::TempDir;

use super::*;
use crate::store::{Compare, Event, Op, OpOutcome, conformance::restarts, key::Keys, list_all};

fn keys() -> Keys {
    Keys::new("/quorate/").unwrap()
}

mod in_memory {
    use super::*;

    async fn store() -> (Arc<dyn Store>, Keys) {
        (Arc::new(EmbeddedStore::in_memory()), keys())
    }
    crate::store_conformance!(store);
}

mod on_disk {
    use super::*;

    async fn store() -> (Arc<dyn Store>, Keys) {
        let directory = TempDir::new().unwrap();
        // The file lives on, unlinked, as long as the store has it open.
        (Arc::new(EmbeddedStore::open(&directory.path().join("store.db")).unwrap()), keys())
    }
    crate::store_conformance!(store);
}
