//! A checksum over words.
#![forbid(unsafe_code)]

/// A checksum over words, against torn writes: FNV-1a's step on 64 bits, mixed at the end.
#[derive(Clone, Copy)]
pub(crate) struct Checksum(u64);

impl Checksum {
    pub(crate) const fn new() -> Self {
        Checksum(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(29);
    }

    /// The checksum of a text.
    pub(crate) fn of(text: &[u8]) -> u64 {
        let mut sum = Checksum::new();
        let (words, rest) = text.as_chunks::<8>();
        words.iter().for_each(|w| sum.add(u64::from_ne_bytes(*w)));
        rest.iter().for_each(|byte| sum.add(u64::from(*byte)));
        sum.value()
    }

    pub(crate) fn value(self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    }
}
