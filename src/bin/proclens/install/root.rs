//! The root directory that is changed, and the files that are put into it.

use super::quoted;
use crate::failure::{Failure, Result};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use tempfile::NamedTempFile;

/// What the names of unfinished files begin with.
const PREFIX: &str = ".proclens-";

/// A root directory. Paths in it stay in it, whatever its symbolic links say.
pub struct Root {
    /// As it was named, for messages.
    pub path: PathBuf,
    /// The way to its files.
    reach: PathBuf,
    own: bool,
    /// Keeps the way open.
    _directory: File,
}

impl Root {
    /// The root directory `path`, which may be one that no path leads to: `/proc/PID/root` of a
    /// container says that it is `/`, and only the kernel knows whose.
    pub fn open(path: &Path) -> Result<Root> {
        let refused = |error: io::Error| Failure::of_file(path, &error);
        let directory = opened(path).map_err(refused)?;
        if !directory.metadata().map_err(refused)?.is_dir() {
            return Err(Failure::new(
                format_args!("{}: is no directory", path.display()),
                "give a root directory",
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
            // Without /proc there is no /proc/PID/root.
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

    /// The way to it.
    pub fn reach(&self) -> &Path {
        &self.reach
    }

    /// Where `path` of this root is; what does not exist yet is where it would be.
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
                // The root itself: absolute paths and links start there already.
                _ => {}
            }
        }
        Ok(real)
    }

    /// `path` of this root as seen from here.
    pub fn name(&self, path: impl AsRef<Path>) -> String {
        let inside = path.as_ref().strip_prefix("/").unwrap_or(path.as_ref());
        self.path.join(inside).display().to_string()
    }

    /// Removes what an install that was killed has left beside `path`.
    pub fn sweep(&self, path: &str) -> Result<()> {
        let path = self.resolve(Path::new(path))?;
        let directory = path.parent().unwrap_or(&self.reach);
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let ours = name.as_encoded_bytes().starts_with(PREFIX.as_bytes())
                && entry.file_type().is_ok_and(|kind| kind.is_file());
            // Locked: somebody is at work.
            let left = |path: &Path| File::open(path).is_ok_and(|file| file.try_lock().is_ok());
            if ours && left(&entry.path()) {
                // One that stays does no harm.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }

    /// An operation on `real`, which [`Root::resolve`] gave, that the system refused.
    pub fn refused(&self, real: &Path, error: &io::Error) -> Failure {
        let inside = real.strip_prefix(&self.reach).unwrap_or(real);
        Failure::of_file(&self.path.join(inside), error)
    }

    /// The option that names it.
    pub fn option(&self) -> String {
        if self.is_own() {
            String::new()
        } else {
            format!(" --root {}", quoted(&self.path.to_string_lossy()))
        }
    }
}

/// A directory that nothing is read from by itself.
fn opened(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)
}

/// What tells two root directories apart: in two mount namespaces other things may be mounted on
/// one directory.
fn identity(directory: &File) -> io::Result<(u64, u64, Option<String>)> {
    let known = directory.metadata()?;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", directory.as_raw_fd()));
    let info = info.unwrap_or_default();
    let mount = info.lines().find(|line| line.starts_with("mnt_id:"));
    Ok((known.dev(), known.ino(), mount.map(str::to_owned)))
}

/// A file that was put in its place, and is taken away again unless it is kept: what was there
/// before comes back.
pub struct Placed {
    path: PathBuf,
    before: Option<NamedTempFile>,
    kept: bool,
}

impl Placed {
    /// Writes the file beside its place and moves it there: nobody ever sees half of it.
    pub fn put(root: &Root, path: &Path, bytes: &[u8]) -> Result<Placed> {
        let path = root.resolve(path)?;
        let directory = path.parent().unwrap_or(&root.reach);
        let refused = |error: io::Error| root.refused(&path, &error);
        let write = |bytes: &[u8]| -> io::Result<NamedTempFile> {
            let mut file = NamedTempFile::with_prefix_in(PREFIX, directory)?;
            // Where there are no locks nobody can see that it is in use, as before.
            let _ = file.as_file().try_lock();
            file.write_all(bytes)?;
            file.as_file()
                .set_permissions(fs::Permissions::from_mode(0o644))?;
            file.as_file().sync_all()?;
            Ok(file)
        };
        let before = match fs::read(&path) {
            Ok(old) => Some(write(&old).map_err(refused)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(refused(error)),
        };
        let new = write(bytes).map_err(refused)?;
        new.persist(&path).map_err(|error| refused(error.error))?;
        Ok(Placed {
            path,
            before,
            kept: false,
        })
    }

    /// Leaves it there.
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
    fn what_is_not_kept_is_taken_back() {
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
