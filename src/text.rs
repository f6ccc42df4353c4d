//! Scanning and printing of the kernel's text formats: bytes in, values out.
//!
//! These functions do not panic or allocate, and they know no file name. Text that does not have the
//! expected format gives `None`, never a guess.
#![forbid(unsafe_code)]

use memchr::memchr;

/// The lines of `text`, without their newlines. A last line without a newline counts; an empty
/// remainder after the last newline does not.
pub fn lines(text: &[u8]) -> Lines<'_> {
    Lines { rest: text }
}

/// Iterator of [`lines`].
#[derive(Clone)]
pub struct Lines<'t> {
    rest: &'t [u8],
}

impl<'t> Lines<'t> {
    /// The lines that the iterator has not returned yet.
    pub fn rest(&self) -> &'t [u8] {
        self.rest
    }
}

impl<'t> Iterator for Lines<'t> {
    type Item = &'t [u8];

    fn next(&mut self) -> Option<&'t [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = cut(self.rest, b'\n').unwrap_or((self.rest, &[]));
        self.rest = rest;
        Some(line)
    }
}

/// Splits at the first `separator`; neither half contains the separator.
pub fn cut(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr(separator, text)?;
    let (head, tail) = text.split_at_checked(at)?;
    let (_, tail) = tail.split_first()?;
    Some((head, tail))
}

/// The fields of a `stat` file of `/proc/PID` from the third on, the state. The second, the command, may hold
/// spaces and parentheses: what follows it begins behind its last parenthesis.
pub fn stat_fields(stat: &[u8]) -> Option<Fields<'_>> {
    let end = memchr::memrchr(b')', stat)?;
    stat.get(end.checked_add(1)?..).map(fields)
}

/// The fields of one line: runs of bytes between spaces and tabs.
pub fn fields(line: &[u8]) -> Fields<'_> {
    Fields { rest: line }
}

/// Iterator of [`fields`].
#[derive(Clone)]
pub struct Fields<'t> {
    rest: &'t [u8],
}

impl<'t> Iterator for Fields<'t> {
    type Item = &'t [u8];

    fn next(&mut self) -> Option<&'t [u8]> {
        let text = self.rest.get(blanks(self.rest)..)?;
        let is_blank = |b: &u8| matches!(b, b' ' | b'\t');
        let length = text.iter().position(is_blank).unwrap_or(text.len());
        let (field, rest) = text.split_at_checked(length)?;
        self.rest = rest;
        (!field.is_empty()).then_some(field)
    }
}

/// How many spaces and tabs `text` begins with.
pub fn blanks(text: &[u8]) -> usize {
    let is_other = |b: &u8| !matches!(b, b' ' | b'\t');
    text.iter().position(is_other).unwrap_or(text.len())
}

/// `text` without spaces, tabs and newlines at both ends.
pub fn trim(text: &[u8]) -> &[u8] {
    text.trim_ascii()
}

/// A number that consists of decimal digits only. A number too large for 64 bits is `u64::MAX`:
/// the kernel prints "no limit" in several widths, and all of them mean "more than exists".
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for b in text {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.saturating_mul(10).saturating_add(u64::from(digit));
    }
    Some(value)
}

/// The number at the start of `text`, and the text after the number.
pub fn leading_decimal(text: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = text.split_at_checked(digits(text))?;
    Some((decimal(number)?, rest))
}

/// How many decimal digits `text` begins with.
pub fn digits(text: &[u8]) -> usize {
    let is_other = |b: &u8| !b.is_ascii_digit();
    text.iter().position(is_other).unwrap_or(text.len())
}

/// A growing text in a buffer of fixed size. The writer drops text that does not fit, and
/// [`Out::finish`] then returns `None`, so that no caller gets half a file.
pub struct Out<'b> {
    buffer: &'b mut [u8],
    len: usize,
    overflowed: bool,
}

impl<'b> Out<'b> {
    /// An empty text that may grow to `buffer.len()` bytes.
    pub fn new(buffer: &'b mut [u8]) -> Self {
        Out {
            buffer,
            len: 0,
            overflowed: false,
        }
    }

    /// Appends `text`.
    pub fn bytes(&mut self, text: &[u8]) {
        let end = self.len.saturating_add(text.len());
        match self.buffer.get_mut(self.len..end) {
            Some(space) => {
                for (to, from) in space.iter_mut().zip(text) {
                    *to = *from;
                }
                self.len = end;
            }
            None => self.overflowed = true,
        }
    }

    /// Appends one byte.
    pub fn byte(&mut self, byte: u8) {
        self.bytes(&[byte]);
    }

    /// Appends `value` in decimal.
    pub fn decimal(&mut self, value: u64) {
        self.decimal_right(value, 0);
    }

    /// Appends `value` in decimal, padded with spaces on the left to `width` (at most 32), as
    /// `%*lu` does.
    pub fn decimal_right(&mut self, value: u64, width: usize) {
        self.padded(value, width, b' ');
    }

    /// Appends `value` in decimal, padded with zeros on the left to `width` (at most 32).
    pub fn decimal_zeros(&mut self, value: u64, width: usize) {
        self.padded(value, width, b'0');
    }

    fn padded(&mut self, mut value: u64, width: usize, pad: u8) {
        let mut digits = [pad; 32];
        let mut used = 0usize;
        for slot in digits.iter_mut().rev() {
            *slot = b'0'.wrapping_add((value % 10) as u8);
            value /= 10;
            used = used.wrapping_add(1);
            if value == 0 {
                break;
            }
        }
        let shown = used.max(width.min(digits.len()));
        if let Some(text) = digits.get(digits.len().wrapping_sub(shown)..) {
            self.bytes(text);
        }
    }

    /// How many bytes have been written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True while nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The whole text, or `None` if it did not fit.
    pub fn finish(self) -> Option<&'b [u8]> {
        if self.overflowed {
            return None;
        }
        let Out { buffer, len, .. } = self;
        buffer.get(..len)
    }
}

/// The number after `name` in a table of `name number` lines.
pub fn field(text: &[u8], name: &[u8]) -> Option<u64> {
    lines(text).find_map(|line| {
        let (key, value) = cut(line, b' ')?;
        (key == name).then(|| decimal(trim(trim(value).strip_suffix(b"kB").unwrap_or(value))))?
    })
}

/// The number that `digits` write in base 10 or 16, without a prefix; 0 for no digits.
pub fn number_in_base(digits: &[u8], base: u64) -> Option<u64> {
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = u64::from(char::from(*digit).to_digit(16)?);
        number.checked_mul(base)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_tables() {
        assert_eq!(field(b"btime 12\nprocs 3\n", b"procs"), Some(3));
        assert_eq!(
            field(b"MemTotal:  1 kB\nSwapTotal:       5 kB\n", b"SwapTotal:"),
            Some(5)
        );
        assert_eq!(field(b"btime x\n", b"btime"), None);
        assert_eq!(field(b"", b"btime"), None);
    }
}
