//! Renders the content of a virtual file in the library's own memory.
#![forbid(unsafe_code)]

use crate::error::{ErrorKind, Failure};
use crate::procfs::content;
use crate::procfs::files::{MachineFile, VirtualFile};
use crate::runtime::live::{self, Live};
use crate::settings::Settings;
use crate::sys::signals::Blocked;
use crate::sys::{self, Errno};
use core::ffi::c_int;

/// Renders the content of `virtual_file` and passes it to `take`. `kernel_file` is a descriptor of the
/// kernel's own file; its offset does not change. `signals` stay blocked during the call.
pub fn with_content<T>(
    virtual_file: VirtualFile,
    kernel_file: c_int,
    settings: &Settings,
    signals: &Blocked,
    take: &dyn Fn(&[u8]) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let unreadable = |e| (ErrorKind::Unreadable, e);
    let live = Live {
        signals_are_blocked: signals.are_blocked(),
    };
    live::ask(live, |live, mut arena| match virtual_file {
        VirtualFile::Machine(file) => {
            let own = if file.needs_host() {
                arena
                    .read_into(|buffer| read(file, kernel_file, buffer))
                    .map_err(unreadable)?
            } else {
                b""
            };
            take(content::file(live, file, own, settings, arena)?)
        }
        VirtualFile::Node(file, node) => {
            let own = arena
                .read_into(|buffer| sys::read_whole(kernel_file, buffer))
                .map_err(unreadable)?;
            take(content::node_file(live, file, node, own, settings, arena)?)
        }
        VirtualFile::Device(file) => {
            let own = arena
                .read_into(|buffer| sys::read_whole(kernel_file, buffer))
                .map_err(unreadable)?;
            take(content::device_stat(live, file, own, arena)?)
        }
        VirtualFile::Task(_) => {
            let text = content::task_stat(live, settings, arena, |arena| {
                arena.read_into(|buffer| sys::read_at(kernel_file, buffer, 0))
            });
            take(text?)
        }
    })
}

/// Reads the kernel's text.
fn read(file: MachineFile, fd: c_int, buffer: &mut [u8]) -> Result<usize, Errno> {
    if !file.in_one_piece() {
        return sys::read_whole(fd, buffer);
    }
    let length = sys::read_at(fd, buffer, 0)?;
    if length < buffer.len() {
        Ok(length)
    } else {
        Err(Errno::BUFFER_TOO_SMALL)
    }
}
