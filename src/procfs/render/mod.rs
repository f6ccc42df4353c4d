//! One renderer per virtual file. It takes the text of the host and the values of the container, and
//! makes the text that a program reads.
//!
//! No renderer uses a path, a clock or the environment. The host's text gives the format (lines, order,
//! padding). Lines that do not have the expected format are copied unchanged.
#![forbid(unsafe_code)]

pub mod cpuinfo;
pub mod cpulist;
pub mod diskstats;
pub mod loadavg;
pub mod meminfo;
pub mod node;
pub mod pressure;
pub mod stat;
pub mod swaps;
pub mod task_stat;
pub mod uptime;
pub mod vmstat;

use crate::text::{Out, blanks, cut, decimal, digits};

/// Appends a line of the host and its newline.
fn copy(line: &[u8], out: &mut Out<'_>) {
    out.bytes(line);
    out.byte(b'\n');
}

/// A line `name: number rest`, with any white space around the colon: the format of `/proc/meminfo` and
/// `/proc/cpuinfo`.
#[derive(Clone, Copy)]
struct Entry<'t> {
    /// The name without trailing white space.
    name: &'t [u8],
    /// Everything before the number, including the name.
    before: &'t [u8],
    digits: &'t [u8],
    after: &'t [u8],
}

impl<'t> Entry<'t> {
    fn parse(line: &'t [u8]) -> Option<Self> {
        let (name, rest) = cut(line, b':')?;
        let start = name.len().saturating_add(1).saturating_add(blanks(rest));
        let (before, rest) = line.split_at_checked(start)?;
        let (digits, after) = rest.split_at_checked(digits(rest))?;
        (!digits.is_empty()).then_some(Entry {
            name: name.trim_ascii_end(),
            before,
            digits,
            after,
        })
    }

    fn value(&self) -> u64 {
        decimal(self.digits).unwrap_or(0)
    }

    /// Appends the line with `value` in place of its number.
    fn print(&self, value: u64, out: &mut Out<'_>) {
        out.bytes(self.before);
        out.decimal(value);
        copy(self.after, out);
    }

    /// As [`Entry::print`], with the number right-aligned as in the host's line. The kernel pads to
    /// `width`; a longer number shifts the text after it (`seq_put_decimal_ull_width`).
    fn print_aligned(&self, value: u64, width: usize, out: &mut Out<'_>) {
        let spaces = self.before.iter().rev().take_while(|&&b| b == b' ').count();
        let padding = width
            .saturating_sub(self.digits.len())
            .min(spaces.saturating_sub(1));
        let fixed = self.before.len().saturating_sub(padding);
        out.bytes(self.before.get(..fixed).unwrap_or(self.before));
        out.decimal_right(value, width.min(padding.saturating_add(self.digits.len())));
        copy(self.after, out);
    }
}
