//! One file or folder per command.

pub mod check;
pub mod env;
pub mod explain;
pub mod export;
pub mod generate;
pub mod inject;
pub mod install;
pub mod metrics;
pub mod run;
pub mod show;
pub mod show_all;
pub mod watch;
pub mod watch_all;
