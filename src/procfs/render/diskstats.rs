//! `/proc/diskstats` (`block/genhd.c`, `Documentation/admin-guide/iostats.rst`): the devices of the
//! host with the I/O of the container.
#![forbid(unsafe_code)]

use super::copy;
use crate::text::{Out, decimal, fields, lines};
use crate::values::{BlockIo, DeviceIo};

/// Bytes in a sector of these counters. It does not depend on the sector size of the device.
const SECTOR: u64 = 512;

/// Name prefixes of stacked devices. The devices below them count the same I/O again.
const STACKED: [&[u8]; 3] = [b"dm-", b"loop", b"md"];

/// Renders `/proc/diskstats`; `host` is the kernel's text. Values that a cgroup does not count are 0:
/// merges, times, flushes, I/O in flight, and the partitions of a disk. The number of columns is that
/// of the host.
pub fn render(host: &[u8], io: BlockIo<'_>, out: &mut Out<'_>) {
    for line in lines(host) {
        let Some(Disk {
            device: (major, minor),
            name,
            columns,
        }) = Disk::parse(line)
        else {
            copy(line, out);
            continue;
        };
        let io = io.of((major, minor));
        out.decimal_right(major, 4);
        out.byte(b' ');
        out.decimal_right(minor, 7);
        out.byte(b' ');
        out.bytes(name);
        for value in values(&io).take(columns) {
            out.byte(b' ');
            out.decimal(value);
        }
        out.byte(b'\n');
    }
}

/// Renders the `stat` file of a device in sysfs (`part_stat_show`); `host` is the kernel's text.
pub fn device(host: &[u8], io: &DeviceIo, out: &mut Out<'_>) {
    for (i, value) in values(io).take(fields(host).count()).enumerate() {
        if i > 0 {
            out.byte(b' ');
        }
        out.decimal_right(value, 8);
    }
    out.byte(b'\n');
}

/// The columns after the name of a device, followed by endless zeros for columns of later kernels.
fn values(io: &DeviceIo) -> impl Iterator<Item = u64> + use<> {
    let reads = [io.reads, 0, io.read_bytes / SECTOR, 0];
    let writes = [io.writes, 0, io.written_bytes / SECTOR, 0];
    let discards = [io.discards, 0, io.discarded_bytes / SECTOR, 0];
    let known = reads.into_iter().chain(writes).chain([0; 3]);
    known.chain(discards).chain(core::iter::repeat(0))
}

/// Sums up the container's I/O over all disks, without the I/O that stacked devices count again; `host`
/// is the kernel's `/proc/diskstats`.
pub fn total(host: &[u8], io: BlockIo<'_>) -> DeviceIo {
    let mut total = io.all();
    let disks = lines(host).filter_map(Disk::parse);
    for disk in disks.filter(|disk| is_stacked(disk.name)) {
        total.without(&io.of(disk.device));
    }
    total
}

/// True for the name of a device that is stacked on others.
pub fn is_stacked(name: &[u8]) -> bool {
    STACKED.iter().any(|prefix| name.starts_with(prefix))
}

/// One line of the file.
struct Disk<'t> {
    device: (u64, u64),
    name: &'t [u8],
    /// Number of values after the name: 11, 15 since Linux 4.18, 17 since 5.5.
    columns: usize,
}

impl<'t> Disk<'t> {
    fn parse(line: &'t [u8]) -> Option<Self> {
        let mut fields = fields(line);
        let device = (decimal(fields.next()?)?, decimal(fields.next()?)?);
        let name = fields.next()?;
        Some(Disk {
            device,
            name,
            columns: fields.count(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IO: BlockIo<'_> = BlockIo::V2(
        b"254:0 rbytes=1048576 wbytes=2097152 rios=3 wios=4 dbytes=512 dios=1\n\
          253:0 rbytes=1048576 wbytes=2097152 rios=3 wios=4 dbytes=512 dios=1\n",
    );

    fn text(host: &str) -> String {
        let mut buffer = [0; 1024];
        let mut out = Out::new(&mut buffer);
        render(host.as_bytes(), IO, &mut out);
        String::from_utf8(out.finish().unwrap().to_vec()).unwrap()
    }

    #[test]
    fn the_hosts_devices_with_the_containers_io() {
        assert_eq!(
            text(
                "   8       0 sda 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9\n \
                 254       0 vda 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9\n \
                 254       1 vda1 9 9 9 9 9 9 9 9 9 9 9\n"
            ),
            "   8       0 sda 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n \
             254       0 vda 3 0 2048 0 4 0 4096 0 0 0 0 1 0 1 0 0 0\n \
             254       1 vda1 0 0 0 0 0 0 0 0 0 0 0\n"
        );
    }

    #[test]
    fn a_devices_own_counters() {
        let own = |host: &str| {
            let mut buffer = [0; 256];
            let mut out = Out::new(&mut buffer);
            device(host.as_bytes(), &IO.of((254, 0)), &mut out);
            String::from_utf8(out.finish().unwrap().to_vec()).unwrap()
        };
        let reads_and_writes =
            "       3        0     2048        0        4        0     4096        0";
        assert_eq!(
            own(
                "       9        9        9        9        9        9        9        9        9        9        9\n"
            ),
            format!("{reads_and_writes}        0        0        0\n")
        );
        assert_eq!(
            own("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17"),
            format!(
                "{reads_and_writes}        0        0        0        1        0        1        0        0        0\n"
            )
        );
    }

    #[test]
    fn garbage_stands() {
        for host in ["", "\n", "8 x sda 9\n", "8 0\n"] {
            assert_eq!(text(host), host);
        }
    }

    #[test]
    fn io_through_two_devices_counts_once() {
        let host = b" 254 0 vda 0 0 0 0 0 0 0 0 0 0 0\n 253 0 dm-0 0 0 0 0 0 0 0 0 0 0 0\n";
        assert_eq!(total(host, IO).read_bytes, 1 << 20);
        assert_eq!(total(b"", IO).read_bytes, 2 << 20);
    }
}
