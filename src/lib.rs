//! proclens: every program in a container sees the container instead of the host.
//!
//! The way of a question, and who may do what on it, is in ARCHITECTURE.md:
//!
//! hook ([`hooks`]) → which file ([`files`], [`descriptor`]) → snapshot of the container
//! ([`gather`]: [`cgroup`], [`snapshot`]) → render ([`render`]) → descriptor ([`descriptor`]).
//!
//! This crate is all of it. Built with the feature `preload` as a `cdylib` it is
//! `libproclens.so`; built as an ordinary library it serves the tool and the tests.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_op_in_unsafe_fn, missing_docs)]
#![warn(clippy::undocumented_unsafe_blocks)]

pub mod answer;
pub mod cgroup;
pub mod config;
pub mod cpu_directory;
pub mod descriptor;
pub mod files;
pub mod gather;
pub mod hooks;
pub mod ledger;
pub mod live;
pub mod load;
pub mod log;
pub mod render;
pub mod sampler;
pub mod settings;
pub mod snapshot;
pub mod state;
pub mod sys;
pub mod tasks;
pub mod text;

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
