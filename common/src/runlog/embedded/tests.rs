//! The conformance suite on both kinds of log, and what is this adapter's own.

use tempfile::TempDir;

use super::*;

mod in_memory {
    use super::*;

    async fn log() -> Arc<dyn RunLog> {
        Arc::new(EmbeddedRunLog::in_memory().unwrap())
    }
    crate::runlog_conformance!(log);
}

mod on_disk {
    use super::*;

    async fn log() -> Arc<dyn RunLog> {
        // Kept until the process ends: the log opens further files as it goes.
        let directory = TempDir::new().unwrap().keep();
        Arc::new(EmbeddedRunLog::open(&directory.join("runs.db")).unwrap())
    }
    crate::runlog_conformance!(log);
}
