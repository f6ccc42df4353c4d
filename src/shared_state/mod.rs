//! The state that the processes of one container share: load averages and CPU-time accounting, in
//! one small file ([`record`]). The file is in the first usable directory of `/dev/shm`, `/run` and
//! `/tmp`, or in the one that `PROCLENS_STATE` names.
//!
//! Any user can create names in these directories and open a file that others may read. So:
//!
//! - A reader uses only a regular file of root, of the reader's own user, or of the user of the
//!   container's PID 1. It skips everything else and looks in the next directory. It reads the file
//!   and never maps it: truncating a mapped file would send SIGBUS to each reader.
//! - A writer also requires that the file has one name, or that it contains this container's records: a
//!   second name could belong to a file that only looks like the state. A writer replaces a file that
//!   it may remove (root may remove any file). Otherwise it creates a file in the next directory.
//! - No process waits for a lock. A read lock, which any reader of the file can take, does not stop a
//!   writer ([`try_lock_write`](crate::sys::process::try_lock_write)).
//!
//! If the file cannot be used, a process uses only its own data: averages extrapolated from CPU time,
//! and CPU-time accounting of its own.
//!
//! A user who may only read the file keeps the accounting that its processes reported in a file of its own, so that
//! their numbers do not step back from one process to the next.
//!
//! The files of containers that have ended are removed ([`Store::remove_stale`]) by a process that
//! creates a state file, and once a minute by the sampler.
//!
//! - `store`: the container's identity, and the directories of the file.
//! - `file`: finds, trusts, creates and locks the file.
//! - `stale`: removes the files of ended containers.
//! - [`record`]: the layout, and the checks of its content.
//! - `sampled`: the sampler's load averages and threads.
//! - `accounting`: the CPU-time accounting; [`process_accounting`]: that of one process.

mod accounting;
mod file;
pub mod process_accounting;
pub mod record;
mod sampled;
mod stale;
mod store;

pub use accounting::REPEAT_US;
pub use sampled::{FoundLoad, LOST_AFTER_US, Publisher};
pub use store::{DIRECTORIES, Store, identify};
