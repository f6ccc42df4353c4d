//! `proclens install --to DIR`: copies the library and the tool into a directory, for an init container
//! that has no shell and runs as any user.

use super::preload_file::LIBRARY;
use crate::inspect::regular;
use crate::output::failure::{Failure, Result};
use crate::output::style::GOOD;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Makes new files and directories readable for other users, who may run the programs that use them. An
/// unusual umask (077) would forbid it.
pub fn set_usual_umask() {
    // SAFETY: touches no memory.
    unsafe { libc::umask(0o022) };
}

/// Copies both files. Each is written beside its final name and renamed, so that a reader sees all of it or
/// nothing. A second call gives the same result.
pub fn copy_to(directory: &Path, library: &Path, out: &mut dyn Write) -> Result<()> {
    let own = std::env::current_exe()
        .map_err(|error| Failure::of_file(Path::new("/proc/self/exe"), &error))?;
    set_usual_umask();
    if !directory.is_dir() {
        fs::create_dir_all(directory).map_err(|error| Failure::of_file(directory, &error))?;
    }
    for (from, name) in [(library, LIBRARY), (own.as_path(), "proclens")] {
        let to = directory.join(name);
        let refused = |error: &std::io::Error| Failure::of_file(&to, error);
        let mut source = regular::open(from).map_err(|error| Failure::of_file(from, &error))?;
        let mut file = tempfile::Builder::new()
            .prefix(".proclens-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempfile_in(directory)
            .map_err(|error| refused(&error))?;
        std::io::copy(&mut source, &mut file).map_err(|error| refused(&error))?;
        // A default ACL of the directory must not take the permission to execute from other users.
        file.as_file()
            .set_permissions(fs::Permissions::from_mode(0o755))
            .map_err(|error| refused(&error))?;
        file.persist(&to).map_err(|error| refused(&error.error))?;
        writeln!(out, "{GOOD}copied{GOOD:#} {}", to.display())?;
    }
    Ok(())
}
