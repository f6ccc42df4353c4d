//! Random numbers and damaged texts for the tests of the pure code.

/// The seed is in `PROCLENS_TEST_SEED`, or the same in every run.
pub struct Random(fastrand::Rng);

impl Random {
    pub fn new() -> Self {
        let seed = std::env::var("PROCLENS_TEST_SEED").ok();
        Random::seeded(seed.and_then(|s| s.parse().ok()).unwrap_or(0x5eed))
    }

    pub fn seeded(seed: u64) -> Self {
        Random(fastrand::Rng::with_seed(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0.u64(..)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0.u64(..end.max(1))
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    /// Numbers of any size, with the extremes.
    pub fn any(&mut self) -> u64 {
        match self.below(12) {
            0 => 0,
            1 => 1,
            2 => u64::MAX,
            3 => i64::MAX as u64,
            4 => i64::MAX as u64 - 4095,
            5 => 1 << 31,
            _ => self.next() >> self.below(64),
        }
    }

    /// `text` with a few bytes changed, removed, doubled or replaced by another part of it.
    pub fn damage(&mut self, text: &[u8]) -> Vec<u8> {
        let mut text = text.to_vec();
        for _ in 0..=self.below(6) {
            let at = self.below(text.len() as u64 + 1) as usize;
            let end = (at + self.below(40) as usize).min(text.len());
            match self.below(6) {
                0 if at < text.len() => text[at] = self.next() as u8,
                1 => drop(text.drain(at..end)),
                2 => text.truncate(at),
                3 => {
                    let piece = text[at..end].to_vec();
                    let to = self.below(text.len() as u64 + 1) as usize;
                    text.splice(to..to, piece);
                }
                4 => drop(text.splice(at..at, self.any().to_string().into_bytes())),
                _ => {
                    let byte = *self.pick(b" \n:-,/\\0=\t\x009");
                    text.insert(at, byte);
                }
            }
        }
        text
    }

    /// Up to `longest` random bytes.
    pub fn noise(&mut self, longest: u64) -> Vec<u8> {
        (0..self.below(longest))
            .map(|_| self.next() as u8)
            .collect()
    }
}
