//! What the run log will never take: a file beside the segments, one JSON object per line, for a person to look at.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;

/// With so much in it, it gets no more.
const LIMIT_BYTES: u64 = 256 << 20;

/// The file, for one who appends at a time: at the end of a worker there are two who ship.
pub(super) struct Refused(Mutex<PathBuf>);

impl Refused {
    /// In the spool's directory.
    pub(super) fn in_dir(dir: &Path) -> Self {
        Self(Mutex::new(dir.join("refused")))
    }

    /// Appends lines; on disk when it returns. None: the file has no more room.
    pub(super) fn append(&self, lines: &[u8]) -> io::Result<Option<PathBuf>> {
        let path = self.0.lock();
        let mut file = fs::OpenOptions::new().read(true).append(true).create(true).open(&*path)?;
        let length = file.metadata()?.len();
        if length >= LIMIT_BYTES {
            return Ok(None);
        }
        if let Err(error) = end_last_line(&file, length).and_then(|end| write(&mut file, end, lines)) {
            // What is there of it would be taken for a record.
            let _ = file.set_len(length);
            return Err(error);
        }
        if let Some(dir) = path.parent() {
            fs::File::open(dir)?.sync_all()?;
        }
        Ok(Some(path.clone()))
    }
}

/// What has to come before the next line: a worker that died while it appended left a line without its end.
fn end_last_line(file: &fs::File, length: u64) -> io::Result<&'static [u8]> {
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    let end: &[u8] = if last == [b'\n'] { b"" } else { b"\n" };
    Ok(end)
}

fn write(file: &mut fs::File, end: &[u8], lines: &[u8]) -> io::Result<()> {
    file.write_all(end)?;
    file.write_all(lines)?;
    file.sync_all()
}
