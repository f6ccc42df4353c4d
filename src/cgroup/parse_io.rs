//! Block I/O of a cgroup: v2's `io.stat`, v1's `blkio.throttle.io_service_bytes` and
//! `blkio.throttle.io_serviced` (`block/blk-cgroup.c`, `blk_rwstat`), the `_recursive` ones
//! where the kernel has them.
#![forbid(unsafe_code)]

use crate::text::{cut, decimal, fields, lines};
use crate::values::{BlockIo, DeviceIo, SeenDevice};

impl<'m> BlockIo<'m> {
    /// The container's I/O on the device `major:minor`; zeros if the container never used it.
    pub fn of(self, device: (u64, u64)) -> DeviceIo {
        self.sum(Some(device))
    }

    /// The container's I/O on all devices together.
    pub fn all(self) -> DeviceIo {
        self.sum(None)
    }

    /// Stores in `seen` the counters of each device, as many as fit, and by how much they have fallen.
    pub fn remember(self, seen: &mut [SeenDevice]) {
        let BlockIo::V1 {
            bytes, operations, ..
        } = self
        else {
            return;
        };
        for (device, _) in lines(bytes).filter_map(device) {
            // No disk is 0:0.
            let slot = seen
                .iter_mut()
                .find(|slot| slot.device == device || slot.device == (0, 0));
            if let Some(slot) = slot {
                slot.device = device;
            }
        }
        let known = if operations.is_empty() { 3 } else { 6 };
        for slot in seen {
            let now = counters(&self.of(slot.device));
            let before = slot.last.iter_mut().zip(&mut slot.fallen);
            for ((last, fallen), now) in before.zip(now).take(known) {
                *fallen = fallen.saturating_add(last.saturating_sub(now));
                *last = now;
            }
        }
    }

    /// True if the container used at most one device, and that is a disk: then no I/O is counted twice.
    pub fn is_of_one(self, is_disk: impl FnOnce((u64, u64)) -> bool) -> bool {
        let (BlockIo::V2(text) | BlockIo::V1 { bytes: text, .. }) = self;
        let mut devices = lines(text).filter_map(device).map(|(device, _)| device);
        self.fallen().next().is_none()
            && devices
                .next()
                .is_none_or(|first| devices.all(|other| other == first) && is_disk(first))
    }

    fn sum(self, only: Option<(u64, u64)>) -> DeviceIo {
        let wanted = |device| only.is_none_or(|only| only == device);
        let mut total = DeviceIo::default();
        let mut add = |text: &[u8], count: fn(&mut DeviceIo, &[u8])| {
            for line in lines(text) {
                if let Some((device, rest)) = device(line)
                    && wanted(device)
                {
                    count(&mut total, rest);
                }
            }
        };
        match self {
            BlockIo::V2(stat) => add(stat, count_v2),
            BlockIo::V1 {
                bytes, operations, ..
            } => {
                add(bytes, count_bytes);
                add(operations, count_operations);
            }
        }
        for slot in self.fallen() {
            if wanted(slot.device) {
                total.change(slot.fallen, u64::saturating_add);
            }
        }
        total
    }

    /// The devices whose counters have fallen.
    fn fallen(self) -> impl Iterator<Item = &'m SeenDevice> {
        let seen = match self {
            BlockIo::V2(_) => &[],
            BlockIo::V1 { seen, .. } => seen,
        };
        seen.iter().filter(|slot| slot.fallen != [0; 6])
    }
}

impl DeviceIo {
    /// Skips the I/O of other devices.
    pub fn without(&mut self, other: &DeviceIo) {
        self.change(counters(other), u64::saturating_sub);
    }

    fn change(&mut self, by: [u64; 6], how: fn(u64, u64) -> u64) {
        let all = [
            &mut self.read_bytes,
            &mut self.written_bytes,
            &mut self.discarded_bytes,
            &mut self.reads,
            &mut self.writes,
            &mut self.discards,
        ];
        for (counter, by) in all.into_iter().zip(by) {
            *counter = how(*counter, by);
        }
    }
}

/// All counters, bytes first.
fn counters(of: &DeviceIo) -> [u64; 6] {
    [
        of.read_bytes,
        of.written_bytes,
        of.discarded_bytes,
        of.reads,
        of.writes,
        of.discards,
    ]
}

/// `major:minor` at the start of a line, and the rest.
fn device(line: &[u8]) -> Option<((u64, u64), &[u8])> {
    let (device, rest) = cut(line, b' ')?;
    let (major, minor) = cut(device, b':')?;
    Some(((decimal(major)?, decimal(minor)?), rest))
}

/// `rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`, and whatever the I/O controllers add.
fn count_v2(to: &mut DeviceIo, rest: &[u8]) {
    for (key, value) in fields(rest).filter_map(|field| cut(field, b'=')) {
        let counter = match key {
            b"rbytes" => &mut to.read_bytes,
            b"wbytes" => &mut to.written_bytes,
            b"dbytes" => &mut to.discarded_bytes,
            b"rios" => &mut to.reads,
            b"wios" => &mut to.writes,
            b"dios" => &mut to.discards,
            _ => continue,
        };
        *counter = counter.saturating_add(decimal(value).unwrap_or(0));
    }
}

fn count_bytes(to: &mut DeviceIo, rest: &[u8]) {
    count_v1(
        rest,
        [
            &mut to.read_bytes,
            &mut to.written_bytes,
            &mut to.discarded_bytes,
        ],
    );
}

fn count_operations(to: &mut DeviceIo, rest: &[u8]) {
    count_v1(rest, [&mut to.reads, &mut to.writes, &mut to.discards]);
}

/// `Read 1`; Sync and Async are the same I/O counted another way.
fn count_v1(rest: &[u8], [read, write, discard]: [&mut u64; 3]) {
    let Some((kind, value)) = cut(rest, b' ') else {
        return;
    };
    let counter = match kind {
        b"Read" => read,
        b"Write" => write,
        b"Discard" => discard,
        _ => return,
    };
    *counter = counter.saturating_add(decimal(value).unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v2() {
        let io = BlockIo::V2(
            b"254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=16 dios=3 cost.usage=9\n8:0\n8:16 rbytes=1 wbytes=x\n",
        );
        let vda = DeviceIo {
            read_bytes: 4096,
            written_bytes: 8192,
            discarded_bytes: 16,
            reads: 1,
            writes: 2,
            discards: 3,
        };
        assert_eq!(io.of((254, 0)), vda);
        assert_eq!(io.of((8, 0)), DeviceIo::default());
        assert!(!io.is_of_one(|_| true));
        assert_eq!(io.all().read_bytes, 4097);
    }

    #[test]
    fn v1() {
        let io = BlockIo::V1 {
            bytes: b"254:0 Read 4096\n254:0 Write 8192\n254:0 Sync 12288\n254:0 Async 0\n254:0 Discard 16\n254:0 Total 12304\nTotal 12304\n",
            operations: b"254:0 Read 1\n254:0 Write 2\n254:0 Discard 3\n254:0 Total 6\nTotal 6\n",
            seen: &[],
        };
        let vda = DeviceIo {
            read_bytes: 4096,
            written_bytes: 8192,
            discarded_bytes: 16,
            reads: 1,
            writes: 2,
            discards: 3,
        };
        assert_eq!(io.of((254, 0)), vda);
        assert_eq!(io.of((254, 1)), DeviceIo::default());
        assert_eq!(io.all(), vda);
        assert!(io.is_of_one(|device| device == (254, 0)));
    }

    #[test]
    fn no_io_is_zero() {
        let io = BlockIo::V1 {
            bytes: b"Total 0\n",
            operations: b"",
            seen: &[],
        };
        assert_eq!(io.all(), DeviceIo::default());
        assert_eq!(BlockIo::V2(b"").of((0, 0)), DeviceIo::default());
        assert!(BlockIo::V2(b"").is_of_one(|_| false));
    }

    #[test]
    fn io_of_a_removed_cgroup_stays_counted() {
        let io = |bytes, operations| BlockIo::V1 {
            bytes,
            operations,
            seen: &[],
        };
        let mut seen = [SeenDevice::default(); 2];
        let shown = |io: BlockIo, seen: &[SeenDevice]| {
            let BlockIo::V1 {
                bytes, operations, ..
            } = io
            else {
                panic!("v1")
            };
            let all = BlockIo::V1 {
                bytes,
                operations,
                seen,
            };
            let DeviceIo {
                read_bytes, reads, ..
            } = all.of((8, 0));
            (read_bytes, reads, all.all().read_bytes)
        };
        for (bytes, operations, expected) in [
            (
                &b"8:0 Read 50\n8:16 Read 7\n"[..],
                &b"8:0 Read 5\n"[..],
                (50, 5, 57),
            ),
            (b"8:0 Read 90\n8:16 Read 7\n", b"8:0 Read 9\n", (90, 9, 97)),
            (b"8:0 Read 30\n8:16 Read 7\n", b"8:0 Read 3\n", (90, 9, 97)),
            // The caller wants bytes only, and a third device is one too many.
            (b"8:0 Read 31\n8:16 Read 7\n8:32 Read 1\n", b"", (91, 6, 99)),
            (
                b"8:0 Read 32\n8:16 Read 7\n8:32 Read 1\n",
                b"8:0 Read 4\n",
                (92, 10, 100),
            ),
            (b"Total 0\n", b"Total 0\n", (92, 10, 99)),
            (b"8:0 Read 1\n", b"8:0 Read 1\n", (93, 11, 100)),
        ] {
            let now = io(bytes, operations);
            now.remember(&mut seen);
            assert_eq!(shown(now, &seen), expected);
        }
    }
}
