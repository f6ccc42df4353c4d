//! The load average: the kernel's arithmetic ([`average`]), the thread scanner ([`scanner`]), and the
//! task counts for `/proc/stat` and `/proc/loadavg` ([`tasks`]).

pub mod average;
pub mod scanner;
pub mod tasks;
