//! `/proc/pressure/{cpu,memory,io}` (`kernel/sched/psi.c`): the cgroup's own file, which has the
//! same form.
#![forbid(unsafe_code)]

use crate::text::Out;

/// `/proc/pressure/*` of a container whose `*.pressure` is `own`.
pub fn render(own: &[u8], out: &mut Out<'_>) {
    out.bytes(own);
}
