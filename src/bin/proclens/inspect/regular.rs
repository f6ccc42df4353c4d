//! Reads regular files at paths that a user or another root directory names. What is at such a path is not
//! trusted: a FIFO would block its reader, a device may have no end, and a file can be too large.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The most bytes of a text such as `/etc/ld.so.preload`.
pub const LONGEST_TEXT: u64 = 64 << 10;
/// The most bytes of a library.
pub const LARGEST_LIBRARY: u64 = 64 << 20;

/// Opens the regular file `path`. The open never blocks.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    let file = options
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("is not a regular file")),
    }
}

/// The content of `file`, which came from [`open`], of at most `most` bytes.
pub fn content(file: &File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more shows that the file is larger. Its size may change meanwhile.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > most {
        true => Err(io::Error::other(format!("has more than {most} bytes"))),
        false => Ok(bytes),
    }
}

/// The content of the regular file `path`, of at most `most` bytes.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    content(&open(path)?, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_of_a_sane_size() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        let refused = |path: &Path| read(path, 4).unwrap_err().to_string();
        assert_eq!(refused(&path), "has more than 4 bytes");
        assert_eq!(refused(directory.path()), "is not a regular file");
        assert_eq!(refused(Path::new("/dev/zero")), "is not a regular file");
    }
}
