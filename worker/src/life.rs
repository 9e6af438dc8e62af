//! What tells a worker's lives apart on its own disk: the token in its children's environment and its lease. A
//! returning worker first kills what is left of its earlier life, then revokes its lease: in that order, or
//! another worker could start a run beside one that still executes.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// One life of a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Life {
    /// In the environment of every process it starts.
    pub token: String,
    /// Its lease, once it has one.
    pub lease: Option<i64>,
    /// The machine's boot: after another one there is nothing left to kill.
    pub boot: String,
}

/// Where lives are kept.
#[derive(Clone, Debug)]
pub struct LifeFile(PathBuf);

impl LifeFile {
    /// In the data directory.
    pub fn in_dir(dir: &Path) -> Self {
        Self(dir.join("life.json"))
    }

    /// The earlier life, if one was kept and can be read.
    pub fn read(&self) -> Option<Life> {
        serde_json::from_slice(&fs::read(&self.0).ok()?).ok()
    }

    /// Keeps this life, on disk before it returns.
    pub fn write(&self, life: &Life) -> io::Result<()> {
        let temporary = self.0.with_extension("new");
        fs::write(&temporary, serde_json::to_vec(life)?)?;
        fs::File::open(&temporary)?.sync_all()?;
        fs::rename(&temporary, &self.0)
    }
}

impl Life {
    /// A new one, in this boot of the machine.
    pub fn new(token: String) -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self { token, lease: None, boot: boot.trim().to_owned() }
    }
}
