//! proclens: every program in a container sees the container instead of the host.
//!
//! ARCHITECTURE.md describes the layers and the path of one file and of one call. From the bottom up:
//!
//! 1. [`text`], [`values`], [`settings`]: bytes and numbers.
//! 2. [`sys`] (system calls), [`mem`] (memory that is not the program's), [`error`].
//! 3. [`cpu_time`] (the accounting of `/proc/stat`), [`cgroup`] (find the container's cgroups and read them).
//! 4. [`procfs`]: the virtual files and their renderers.
//! 5. [`load`] (load average), [`shared_state`] (what the processes of a container share), [`sampler`] (the
//!    background process that counts threads).
//! 6. [`runtime`]: the kernel reader of this process, its cache, settings and messages.
//! 7. [`virtual_file`]: descriptors with the container's content.
//! 8. The entry points: [`preload`] (the hooks of the shared object), `run` (the server of `proclens run`) and
//!    the tool (`src/bin/proclens`).
//!
//! Each layer uses only layers before it in this list; `tests/source.rs` checks the direction.
//!
//! The feature `preload` and the crate type `cdylib` make `libproclens.so` of this crate. Built as an
//! ordinary library, the crate serves the tool and the tests.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_op_in_unsafe_fn, missing_docs)]
#![warn(clippy::undocumented_unsafe_blocks)]

pub mod cgroup;
pub mod cpu_time;
pub mod error;
pub mod load;
pub mod mem;
pub mod preload;
pub mod procfs;
#[cfg(feature = "tool")]
pub mod run;
pub mod runtime;
pub mod sampler;
pub mod settings;
pub mod shared_state;
pub mod sys;
pub mod text;
pub mod values;
pub mod virtual_file;

#[cfg(all(feature = "preload", not(test)))]
mod no_panic {
    unsafe extern "C" {
        /// Defined nowhere: a panic path that survives the optimiser shows in the symbol table of
        /// the shared object, and scripts/build refuses it.
        fn proclens_has_a_panic_path() -> !;
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        // SAFETY: never linked in, see above.
        unsafe { proclens_has_a_panic_path() }
    }
}
