//! The virtual files: which files there are ([`files`]), what each of them contains now
//! ([`content`]), and one renderer per file ([`render`]).

pub mod content;
pub mod cpu_directory;
pub mod files;
pub mod render;
