//! `/proc/swaps` (`mm/swapfile.c`, `swap_show`). Unit: kB.
#![forbid(unsafe_code)]

use super::copy;
use super::meminfo::Figures;
use crate::text::{Out, decimal, fields, lines};

/// From this number on, the kernel prints one tab instead of two after it.
const WIDE: u64 = 10_000_000;

/// Renders `/proc/swaps`; `host` is the kernel's text. All swap of the container is one line, with the
/// name, type and priority of the host's first swap area. Without swap there is only the header.
pub fn render(host: &[u8], figures: &Figures, out: &mut Out<'_>) {
    let mut lines = lines(host);
    if let Some(header) = lines.next() {
        copy(header, out);
    }
    let Some((before, priority)) = lines.find_map(split) else {
        return;
    };
    if figures.swap_total > 0 {
        out.bytes(before);
        for kb in [
            figures.swap_total,
            figures.swap_total.saturating_sub(figures.swap_free),
        ] {
            out.decimal(kb);
            out.bytes(if kb < WIDE { b"\t\t" } else { b"\t" });
        }
        copy(priority, out);
    }
}

/// True if the host has swap.
pub fn any(host: &[u8]) -> bool {
    lines(host).skip(1).any(|line| split(line).is_some())
}

/// Splits a line `name type size used priority` into the part before the size, and the priority. White
/// space in a name is escaped.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = skip_field(skip_field(line));
    let before = line.get(..line.len().saturating_sub(rest.len()))?;
    let mut numbers = fields(rest);
    let (_size, _used) = (decimal(numbers.next()?)?, decimal(numbers.next()?)?);
    Some((before, numbers.next()?))
}

fn skip_field(text: &[u8]) -> &[u8] {
    let end = text
        .iter()
        .position(u8::is_ascii_whitespace)
        .unwrap_or(text.len());
    text.get(end..).unwrap_or_default().trim_ascii_start()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";

    fn text(host: &str, swap_total: u64, swap_free: u64) -> String {
        let mut buffer = [0; 1024];
        let mut out = Out::new(&mut buffer);
        render(
            host.as_bytes(),
            &Figures {
                swap_total,
                swap_free,
                ..Figures::default()
            },
            &mut out,
        );
        String::from_utf8(out.finish().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn swaps_shows_one_line_for_all_swap() {
        let name = "/dev/zram0                              partition\t";
        let host = format!("{HEADER}{name}1048572\t\t0\t\t100\n/swap file\t\t5\t\t0\t\t-2\n");
        assert_eq!(
            text(&host, 262_144, 200_000),
            format!("{HEADER}{name}262144\t\t62144\t\t100\n")
        );
        assert_eq!(
            text(&host, 10_000_000, 0),
            format!("{HEADER}{name}10000000\t10000000\t100\n")
        );
    }

    #[test]
    fn a_swap_file_has_two_tabs() {
        let name = "/a\\040b                                 file\t\t";
        let host = format!("{HEADER}{name}12000000\t7\t\t-2\n");
        assert_eq!(
            text(&host, 10, 10),
            format!("{HEADER}{name}10\t\t0\t\t-2\n")
        );
    }

    #[test]
    fn no_swap_is_only_the_header() {
        let host = format!("{HEADER}/dev/zram0 partition\t1048572\t\t0\t\t100\n");
        assert_eq!(text(&host, 0, 0), HEADER);
        assert_eq!(text(HEADER, 0, 0), HEADER);
        assert_eq!(text(HEADER, 5, 5), HEADER);
        assert_eq!(text("", 5, 5), "");
        assert_eq!(
            text(&format!("{HEADER}/dev/zram0 partition\tx\n"), 5, 5),
            HEADER
        );
    }
}
