//! Small file systems for what has to run out of room. They are mounted in a namespace of this process, so that none is
//! left behind, however it ends.

use std::{io, path::Path, sync::OnceLock};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

static OWN: OnceLock<bool> = OnceLock::new();

/// Takes a namespace of our own, which takes root. To be called before any thread is started: it is the caller's.
pub fn take_own() {
    let own = || -> nix::Result<()> {
        unshare(CloneFlags::CLONE_NEWNS)?;
        // What is mounted here is not to be seen elsewhere.
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
    };
    OWN.get_or_init(|| own().is_ok());
}

/// True where small file systems can be had.
pub fn can_be_had() -> bool {
    OWN.get().copied().unwrap_or_default()
}

/// A file system in memory with room for so many bytes.
pub(crate) fn small(at: &Path, bytes: u64) -> io::Result<()> {
    std::fs::create_dir_all(at)?;
    let size = format!("size={bytes}");
    mount(Some("quorate"), at, Some("tmpfs"), MsFlags::empty(), Some(size.as_str()))?;
    Ok(())
}

/// Takes it away, with all that is in it.
pub(crate) fn remove(at: &Path) {
    // It ends with this process anyway.
    umount2(at, MntFlags::MNT_DETACH).ok();
}
