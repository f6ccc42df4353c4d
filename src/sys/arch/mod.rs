//! Everything that depends on the processor: system calls, the address of the dynamic linker's list of
//! objects, entry points that only assembler can define, and the memory routines that the compiler calls.
//! One file per processor, with the same items.
//!
//! These files use nothing from the modules above them. An entry point that calls code above is a macro:
//! the module with that code instantiates the macro.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub use aarch64::*;
#[cfg(target_arch = "x86_64")]
pub use x86_64::*;
