//! What the commands look at: a target (process or cgroup), the numbers that it sees, programs on disk, settings and their
//! sources; all containers of the host, and what one of them uses. [`explainer`] makes a [`report`] of where each number
//! of a target comes from.

pub mod containers;
pub mod elf;
pub mod engine;
pub mod explainer;
pub mod kernel_file;
pub mod numbers;
pub mod processes;
pub mod regular;
pub mod report;
pub mod sources;
pub mod target;
pub mod timed;
pub mod usage;
pub mod view;
