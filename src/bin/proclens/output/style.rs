//! Colours. The tool always writes them; `anstream` removes them if the output is not a terminal or
//! `NO_COLOR` is set.

use anstyle::{AnsiColor, Style};

pub const STRONG: Style = Style::new().bold();
pub const DIM: Style = Style::new().dimmed();
pub const GOOD: Style = AnsiColor::Green.on_default();
pub const WARNING: Style = AnsiColor::Yellow.on_default();
pub const BAD: Style = AnsiColor::Red.on_default().bold();

/// `text` without control characters that a terminal would interpret: the text may come from another user.
pub fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}
