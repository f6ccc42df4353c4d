//! `/proc/PID/stat` and `/proc/PID/task/TID/stat` (`fs/proc/array.c`): the start time is shifted to the
//! container's clock. Otherwise `ps` would mix it with the container's uptime and compute wrong ages
//! and loads.
#![forbid(unsafe_code)]

use crate::text::{Out, leading_decimal};

/// Number of spaces from the end of the name to the start time, which is field 22. Fields 3 to 21 are
/// between them.
const SPACES: usize = 20;

/// Renders `text` with a start time that counts from the container's start instead of the host's boot,
/// both in ticks. A task older than the container starts at 0. Returns false and writes nothing if
/// `text` is not such a line.
pub fn render(text: &[u8], container_start: u64, out: &mut Out) -> bool {
    let Some((before, start, after)) = start_time(text) else {
        return false;
    };
    out.bytes(before);
    out.decimal(start.saturating_sub(container_start));
    out.bytes(after);
    true
}

/// True if two lines, of one task ID, have the same start time. Otherwise the kernel has reused the ID.
pub fn is_same_task(one: &[u8], other: &[u8]) -> bool {
    let start = |text| start_time(text).map(|(_, start, _)| start);
    start(one) == start(other)
}

/// Splits a line into the part before the start time, the start time, and the rest.
fn start_time(text: &[u8]) -> Option<(&[u8], u64, &[u8])> {
    number(text)?;
    let name_end = memchr::memrchr(b')', text)?;
    let (at, _) = text
        .iter()
        .enumerate()
        .skip(name_end)
        .filter(|(_, b)| **b == b' ')
        .nth(SPACES.checked_sub(1)?)?;
    let (before, rest) = text.split_at_checked(at.checked_add(1)?)?;
    let (start, after) = leading_decimal(rest)?;
    Some((before, start, after))
}

/// Parses the number of the task. The line begins with `4711 (`.
pub fn number(text: &[u8]) -> Option<u64> {
    let (number, rest) = leading_decimal(text)?;
    rest.starts_with(b" (").then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "12 (a (b) c) S 1 2 3 0 -1 4194560 284 0 0 0 1 2 3 4 20 0 1 0 5000 2592 424 18446744073709551615\n";

    fn shifted(text: &str, by: u64) -> Option<String> {
        let mut buffer = [0; 256];
        let mut out = Out::new(&mut buffer);
        render(text.as_bytes(), by, &mut out)
            .then(|| String::from_utf8_lossy(out.finish().unwrap()).into_owned())
    }

    #[test]
    fn only_the_start_time_changes() {
        assert_eq!(shifted(LINE, 4000), Some(LINE.replace(" 5000 ", " 1000 ")));
        assert_eq!(shifted(LINE, 0).as_deref(), Some(LINE));
    }

    #[test]
    fn older_than_the_container_is_0() {
        assert_eq!(shifted(LINE, 5001), Some(LINE.replace(" 5000 ", " 0 ")));
    }

    #[test]
    fn start_time_is_the_same_field_for_all_parsers() {
        assert_eq!(
            crate::cgroup::kernel::start_ticks(LINE.as_bytes()),
            Some(5000)
        );
    }

    #[test]
    fn other_text_than_a_stat_line_stays() {
        for text in [
            "",
            "cpu  1 2 3\n",
            "12 (a) S 1 2\n",
            "x (a) S",
            "12",
            "12 (a S 1 2 3 0 -1 4 5",
        ] {
            assert_eq!(shifted(text, 1), None, "{text}");
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(number(LINE.as_bytes()), Some(12));
        assert_eq!(number(b"cpu  1"), None);
    }
}
