//! The shared state between processes of a container, also if other users put files in its place.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proclens::cpu_time::{self, Accounting, Joined, Sample};
use proclens::load::average::{Active, Averages, PERIOD_US};
use proclens::load::scanner::ThreadId;
use proclens::load::tasks::{PUBLISHED, Tracked};
use proclens::mem::Arena;
use proclens::shared_state::record::{self, FILE_SIZE, Identity, Sampled};
use proclens::shared_state::{Publisher, Store};
use proclens::sys::Errno;
use proclens::text::Out;
use proclens::values::{CpuList, CpuTime, Cpus, Load, Tasks};

/// A directory of the test's own.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("proclens-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    fn bytes(&self) -> &[u8] {
        self.0.as_os_str().as_encoded_bytes()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const IDENTITY: Identity = Identity {
    cgroup: [1, 2],
    pid_namespace: 3,
    start_ticks: 4,
    boot: [5, 6],
};

fn store(scratch: &Scratch) -> Store<'_> {
    Store {
        signals_are_blocked: false,
        directory: Some(scratch.bytes()),
        identity: IDENTITY,
    }
}

fn file(scratch: &Scratch, identity: &Identity) -> PathBuf {
    let mut buffer = [0; 64];
    let mut out = Out::new(&mut buffer);
    identity.file_name(&mut out);
    scratch
        .0
        .join(std::str::from_utf8(out.finish().unwrap()).unwrap())
}

fn averages(at: u64) -> Averages {
    let load = Load([2048, 1024, 512]);
    Averages {
        last_sample_age_us: at,
        load,
        cpu_us: 77,
        pressure_us: 8,
        active: Active {
            running: 4096,
            blocked: 2048,
        },
        running: 5,
        used: 6,
    }
}

/// Releases the lock, as the end of the sampler does. Closing the file is not enough here: a child that another
/// test is starting may still have it open.
fn let_go(publisher: Publisher) {
    publisher.release();
}

const TASKS: Tasks = Tasks {
    running: 2,
    blocked: 1,
    total: 30,
};

fn sample(age_us: u64, user_us: u64) -> Sample<'static> {
    Sample {
        age_us,
        cpus: Cpus {
            count: 2,
            list: CpuList(b"0-1"),
            quota: None,
            own: &[],
        },
        time: CpuTime {
            user_us,
            nice_us: 0,
            system_us: 0,
            per_cpu: None,
            throttled_us: 0,
            nr_throttled: 0,
            throttled_at: 0,
            pressure: None,
        },
        host: None,
    }
}

/// Adds a reading to the accounting.
fn account(store: &Store<'_>, key: u64, sample: &Sample<'_>, accounting: &mut Accounting) {
    let mut buffer = vec![0; 2 * record::ACCOUNTING_SLOTS_SIZE];
    let arena = Arena::new(&mut buffer);
    store
        .account(key, sample, accounting, arena)
        .expect("buffer");
}

/// Runs every reader and writer on an unusable file. The results are right, or those without shared state.
fn survives(scratch: &Scratch) {
    let store = store(scratch);
    let found = store.sampled(100 * PERIOD_US);
    assert_eq!(found.sampled, None);
    let mut accounting = Accounting::new();
    account(&store, 0, &sample(10_000_000, 4_000_000), &mut accounting);
    assert_eq!(accounting.total(), [400, 0, 0, 1600, 0]);
    account(&store, 0, &sample(11_000_000, 5_000_000), &mut accounting);
    assert_eq!(accounting.total(), [500, 0, 0, 1700, 0]);
}

#[test]
fn readers_get_the_averages_of_the_sampler() {
    let scratch = Scratch::new("leaves");
    let store = store(&scratch);
    assert!(store.sampled(0).wants_sampler);
    let mut publisher = store.become_publisher(1000, 1).unwrap();
    assert_eq!(*publisher.averages(), Averages::default());
    for n in 1..10 {
        publisher
            .publish(averages(n * PERIOD_US), TASKS, &Tracked::NONE)
            .unwrap();
        let found = store.sampled(n * PERIOD_US + 7_000_000);
        let Some(Sampled {
            averages: read,
            tasks,
            sequence,
            sampler: 1,
        }) = found.sampled
        else {
            panic!()
        };
        assert_eq!((read, tasks, sequence), (averages(n * PERIOD_US), TASKS, n));
        assert!(!found.wants_sampler);
    }
    // No sample for a period and a half.
    assert!(store.sampled(9 * PERIOD_US + 7_500_000).wants_sampler);
    // All users may read the file, only its owner may write it.
    let path = file(&scratch, &IDENTITY);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o644);
    assert_eq!(fs::metadata(&path).unwrap().len(), FILE_SIZE as u64);
    // The next sampler continues from there.
    let_go(publisher);
    let publisher = store.become_publisher(10 * PERIOD_US, 1).unwrap();
    assert_eq!(*publisher.averages(), averages(9 * PERIOD_US));
}

#[test]
fn one_sampler_and_one_start_claim_at_a_time() {
    let scratch = Scratch::new("claims");
    let store = store(&scratch);
    let publisher = store.become_publisher(0, 1).unwrap();
    assert!(store.become_publisher(0, 1).is_err());
    let_go(publisher);
    assert!(store.become_publisher(0, 1).is_ok());

    assert!(store.claim_start(1_000_000));
    assert!(!store.claim_start(1_000_000));
    assert!(!store.claim_start(10_900_000));
    assert!(!store.sampled(10_900_000).wants_sampler);
    assert!(store.sampled(11_000_000).wants_sampler);
    assert!(store.claim_start(11_000_000));
    // A claim from the future is not valid.
    assert!(store.claim_start(5_000_000));
    // A postponed start, for an hour at most.
    store.postpone_start(20_000_000, u64::MAX);
    assert!(!store.claim_start(20_000_000 + 3_599_000_000));
    assert!(store.claim_start(20_000_000 + 3_600_000_000));
}

#[test]
fn many_claims_at_once_start_one_sampler() {
    let scratch = Scratch::new("many");
    let claims: u32 = std::thread::scope(|scope| {
        let all: Vec<_> = (0..64)
            .map(|_| scope.spawn(|| u32::from(store(&scratch).claim_start(1_000_000))))
            .collect();
        all.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(claims, 1);
}

#[test]
fn containers_do_not_meet() {
    let scratch = Scratch::new("meet");
    let mut publisher = store(&scratch).become_publisher(0, 1).unwrap();
    publisher
        .publish(averages(PERIOD_US), TASKS, &Tracked::NONE)
        .unwrap();
    let mine = file(&scratch, &IDENTITY);
    for other in [
        Identity {
            cgroup: [9, 2],
            ..IDENTITY
        },
        Identity {
            cgroup: [1, 9],
            ..IDENTITY
        },
        Identity {
            pid_namespace: 9,
            ..IDENTITY
        },
        Identity {
            start_ticks: 9,
            ..IDENTITY
        },
        Identity {
            boot: [9, 6],
            ..IDENTITY
        },
        Identity {
            boot: [5, 9],
            ..IDENTITY
        },
    ] {
        assert_ne!(file(&scratch, &other), mine);
        // Not even in the same file.
        fs::copy(&mine, file(&scratch, &other)).unwrap();
        let store = Store {
            identity: other,
            ..store(&scratch)
        };
        assert_eq!(store.sampled(PERIOD_US).sampled, None);
    }
}

#[test]
fn accounts_continue_between_processes() {
    let scratch = Scratch::new("accounts");
    let store = store(&scratch);
    let mut before = [0; 5];
    for n in 1..50u64 {
        // Each reading is by another process.
        let mut accounting = Accounting::new();
        let odd = (n * 7919) % 10_000;
        account(
            &store,
            0,
            &sample(n * 333_333, n * 100_000 + odd),
            &mut accounting,
        );
        let total = accounting.total();
        assert!(total.iter().zip(before).all(|(now, then)| *now >= then));
        assert_eq!(total.iter().sum::<u64>(), 2 * (n * 333_333 / 10_000));
        before = total;
    }
    // A process with other settings has accounting of its own.
    let mut other = Accounting::new();
    account(&store, 1, &sample(50 * 333_333, 1_000_000), &mut other);
    assert_eq!(other.total()[0], 100);
    let mut accounting = Accounting::new();
    account(
        &store,
        0,
        &sample(50 * 333_333, 50 * 100_000),
        &mut accounting,
    );
    assert!(
        accounting
            .total()
            .iter()
            .zip(before)
            .all(|(now, then)| *now >= then)
    );
    // When no process has continued the first accounting for long, the other one takes its place.
    let mut other = Accounting::new();
    account(&store, 1, &sample(100_000_000, 1_000_000), &mut other);
    let mut again = Accounting::new();
    account(&store, 1, &sample(101_000_000, 1_000_000), &mut again);
    assert_eq!(again.total()[3] - other.total()[3], 200);
}

/// One process may read the shared accounting but not write it, and another one may write but has not. No value
/// that they reported steps back, and they join the others as soon as they can.
#[test]
fn unsaved_results_do_not_step_back() {
    let scratch = Scratch::new("reader");
    let store = store(&scratch);
    let nowhere = Store {
        directory: Some(b"/nonexistent"),
        ..store
    };
    let busy = |ms: u64| ms * 700 + (ms * 7919) % 5_000;
    let at = |ms: u64| sample(ms * 1000, busy(ms));
    let (mut writer, mut reader) = (Accounting::new(), Accounting::new());
    account(&store, 0, &at(5_000), &mut writer);
    let mut last = [[0; 5]; 2];
    for step in 1..400u64 {
        let ms = 5_000 + step * 17;
        account(&store, 0, &at(ms), &mut writer);
        let how = if step % 3 == 0 { &store } else { &nowhere };
        account(how, 0, &at(ms + step % 11), &mut reader);
        let totals = [writer.total(), reader.total()];
        for (now, last) in totals.iter().zip(&last) {
            let back = now.iter().zip(last).any(|(now, last)| now < last);
            assert!(!back, "{step}: {last:?} {now:?}");
        }
        let passed = (ms + step % 11) / 10;
        assert_eq!(reader.total().iter().sum::<u64>(), 2 * passed);
        last = totals;
    }
    // After a second without other readers, both report the same.
    account(&store, 0, &at(60_000), &mut writer);
    account(&store, 0, &at(60_000), &mut reader);
    assert_eq!(reader.total(), writer.total());
}

/// A process takes its sample and is stopped. Meanwhile the quota changes, and others account with another number of
/// CPUs. What they reported stays: the process neither contradicts nor overwrites it.
#[test]
fn an_overtaken_sample_of_other_cpus_takes_nothing_back() {
    let of = |cpus, age_us, user_us| {
        let mut sample = sample(age_us, user_us);
        sample.cpus.count = cpus;
        sample
    };
    let no_less = |now: [u64; 5], before: [u64; 5]| now.iter().zip(before).all(|(a, b)| *a >= b);
    for (early, late) in [(1, 2), (2, 1), (1, 100), (100, 1), (3, 5)] {
        let scratch = Scratch::new("overtaken");
        let store = store(&scratch);
        let mut fast = Accounting::new();
        for age_us in [19_000_000, 19_700_000] {
            account(&store, 0, &of(early, age_us, 1_000_000), &mut fast);
        }
        for age_us in [19_710_000, 20_000_000, 20_300_000] {
            account(&store, 0, &of(late, age_us, 1_100_000), &mut fast);
        }
        let before = fast.total();
        let mut slow = Accounting::new();
        account(&store, 0, &of(early, 19_800_000, 1_050_000), &mut slow);
        assert!(
            no_less(slow.total(), before),
            "{early} {late}: {:?} {before:?}",
            slow.total()
        );
        assert_eq!(slow.rows().count() as u32, early);
        let mut later = Accounting::new();
        account(&store, 0, &of(late, 20_310_000, 1_100_000), &mut later);
        assert!(
            no_less(later.total(), before),
            "{early} {late}: {:?} {before:?}",
            later.total()
        );
        // The slow process goes on too.
        account(&store, 0, &of(late, 20_400_000, 1_100_000), &mut slow);
        assert!(no_less(slow.total(), later.total()), "{early} {late}");
    }
}

#[test]
fn accounts_of_more_cpus_than_expected_are_read_whole() {
    let scratch = Scratch::new("longer");
    let store = store(&scratch);
    let of = |cpus, age_us| {
        let mut sample = sample(age_us, 1_000_000);
        sample.cpus.count = cpus;
        sample
    };
    for cpus in [2, 40, 64, 100, 1] {
        let mut other = Accounting::new();
        account(&store, 0, &of(cpus, 4_000_000), &mut other);
        let mut accounting = Accounting::new();
        account(&store, 0, &of(1, 5_000_000), &mut accounting);
        // The single row has everything that the other process reported, and a second more.
        let sum = |accounting: &Accounting| accounting.total().iter().sum::<u64>();
        assert_eq!(sum(&accounting), sum(&other) + 100, "{cpus}");
        fs::remove_file(file(&scratch, &IDENTITY)).unwrap();
    }
}

#[test]
fn a_full_arena_changes_no_accounting() {
    let scratch = Scratch::new("buffer");
    let mut accounting = Accounting::new();
    let arena = Arena::new(&mut []);
    let entered = store(&scratch).account(0, &sample(10_000_000, 0), &mut accounting, arena);
    assert_eq!(entered, Err(Errno::BUFFER_TOO_SMALL));
    assert!(accounting.is_empty());
}

#[test]
fn files_that_are_no_state() {
    let scratch = Scratch::new("strangers");
    let path = file(&scratch, &IDENTITY);
    let contents: [Vec<u8>; 7] = [
        vec![],
        vec![0],
        vec![0; FILE_SIZE],
        vec![0xff; FILE_SIZE],
        vec![b'1'; FILE_SIZE - 1],
        vec![0; 3 * FILE_SIZE],
        (0..FILE_SIZE).map(|i| (i * 31 % 251) as u8).collect(),
    ];
    for content in contents {
        fs::write(&path, content).unwrap();
        survives(&scratch);
        // A sampler puts it right.
        let store = store(&scratch);
        let mut publisher = store.become_publisher(0, 1).unwrap();
        publisher
            .publish(averages(PERIOD_US), TASKS, &Tracked::NONE)
            .unwrap();
        assert!(store.sampled(PERIOD_US).sampled.is_some());
        assert_eq!(fs::metadata(&path).unwrap().len(), FILE_SIZE as u64);
        let_go(publisher);
        fs::remove_file(&path).unwrap();
    }
}

/// Any user can create the (computable) name. This process may remove it, and does.
#[test]
fn things_that_are_no_files() {
    let scratch = Scratch::new("things");
    let path = file(&scratch, &IDENTITY);
    let target = scratch.0.join("target");
    fs::write(&target, "precious").unwrap();
    let things: [(&str, &dyn Fn()); 6] = [
        ("link", &|| symlink(&target, &path).unwrap()),
        // The same file under another name.
        ("hard link", &|| fs::hard_link(&target, &path).unwrap()),
        ("directory", &|| fs::create_dir(&path).unwrap()),
        ("FIFO", &|| {
            let made = std::process::Command::new("mkfifo").arg(&path).status();
            assert!(made.unwrap().success());
        }),
        ("device", &|| symlink("/dev/zero", &path).unwrap()),
        ("nothing", &|| symlink("/nonexistent", &path).unwrap()),
    ];
    for (name, make) in things {
        make();
        let found = store(&scratch).sampled(100 * PERIOD_US);
        assert_eq!((found.sampled, found.wants_sampler), (None, true), "{name}");
        survives(&scratch);
        assert!(store(&scratch).claim_start(1), "{name}");
        assert!(store(&scratch).become_publisher(0, 1).is_ok(), "{name}");
        assert!(fs::symlink_metadata(&path).unwrap().is_file(), "{name}");
        assert_eq!(fs::read(&target).unwrap(), b"precious", "{name}");
        fs::remove_file(&path).unwrap();
    }
    // A directory that is not empty stays, and the processes share nothing.
    fs::create_dir_all(path.join("full")).unwrap();
    survives(&scratch);
    assert!(!store(&scratch).claim_start(1) && store(&scratch).become_publisher(0, 1).is_err());
}

/// A second name for the state file itself changes nothing.
#[test]
fn a_hard_link_to_the_state_does_not_disable_it() {
    let scratch = Scratch::new("second-name");
    let store = store(&scratch);
    let mut publisher = store.become_publisher(0, 1).unwrap();
    fs::hard_link(file(&scratch, &IDENTITY), scratch.0.join("second")).unwrap();
    publisher
        .publish(averages(PERIOD_US), TASKS, &Tracked::NONE)
        .unwrap();
    assert!(store.sampled(PERIOD_US).sampled.is_some());
    assert!(publisher.last_read().is_some());
    assert!(store.claim_start(1));
}

/// Every user who may read the file may take a read lock on it.
#[test]
fn a_read_lock_disables_nothing() {
    let scratch = Scratch::new("lock");
    let store = store(&scratch);
    let mut accounting = Accounting::new();
    account(&store, 0, &sample(4_000_000, 0), &mut accounting);
    let stranger = fs::File::open(file(&scratch, &IDENTITY)).unwrap();
    let lock = libc::flock {
        l_type: libc::F_RDLCK as i16,
        l_whence: 0,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: the kernel reads one `struct flock`.
    let locked = unsafe { libc::fcntl(stranger.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    assert_eq!(locked, 0);

    // The next process continues the accounting that one process has written: 2 CPUs, then 1, then 2.
    for (n, cpus) in [(5, 2), (6, 1), (7, 2)] {
        let mut sample = sample(n * 1_000_000, 0);
        sample.cpus.count = cpus;
        account(&store, 0, &sample, &mut Accounting::new());
    }
    let mut accounting = Accounting::new();
    account(&store, 0, &sample(8_000_000, 0), &mut accounting);
    assert_eq!(accounting.total(), [0, 0, 0, 1500, 0]);

    assert!(store.claim_start(1));
    let mut one = store.become_publisher(PERIOD_US, 1).unwrap();
    let mut two = store.become_publisher(PERIOD_US, 2).unwrap();
    one.publish(averages(PERIOD_US), TASKS, &Tracked::NONE)
        .unwrap();
    // Of two samplers that began at once, the one that published last continues.
    assert!(
        two.publish(averages(PERIOD_US), TASKS, &Tracked::NONE)
            .is_err()
    );
    one.publish(averages(2 * PERIOD_US), TASKS, &Tracked::NONE)
        .unwrap();
    assert!(store.become_publisher(2 * PERIOD_US, 3).is_err());
    assert!(store.become_publisher(4 * PERIOD_US, 3).is_ok());
}

/// Each file keeps the memory cgroup of an ended container alive until it is removed.
#[test]
fn the_next_container_removes_the_files_of_ended_ones() {
    let scratch = Scratch::new("stale");
    let number = |name: &str| {
        let link = fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
        let link = link.to_str().unwrap().to_owned();
        let (_, number) = link.trim_end_matches(']').split_once('[').unwrap();
        number.parse::<u64>().unwrap()
    };
    let own = Identity {
        pid_namespace: number("pid"),
        ..IDENTITY
    };
    let of = |pid_namespace, start_ticks, cgroup| Identity {
        pid_namespace,
        start_ticks,
        cgroup: [1, cgroup],
        ..IDENTITY
    };
    let make = |identity: Identity| fs::write(file(&scratch, &identity), "").unwrap();
    // Ended: the number of its PID namespace is that of this process's, with another PID 1, or of another
    // namespace of this process.
    let ended = [of(number("pid"), 99, 2), of(number("mnt"), 4, 2)];
    // Perhaps alive: the same PID 1, or a number that no namespace of this process has.
    let alive = [
        of(number("pid"), 4, 9),
        of(77, 4, 2),
        // Its writer could not see the start of PID 1.
        of(number("pid"), 0, 2),
    ];
    ended.into_iter().chain(alive).for_each(make);
    for name in [
        "proclens-0123456789abcdef",
        "proclens-2-x",
        "other",
        "proclens-1-77-4-0",
    ] {
        fs::write(scratch.0.join(name), "").unwrap();
    }
    // The file of an ended container, from a library with another layout.
    let older = format!("proclens-2-{}-99-0123456789abcdef", number("pid"));
    let older = scratch.0.join(older);
    fs::write(&older, "").unwrap();
    // No process has written this file for two days.
    let old = of(78, 4, 2);
    make(old);
    let file_of = fs::File::options()
        .write(true)
        .open(file(&scratch, &old))
        .unwrap();
    let two_days = std::time::Duration::from_secs(2 * 86_400);
    file_of
        .set_modified(std::time::SystemTime::now() - two_days)
        .unwrap();

    let store = Store {
        identity: own,
        ..store(&scratch)
    };
    account(&store, 0, &sample(1_000_000, 0), &mut Accounting::new());
    assert!(file(&scratch, &own).exists());
    for gone in ended.iter().chain([&old]) {
        assert!(!file(&scratch, gone).exists(), "{gone:?}");
    }
    for stays in &alive {
        assert!(file(&scratch, stays).exists(), "{stays:?}");
    }
    assert!(!older.exists());
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 4 + 4);
}

/// The checksum of the records, which any user can compute.
fn checksum(words: &[u64]) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325u64;
    for word in words {
        sum = (sum ^ word)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(29);
    }
    let mixed = (sum ^ (sum >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

fn bytes_of(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// An accounting record for IDENTITY with a right checksum, whatever its words are.
fn crafted(sequence: u64, accounting: &[u64]) -> Vec<u8> {
    let mut head = vec![
        u64::from_be_bytes(*b"placcnt\x03"),
        1,
        2,
        3,
        4,
        5,
        6,
        0,
        sequence,
    ];
    head.push(checksum(&head));
    let mut body = accounting.to_vec();
    body.push(checksum(&body));
    [bytes_of(&head), bytes_of(&body)].concat()
}

/// A record with 4 billion CPUs and an age ahead once kept root's `cat /proc/stat` busy for 60 s.
#[test]
fn a_record_of_four_billion_cpus_is_ignored() {
    let scratch = Scratch::new("billions");
    let path = file(&scratch, &IDENTITY);
    account(&store(&scratch), 0, &sample(1, 0), &mut Accounting::new());
    let valid = fs::read(&path).unwrap();
    let at = record::accounting_at(0);
    let magic = u64::from_ne_bytes(valid[at + 80..at + 88].try_into().unwrap());
    for (cpus, age_us, shown) in [
        (u64::from(u32::MAX), 13_000_000, 0),
        (8192, 13_000_000, 0),
        (2, 30_000_000, 0),
        (2, 9_000_000, u64::MAX),
        (2, 9_000_000, 1 << 40),
        (100_000, 9_000_000, 1),
    ] {
        let rows = if cpus > 64 { 1 } else { cpus as usize };
        // Without the checksum at the end; the rows come last.
        let mut words = vec![0; cpu_time::format::size(cpus) / 8 - 1];
        let first_row = words.len() - rows * 10;
        (words[0], words[1], words[2], words[first_row]) = (magic, cpus, age_us, shown);
        let mut bytes = valid.clone();
        for slot in 0..2 {
            let record = crafted(slot + 5, &words);
            let at = record::accounting_at(slot);
            bytes[at..at + record.len()].copy_from_slice(&record);
        }
        fs::write(&path, &bytes).unwrap();
        survives(&scratch);
    }
}

/// Random records with right checksums: every accepted value is in range, and prints quickly.
/// `PROCLENS_RECORD_RUNS` sets how many.
#[test]
fn random_records_are_ignored_or_in_range() {
    let runs = std::env::var("PROCLENS_RECORD_RUNS");
    let runs = runs.map_or(100_000, |runs| runs.parse::<u64>().unwrap());
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut buffer = vec![0; record::ACCOUNTING_SIZE];
    let mut valid = Accounting::new();
    valid.first(&sample(10_000_000, 4_000_000));
    let length = record::write_accounting(&IDENTITY, 0, 1, &valid, &mut buffer)
        .unwrap()
        .len();
    let valid: Vec<u64> = buffer[80..length - 8]
        .as_chunks::<8>()
        .0
        .iter()
        .map(|word| u64::from_ne_bytes(*word))
        .collect();
    let mut other = Accounting::new();
    for run in 0..runs {
        let mut words = valid.clone();
        for _ in 0..=random() % 4 {
            let at = random() as usize % words.len();
            words[at] = match random() % 4 {
                0 => u64::MAX >> (random() % 64),
                1 => words[at].wrapping_add(random() % 64).wrapping_sub(32),
                2 => random() % 9000,
                _ => random(),
            };
        }
        let record = crafted(7, &words);
        let found = record::newest_accounting([&record, &[]], &IDENTITY);
        let now = sample(11_000_000, 5_000_000);
        for mut accounting in [Accounting::new(), other.clone()] {
            let Some(found) = found else { continue };
            let taken = if accounting.is_empty() {
                accounting.read(found.bytes)
            } else {
                accounting.join(found.bytes, Some(&now), &mut other) == Joined::Continued
            };
            if taken {
                accounting.advance(&now);
                assert!((1..=8192).contains(&accounting.cpus()), "{run}: {words:?}");
                let most = 8192 * (accounting.age_us() / 10_000 + 1);
                let total = accounting
                    .total()
                    .iter()
                    .fold(0u64, |sum, n| sum.saturating_add(*n));
                assert!(total <= most, "{run}: {total} of {most}: {words:?}");
                assert_eq!(accounting.rows().count() as u64, accounting.cpus());
            }
        }
        let load = record::sample(
            &IDENTITY,
            &Sampled {
                sequence: random(),
                averages: Averages {
                    last_sample_age_us: random() >> (random() % 64),
                    load: Load([0; 3].map(|_| random() >> (random() % 64))),
                    cpu_us: random() >> (random() % 64),
                    pressure_us: random() >> (random() % 64),
                    active: Active {
                        running: random() >> (random() % 64),
                        blocked: random() >> (random() % 64),
                    },
                    running: random() >> (random() % 64),
                    used: random() >> (random() % 64),
                },
                tasks: Tasks {
                    running: random() >> (random() % 64),
                    blocked: random() >> (random() % 64),
                    total: random() >> (random() % 64),
                },
                sampler: random(),
            },
        );
        let mut state = vec![0; record::LOAD_END];
        state[record::load_at(0)..][..load.len()].copy_from_slice(&load);
        if let Some((_, sampled)) = record::sampled(&state, &IDENTITY, 11_000_000) {
            let most = 4 << 20;
            assert!(sampled.averages.last_sample_age_us <= 11_000_000);
            assert!(
                sampled
                    .averages
                    .load
                    .0
                    .iter()
                    .all(|load| *load <= most << 11)
            );
            assert!(sampled.tasks.total <= most);
        }
    }
}

#[test]
fn a_file_of_another_user_is_ignored_and_root_replaces_it() {
    let scratch = Scratch::new("owner");
    let path = file(&scratch, &IDENTITY);
    let store = store(&scratch);
    store
        .become_publisher(0, 1)
        .unwrap()
        .publish(averages(PERIOD_US), TASKS, &Tracked::NONE)
        .unwrap();
    if std::os::unix::fs::chown(&path, Some(4711), Some(4711)).is_err() {
        eprintln!("skipped: not root: no file of another user can be made");
        return;
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let found = store.sampled(PERIOD_US);
    assert_eq!((found.sampled, found.wants_sampler), (None, true));
    let theirs = fs::File::open(&path).unwrap();
    survives(&scratch);
    assert_eq!(fs::metadata(&path).unwrap().uid(), 0);
    assert_eq!(theirs.metadata().unwrap().nlink(), 0);
    assert!(store.claim_start(1) && store.become_publisher(0, 1).is_ok());
}

#[test]
fn an_unusable_state_directory_disables_nothing() {
    for directory in ["/nonexistent", "/dev/null", "/proc/self"] {
        let store = Store {
            signals_are_blocked: false,
            directory: Some(directory.as_bytes()),
            identity: IDENTITY,
        };
        assert_eq!(store.sampled(1).sampled, None);
        assert!(!store.claim_start(1));
    }
    let long = "/x".repeat(1000);
    assert!(
        !Store {
            signals_are_blocked: false,
            directory: Some(long.as_bytes()),
            identity: IDENTITY
        }
        .claim_start(1)
    );
}

#[test]
fn every_torn_write_leaves_the_older_record() {
    let scratch = Scratch::new("torn");
    let path: &Path = &file(&scratch, &IDENTITY);
    let store = store(&scratch);
    let mut publisher = store.become_publisher(0, 1).unwrap();
    let mut last = Accounting::new();
    account(&store, 0, &sample(4_000_000, 0), &mut last);
    publisher
        .publish(averages(PERIOD_US), TASKS, &Tracked::NONE)
        .unwrap();
    let old = fs::read(path).unwrap();
    account(&store, 0, &sample(5_000_000, 0), &mut last);
    publisher
        .publish(
            averages(2 * PERIOD_US),
            Tasks {
                running: 9,
                ..TASKS
            },
            &Tracked::NONE,
        )
        .unwrap();
    let new = fs::read(path).unwrap();
    let_go(publisher);
    let changed: Vec<usize> = (0..FILE_SIZE).filter(|i| old[*i] != new[*i]).collect();
    for upto in changed.iter().step_by(5) {
        let mut torn = old.clone();
        torn[..*upto].copy_from_slice(&new[..*upto]);
        fs::write(path, &torn).unwrap();
        let Some(sampled) = store.sampled(2 * PERIOD_US).sampled else {
            panic!("{upto}")
        };
        assert!(sampled.averages == averages(PERIOD_US) || sampled.tasks.running == 9);
        let mut accounting = Accounting::new();
        account(&store, 0, &sample(6_000_000, 0), &mut accounting);
        assert_eq!(accounting.total(), [0, 0, 0, 1200, 0]);
    }
}

#[test]
fn tracked_threads_are_read_as_the_sampler_published_them() {
    let scratch = Scratch::new("tracked");
    let path: &Path = &file(&scratch, &IDENTITY);
    let store = store(&scratch);
    assert_eq!(store.tracked(0), None);
    let mut publisher = store.become_publisher(0, 1).unwrap();
    for n in 1..5 {
        let mut tracked = Tracked {
            published: PUBLISHED as u64,
            all: 100 + n,
            untracked: 7,
            ..Tracked::NONE
        };
        for (thread, id) in (1..).zip(&mut tracked.threads) {
            *id = ThreadId {
                process: u32::MAX - thread,
                thread,
            };
        }
        publisher
            .publish(averages(n * PERIOD_US), TASKS, &tracked)
            .unwrap();
        assert_eq!(store.tracked(n * PERIOD_US + 7_000_000), Some(tracked));
        // The sampler has ended, or has not started yet.
        assert_eq!(store.tracked(n * PERIOD_US + 8_000_000), None);
        assert_eq!(store.tracked(PERIOD_US - 1), None);
    }
    let_go(publisher);
    // A record with any byte changed gives no threads.
    let whole = fs::read(path).unwrap();
    let sampled = record::sampled(&whole, &IDENTITY, u64::MAX).unwrap();
    let at = record::tracked_at(sampled.0);
    for byte in at..at + record::TRACKED_SIZE {
        let mut bytes = whole.clone();
        bytes[byte] ^= 0x40;
        fs::write(path, bytes).unwrap();
        assert_eq!(store.tracked(4 * PERIOD_US), None, "{byte}");
    }
    // Impossible numbers.
    for bad in [
        Tracked {
            published: PUBLISHED as u64 + 1,
            all: 100,
            ..Tracked::NONE
        },
        Tracked {
            published: 2,
            all: 1,
            ..Tracked::NONE
        },
        Tracked {
            all: u64::MAX,
            ..Tracked::NONE
        },
        Tracked {
            untracked: u64::MAX,
            ..Tracked::NONE
        },
    ] {
        let record = record::track(&IDENTITY, 4, &bad);
        assert_eq!(record::tracked(&record, &IDENTITY, 4), None);
    }
}
