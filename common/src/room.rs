//! How much room a directory's file system has left. A nearly full one is reported before a write fails: what comes
//! next, a run's record or a page of a database, might not fit any more.

use std::path::Path;

use nix::sys::statvfs::statvfs;

/// Less is as good as nothing: one run's record may take this much.
const LEAST: u64 = 1 << 20;

/// Why no more should be begun that is to be written to this directory; none: it has room, or does not tell.
pub fn lack_of(dir: &Path) -> Option<String> {
    let stat = statvfs(dir).ok()?;
    let (blocks, files) = if nix::unistd::geteuid().is_root() {
        (stat.blocks_free(), stat.files_free())
    } else {
        (stat.blocks_available(), stat.files_available())
    };
    // A file system without a limit on files says 0 of 0.
    if stat.files() > 0 && files == 0 {
        return Some(format!("the file system of {} has no room for another file", dir.display()));
    }
    let free = blocks.saturating_mul(stat.fragment_size());
    // One that says nothing of its size has no limit of its own.
    (stat.blocks() > 0 && free < LEAST).then(|| {
        format!("the file system of {} has {} KiB left, and 1024 are needed", dir.display(), free >> 10)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_a_size_has_no_limit() {
        assert_eq!(lack_of(Path::new("/proc")), None);
        assert_eq!(lack_of(Path::new("/proc/is/not/there")), None);
    }
}
