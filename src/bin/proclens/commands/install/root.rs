//! The root directory that install changes, and the files that it writes there.

use super::preload_file::quoted;
use crate::inspect::regular::{self, LARGEST_LIBRARY};
use crate::output::failure::{Failure, Result};
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Component, Path, PathBuf};
use tempfile::NamedTempFile;

/// Prefix of the names of unfinished files.
const PREFIX: &str = ".proclens-";

/// A root directory. No path in it leads out of it, whatever symbolic links it contains.
pub struct Root {
    /// Its name on the command line, for messages.
    pub path: PathBuf,
    /// A path that leads to its files.
    reach: PathBuf,
    own: bool,
    /// Keeps that path valid.
    _directory: File,
}

impl Root {
    /// Opens the root directory `path`. No ordinary path may lead to it: the link `/proc/PID/root` of a
    /// container reads `/`, and only the kernel knows which root that is.
    pub fn open(path: &Path) -> Result<Root> {
        let refused = |error: io::Error| Failure::of_file(path, &error);
        let directory = opened(path).map_err(refused)?;
        if !directory.metadata().map_err(refused)?.is_dir() {
            return Err(Failure::new(
                format_args!("{}: is not a directory", path.display()),
                "name a root directory",
            ));
        }
        let own = identity(&directory).map_err(refused)?
            == opened(Path::new("/"))
                .and_then(|own| identity(&own))
                .map_err(refused)?;
        let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
        let reach = if own {
            PathBuf::from("/")
        } else if by_descriptor.exists() {
            by_descriptor
        } else {
            // Without a mounted /proc there is no /proc/PID/root.
            path.canonicalize().map_err(refused)?
        };
        let path = if own {
            PathBuf::from("/")
        } else {
            std::path::absolute(path).map_err(refused)?
        };
        Ok(Root {
            path,
            reach,
            own,
            _directory: directory,
        })
    }

    /// True if it is the root directory of this process.
    pub fn is_own(&self) -> bool {
        self.own
    }

    /// The path that leads to its files.
    pub fn reach(&self) -> &Path {
        &self.reach
    }

    /// Resolves `path` in this root. If it does not exist yet, returns where it would be created.
    pub fn resolve(&self, path: &Path) -> Result<PathBuf> {
        let mut left: Vec<_> = path
            .components()
            .rev()
            .map(|c| c.as_os_str().to_owned())
            .collect();
        let mut real = self.reach.clone();
        let mut links = 0;
        while let Some(name) = left.pop() {
            match Path::new(&name).components().next() {
                Some(Component::Normal(name)) => {
                    let next = real.join(name);
                    let Ok(target) = fs::read_link(&next) else {
                        real = next;
                        continue;
                    };
                    links += 1;
                    if links > 40 {
                        return Err(Failure::new(
                            format_args!("{}: too many symbolic links", self.name(path)),
                            "mend the links",
                        ));
                    }
                    if target.is_absolute() {
                        real.clone_from(&self.reach);
                    }
                    left.extend(target.components().rev().map(|c| c.as_os_str().to_owned()));
                }
                Some(Component::ParentDir) if real != self.reach => {
                    real.pop();
                }
                // The root itself: absolute paths and symbolic links already start there.
                _ => {}
            }
        }
        Ok(real)
    }

    /// `path` in this root, as this process names it.
    pub fn name(&self, path: impl AsRef<Path>) -> String {
        let inside = path.as_ref().strip_prefix("/").unwrap_or(path.as_ref());
        self.path.join(inside).display().to_string()
    }

    /// Removes the unfinished files that a killed install left beside `path`.
    pub fn sweep(&self, path: &str) -> Result<()> {
        let path = self.resolve(Path::new(path))?;
        let directory = path.parent().unwrap_or(&self.reach);
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let ours = name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
                && entry.file_type().is_ok_and(|kind| kind.is_file());
            // A locked file belongs to an install that still runs.
            let left = |path: &Path| regular::open(path).is_ok_and(|file| file.try_lock().is_ok());
            if ours && left(&entry.path()) {
                // An unfinished file that stays does no harm.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }

    /// An error for an operation on `real`, which came from [`Root::resolve`].
    pub fn refused(&self, real: &Path, error: &io::Error) -> Failure {
        let inside = real.strip_prefix(&self.reach).unwrap_or(real);
        Failure::of_file(&self.path.join(inside), error)
    }

    /// The command line option that names this root.
    pub fn option(&self) -> String {
        if self.is_own() {
            String::new()
        } else {
            format!(" --root {}", quoted(&self.path.to_string_lossy()))
        }
    }
}

/// Opens a directory without reading it.
fn opened(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)
}

/// Distinguishes two root directories. In two mount namespaces, the same directory may have different
/// mounts.
fn identity(directory: &File) -> io::Result<(u64, u64, Option<String>)> {
    let known = directory.metadata()?;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", directory.as_raw_fd()));
    let info = info.unwrap_or_default();
    let mount = info.lines().find(|line| line.starts_with("mnt_id:"));
    Ok((known.dev(), known.ino(), mount.map(str::to_owned)))
}

/// A file that was written to its place. Unless [`Placed::keep`] is called, it is removed again and the
/// earlier file is restored.
pub struct Placed {
    path: PathBuf,
    before: Option<NamedTempFile>,
    kept: bool,
}

impl Placed {
    /// Writes the library beside its place and renames it, so that no reader ever sees a part of it. It belongs
    /// to the user of this process. Every user may execute it, because the sampler is an exec of the library.
    pub fn put(root: &Root, path: &Path, bytes: &[u8]) -> Result<Placed> {
        Placed::write(root, path, bytes, 0o755, false)
    }

    /// As [`Placed::put`], for a text of the administrator: a file that exists keeps its owner and its mode.
    pub fn edit(root: &Root, path: &Path, bytes: &[u8]) -> Result<Placed> {
        Placed::write(root, path, bytes, 0o644, true)
    }

    /// `mode` is that of a file that does not keep its own.
    fn write(root: &Root, path: &Path, bytes: &[u8], mode: u32, keeps: bool) -> Result<Placed> {
        let path = root.resolve(path)?;
        let directory = path.parent().unwrap_or(&root.reach);
        let refused = |error: io::Error| root.refused(&path, &error);
        let write = |bytes: &[u8], like: Option<&Metadata>| -> io::Result<NamedTempFile> {
            let mut file = NamedTempFile::with_prefix_in(PREFIX, directory)?;
            // On a file system without locks, another install cannot see that the file is in use.
            let _ = file.as_file().try_lock();
            file.write_all(bytes)?;
            if let Some(like) = like {
                // Who may not give files away keeps the file, as with `sed -i`.
                let _ = fchown(file.as_file(), Some(like.uid()), Some(like.gid()));
            }
            let mode = like.map_or(mode, |like| like.mode() & 0o7777);
            file.as_file()
                .set_permissions(fs::Permissions::from_mode(mode))?;
            file.as_file().sync_all()?;
            Ok(file)
        };
        let old = match regular::open(&path) {
            Ok(old) => Some(old),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(refused(error)),
        };
        let status = old.as_ref().map(File::metadata);
        let status = status.transpose().map_err(refused)?;
        let copy = |old| write(&regular::content(old, LARGEST_LIBRARY)?, status.as_ref());
        let before = old.as_ref().map(copy).transpose().map_err(refused)?;
        let new = write(bytes, status.as_ref().filter(|_| keeps)).map_err(refused)?;
        new.persist(&path).map_err(|error| refused(error.error))?;
        Ok(Placed {
            path,
            before,
            kept: false,
        })
    }

    /// Makes the change permanent.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        match self.before.take() {
            Some(before) => drop(before.persist(&self.path)),
            None => drop(fs::remove_file(&self.path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_do_not_lead_out_of_the_root() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        fs::create_dir_all(root.reach.join("usr/lib")).unwrap();
        std::os::unix::fs::symlink("/usr/lib", root.reach.join("lib")).unwrap();
        std::os::unix::fs::symlink("../../../../etc", root.reach.join("usr/out")).unwrap();
        std::os::unix::fs::symlink("loop", root.reach.join("loop")).unwrap();
        let at = |path: &str| {
            root.resolve(Path::new(path))
                .map(|real| real.strip_prefix(&root.reach).unwrap().to_owned())
        };
        assert_eq!(at("/lib/x.so").unwrap(), Path::new("usr/lib/x.so"));
        assert_eq!(at("/usr/out/passwd").unwrap(), Path::new("etc/passwd"));
        assert_eq!(at("/../../x").unwrap(), Path::new("x"));
        assert!(at("/loop").is_err());
    }

    #[test]
    fn files_of_a_failed_install_are_restored() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        let (old, new) = (Path::new("/old"), Path::new("/new"));
        fs::write(root.reach.join("old"), "before").unwrap();
        drop(Placed::put(&root, old, b"after").unwrap());
        drop(Placed::put(&root, new, b"after").unwrap());
        assert_eq!(fs::read(root.reach.join("old")).unwrap(), b"before");
        assert_eq!(fs::read_dir(&root.reach).unwrap().count(), 1);
        Placed::put(&root, old, b"after").unwrap().keep();
        assert_eq!(fs::read(root.reach.join("old")).unwrap(), b"after");
        assert_eq!(fs::read_dir(&root.reach).unwrap().count(), 1);
    }
}
