//! `proclens run`: programs that no preload reaches (static programs and Go programs) see the container
//! too. A seccomp filter stops the few system calls that read a virtual file or a number of the machine.
//! The server handles them with the same code as the library.
//!
//! There are three processes: the guard, which the caller started; the server, its child; and the command,
//! the server's child. [`filter`] decides which calls stop. [`notify`] implements the kernel's protocol.
//! [`server`] handles the calls, with no more rights than their callers have ([`credentials`]). [`affinity`]
//! remembers the CPU masks that the server reduced. [`lock`] is a lock of the server's threads. [`guard`] starts
//! all processes, and covers for a server that died.
//!
//! Only the tool contains this module.

pub mod affinity;
pub mod credentials;
pub mod filter;
pub mod guard;
pub mod lock;
pub mod notify;
pub mod server;
