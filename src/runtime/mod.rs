//! What a process needs to render files and calls: the kernel reader ([`live`]), its view of the container
//! ([`container`]) with the cache ([`cache`]), the affinity masks that were reduced ([`reductions`]), the settings of this process ([`config`]) and the
//! messages on stderr ([`log`]).

pub mod cache;
pub mod config;
pub mod container;
pub mod live;
pub mod log;
pub mod reductions;
