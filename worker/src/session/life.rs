//! Tells a worker's lives apart, on its own disk: by its lease, and by the token in its children's environment. A
//! returning worker first kills what is left of its earlier life, and then revokes that life's lease: the other way
//! round, another worker could start a run beside one that still executes.
//!
//! A copied data directory tells of a life that may go on elsewhere: nothing of that is killed, and its lease is not
//! revoked. The copy waits for its id until that lease has ended.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
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
    /// The data directory itself, which a copy of it is not. Empty where it is not known.
    #[serde(default)]
    pub place: String,
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
    pub fn new(token: String, dir: &Path) -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let place = fs::metadata(dir).map(|dir| format!("{}:{}", dir.dev(), dir.ino())).unwrap_or_default();
        Self { token, lease: None, boot: boot.trim().to_owned(), place }
    }

    /// True when this life is over for certain, `now` being a life that holds its data directory: it was lived in the
    /// same one, which only one process can hold, on this machine.
    pub fn is_over(&self, now: &Self) -> bool {
        self.boot == now.boot && (self.place.is_empty() || self.place == now.place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Once: a worker on a copy of another's data directory took the copied life for its own earlier one, killed
    // that one's runs and revoked its lease.
    #[test]
    fn a_life_is_over_that_was_lived_in_the_same_directory_and_not_one_that_was_copied() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let earlier = Life::new("a".into(), here.path());
        LifeFile::in_dir(here.path()).write(&earlier).unwrap();
        fs::copy(here.path().join("life.json"), there.path().join("life.json")).unwrap();
        let read = |dir: &Path| LifeFile::in_dir(dir).read().unwrap();
        assert!(read(here.path()).is_over(&Life::new("b".into(), here.path())));
        assert!(!read(there.path()).is_over(&Life::new("b".into(), there.path())));
        let elsewhere = Life { boot: "another".into(), ..read(here.path()) };
        assert!(!elsewhere.is_over(&Life::new("b".into(), here.path())));
        let of_old = Life { place: String::new(), ..read(here.path()) };
        assert!(of_old.is_over(&Life::new("b".into(), here.path())));
    }
}
