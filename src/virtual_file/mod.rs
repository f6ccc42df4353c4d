//! Virtual descriptors: real descriptors of memory files that have the container's content. The kernel
//! itself serves them, so `sendfile`, `dup2`, `exec` and inheritance by a child work.
//!
//! - `kernel_file`: which of the kernel's files a descriptor is.
//! - `memory_file`: makes, protects and rewrites memory files.
//! - `produce`: reads the kernel's text of a virtual file and renders the container's.
//! - `recognise`: which virtual file a descriptor of a memory file stands for.
//! - `serve`: replaces a descriptor of the kernel's file, after an open or at the start of a program.
//! - `refresh`: renews the content before a read from the start.
//!
//! The hooks and the server of `proclens run` use these functions; this module knows neither.
#![forbid(unsafe_code)]

mod kernel_file;
mod memory_file;
mod produce;
mod recognise;
mod refresh;
mod serve;

pub use kernel_file::identify;
pub use recognise::{
    KernelFile, could_be_virtual, expect, open_kernel_file, recognise, with_kernel_path,
    with_kernel_path_at,
};
pub use refresh::refresh;
pub use serve::{memory_file_for, redirect_pressure, replace_inherited, replace_opened};
