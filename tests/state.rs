//! The shared state between processes of a container, and against what strangers leave in its
//! place.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use proclens::ledger::{Ledger, Sample};
use proclens::load::{Active, Averages, PERIOD_US};
use proclens::snapshot::{CpuList, CpuTime, Cpus, Load, Tasks};
use proclens::state::record::{self, FILE_SIZE, Identity, Sampled};
use proclens::state::{Held, Store};
use proclens::sys::Errno;
use proclens::sys::memory::Arena;
use proclens::text::Out;

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
        directory: Some(scratch.bytes()),
        identity: IDENTITY,
    }
}

fn file(scratch: &Scratch, identity: &Identity) -> PathBuf {
    let mut room = [0; 64];
    let mut out = Out::new(&mut room);
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

/// As the end of the sampler does. To close the file is not enough here: a child that another test
/// is just about to start may have it still.
fn let_go(held: Held) {
    held.release();
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
        },
        time: CpuTime {
            user_us,
            nice_us: 0,
            system_us: 0,
            per_cpu: None,
            throttled_us: 0,
            nr_throttled: 0,
            throttled_at: 0,
        },
        host: None,
    }
}

/// Enters a reading.
fn account(store: &Store<'_>, key: u64, sample: &Sample<'_>, ledger: &mut Ledger) {
    let mut room = vec![0; 2 * record::LEDGERS_SIZE];
    let arena = Arena::new(&mut room);
    store.account(key, sample, ledger, arena).expect("room");
}

/// What every reader and writer must survive. Answers are as without shared state, or right.
fn survives(scratch: &Scratch) {
    let store = store(scratch);
    let found = store.sampled(100 * PERIOD_US);
    assert_eq!(found.sampled, None);
    let mut ledger = Ledger::new();
    account(&store, 0, &sample(10_000_000, 4_000_000), &mut ledger);
    assert_eq!(ledger.total(), [400, 0, 0, 1600, 0]);
    account(&store, 0, &sample(11_000_000, 5_000_000), &mut ledger);
    assert_eq!(ledger.total(), [500, 0, 0, 1700, 0]);
}

#[test]
fn what_the_sampler_leaves_is_what_all_read() {
    let scratch = Scratch::new("leaves");
    let store = store(&scratch);
    assert!(store.sampled(0).wants_sampler);
    let mut held = store.hold(1000).unwrap();
    assert_eq!(*held.averages(), Averages::default());
    for n in 1..10 {
        held.leave(averages(n * PERIOD_US), TASKS).unwrap();
        let found = store.sampled(n * PERIOD_US + 7_000_000);
        let Some(Sampled {
            averages: read,
            tasks,
            sequence,
        }) = found.sampled
        else {
            panic!()
        };
        assert_eq!((read, tasks, sequence), (averages(n * PERIOD_US), TASKS, n));
        assert!(!found.wants_sampler);
    }
    // Silent for a period and a half.
    assert!(store.sampled(9 * PERIOD_US + 7_500_000).wants_sampler);
    // Readable by everybody, written by its owner.
    let path = file(&scratch, &IDENTITY);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o644);
    assert_eq!(fs::metadata(&path).unwrap().len(), FILE_SIZE as u64);
    // The next one goes on from there.
    let_go(held);
    let held = store.hold(10 * PERIOD_US).unwrap();
    assert_eq!(*held.averages(), averages(9 * PERIOD_US));
}

#[test]
fn one_holds_and_one_claims() {
    let scratch = Scratch::new("claims");
    let store = store(&scratch);
    let held = store.hold(0).unwrap();
    assert!(store.hold(0).is_err());
    let_go(held);
    assert!(store.hold(0).is_ok());

    assert!(store.claim(1_000_000));
    assert!(!store.claim(1_000_000));
    assert!(!store.claim(10_900_000));
    assert!(!store.sampled(10_900_000).wants_sampler);
    assert!(store.sampled(11_000_000).wants_sampler);
    assert!(store.claim(11_000_000));
    // A claim from the future is none.
    assert!(store.claim(5_000_000));
}

#[test]
fn many_at_once_make_one_claim() {
    let scratch = Scratch::new("many");
    let claims: u32 = std::thread::scope(|scope| {
        let all: Vec<_> = (0..64)
            .map(|_| scope.spawn(|| u32::from(store(&scratch).claim(1_000_000))))
            .collect();
        all.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(claims, 1);
}

#[test]
fn containers_do_not_meet() {
    let scratch = Scratch::new("meet");
    let mut held = store(&scratch).hold(0).unwrap();
    held.leave(averages(PERIOD_US), TASKS).unwrap();
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
        // Not even on the very file.
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
        // Each time another process.
        let mut ledger = Ledger::new();
        let odd = (n * 7919) % 10_000;
        account(
            &store,
            0,
            &sample(n * 333_333, n * 100_000 + odd),
            &mut ledger,
        );
        let total = ledger.total();
        assert!(total.iter().zip(before).all(|(now, then)| *now >= then));
        assert_eq!(total.iter().sum::<u64>(), 2 * (n * 333_333 / 10_000));
        before = total;
    }
    // A process of other settings has its own.
    let mut other = Ledger::new();
    account(&store, 1, &sample(50 * 333_333, 1_000_000), &mut other);
    assert_eq!(other.total()[0], 100);
    let mut ledger = Ledger::new();
    account(&store, 0, &sample(50 * 333_333, 50 * 100_000), &mut ledger);
    assert!(
        ledger
            .total()
            .iter()
            .zip(before)
            .all(|(now, then)| *now >= then)
    );
    // When nobody continued the first ones for long, theirs is the place.
    let mut other = Ledger::new();
    account(&store, 1, &sample(100_000_000, 1_000_000), &mut other);
    let mut again = Ledger::new();
    account(&store, 1, &sample(101_000_000, 1_000_000), &mut again);
    assert_eq!(again.total()[3] - other.total()[3], 200);
}

/// A process that may read what the others enter but enters nothing itself, and one that may enter but did
/// not get to it: nothing that they said goes back, and they join the others where they can.
#[test]
fn what_was_said_and_not_entered_does_not_go_back() {
    let scratch = Scratch::new("reader");
    let store = store(&scratch);
    let nowhere = Store {
        directory: Some(b"/nonexistent"),
        ..store
    };
    let busy = |ms: u64| ms * 700 + (ms * 7919) % 5_000;
    let at = |ms: u64| sample(ms * 1000, busy(ms));
    let (mut writer, mut reader) = (Ledger::new(), Ledger::new());
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
    // Left alone for a second, both say the same.
    account(&store, 0, &at(60_000), &mut writer);
    account(&store, 0, &at(60_000), &mut reader);
    assert_eq!(reader.total(), writer.total());
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
        let mut other = Ledger::new();
        account(&store, 0, &of(cpus, 4_000_000), &mut other);
        let mut ledger = Ledger::new();
        account(&store, 0, &of(1, 5_000_000), &mut ledger);
        // All that the other one said is in the one row, and a second more.
        let sum = |ledger: &Ledger| ledger.total().iter().sum::<u64>();
        assert_eq!(sum(&ledger), sum(&other) + 100, "{cpus}");
        fs::remove_file(file(&scratch, &IDENTITY)).unwrap();
    }
}

#[test]
fn without_room_nothing_is_done() {
    let scratch = Scratch::new("room");
    let mut ledger = Ledger::new();
    let arena = Arena::new(&mut []);
    let entered = store(&scratch).account(0, &sample(10_000_000, 0), &mut ledger, arena);
    assert_eq!(entered, Err(Errno::NO_ROOM));
    assert!(ledger.is_empty());
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
        let mut held = store.hold(0).unwrap();
        held.leave(averages(PERIOD_US), TASKS).unwrap();
        assert!(store.sampled(PERIOD_US).sampled.is_some());
        assert_eq!(fs::metadata(&path).unwrap().len(), FILE_SIZE as u64);
        let_go(held);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn things_that_are_no_files() {
    let scratch = Scratch::new("things");
    let path = file(&scratch, &IDENTITY);
    let target = scratch.0.join("target");

    fs::write(&target, "precious").unwrap();
    symlink(&target, &path).unwrap();
    survives(&scratch);
    assert!(!store(&scratch).claim(1) && store(&scratch).hold(0).is_err());
    fs::remove_file(&path).unwrap();

    // The same file under another name.
    fs::hard_link(&target, &path).unwrap();
    survives(&scratch);
    assert!(!store(&scratch).claim(1) && store(&scratch).hold(0).is_err());
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    fs::remove_file(&path).unwrap();

    fs::create_dir(&path).unwrap();
    survives(&scratch);
    assert!(!store(&scratch).claim(1) && store(&scratch).hold(0).is_err());
    fs::remove_dir(&path).unwrap();

    assert!(
        std::process::Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    survives(&scratch);
    assert!(!store(&scratch).claim(1) && store(&scratch).hold(0).is_err());
    fs::remove_file(&path).unwrap();

    symlink("/dev/zero", &path).unwrap();
    survives(&scratch);
    fs::remove_file(&path).unwrap();
}

#[test]
fn a_file_of_another_user_is_not_believed_and_root_replaces_it() {
    let scratch = Scratch::new("owner");
    let path = file(&scratch, &IDENTITY);
    let store = store(&scratch);
    store
        .hold(0)
        .unwrap()
        .leave(averages(PERIOD_US), TASKS)
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
    assert!(store.claim(1) && store.hold(0).is_ok());
}

#[test]
fn a_directory_that_is_none() {
    for directory in ["/nonexistent", "/dev/null", "/proc/self"] {
        let store = Store {
            directory: Some(directory.as_bytes()),
            identity: IDENTITY,
        };
        assert_eq!(store.sampled(1).sampled, None);
        assert!(!store.claim(1));
    }
    let long = "/x".repeat(1000);
    assert!(
        !Store {
            directory: Some(long.as_bytes()),
            identity: IDENTITY
        }
        .claim(1)
    );
}

#[test]
fn every_torn_write_leaves_the_older_record() {
    let scratch = Scratch::new("torn");
    let path: &Path = &file(&scratch, &IDENTITY);
    let store = store(&scratch);
    let mut held = store.hold(0).unwrap();
    let mut last = Ledger::new();
    account(&store, 0, &sample(4_000_000, 0), &mut last);
    held.leave(averages(PERIOD_US), TASKS).unwrap();
    let old = fs::read(path).unwrap();
    account(&store, 0, &sample(5_000_000, 0), &mut last);
    held.leave(
        averages(2 * PERIOD_US),
        Tasks {
            running: 9,
            ..TASKS
        },
    )
    .unwrap();
    let new = fs::read(path).unwrap();
    let_go(held);
    let changed: Vec<usize> = (0..FILE_SIZE).filter(|i| old[*i] != new[*i]).collect();
    for upto in changed.iter().step_by(5) {
        let mut torn = old.clone();
        torn[..*upto].copy_from_slice(&new[..*upto]);
        fs::write(path, &torn).unwrap();
        let Some(sampled) = store.sampled(2 * PERIOD_US).sampled else {
            panic!("{upto}")
        };
        assert!(sampled.averages == averages(PERIOD_US) || sampled.tasks.running == 9);
        let mut ledger = Ledger::new();
        account(&store, 0, &sample(6_000_000, 0), &mut ledger);
        assert_eq!(ledger.total(), [0, 0, 0, 1200, 0]);
    }
}
