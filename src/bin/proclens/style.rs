//! Colours. They are always written; `anstream` takes them out where the output is no terminal or
//! `NO_COLOR` is set.

use anstyle::{AnsiColor, Style};

pub const STRONG: Style = Style::new().bold();
pub const DIM: Style = Style::new().dimmed();
pub const GOOD: Style = AnsiColor::Green.on_default();
pub const WARNING: Style = AnsiColor::Yellow.on_default();
pub const BAD: Style = AnsiColor::Red.on_default().bold();

/// `text` without what a terminal would obey: it may be somebody else's.
pub fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}
