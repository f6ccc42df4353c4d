//! Reads block I/O counters (NUMBERS section 7).
#![forbid(unsafe_code)]

use crate::cgroup::container::Container;
use crate::cgroup::locate::{ContainerCgroups, Controller};
use crate::cgroup::{Version, v1, v2};
use crate::error::{ErrorKind, Failure};
use crate::mem::Arena;
use crate::values::BlockIo;

/// The container's block I/O. Counts of operations are read only if `operations` is true.
pub fn block_io<'m, C: Container>(
    container: &C,
    cgroups: &ContainerCgroups,
    operations: bool,
    arena: &mut Arena<'m>,
) -> Result<BlockIo<'m>, Failure> {
    let dir = cgroups.dir(Controller::Blkio)?;
    let io = match dir.version {
        Version::V1 => v1::block_io(container, dir, cgroups, operations, arena),
        Version::V2 => v2::block_io(container, dir, arena),
    };
    io.map_err(|e| (ErrorKind::Unreadable, e))
}
