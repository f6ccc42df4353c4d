//! libc's own functions, found without libc: the dynamic linker's list of loaded objects is
//! walked from behind this object, as `dlsym(RTLD_NEXT)` would, and each object's own hash table
//! is asked.
//!
//! `dlsym` itself is no way: it allocates, it takes the linker's lock, before glibc 2.34 it
//! lives in a library that the program may not have, and for a caller without version
//! information it picks the oldest of several versions. Allocators call hooked functions while
//! they initialise; nothing here would notice. What is read never changes after start-up: libc
//! stands before any object that the program loads later, so the walk never meets one that
//! could go away.
//!
//! Format: System V gABI chapter 5 (dynamic section, hash table), GNU hash table, GNU symbol
//! versions.

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char, c_int, c_ulong};
use core::ptr::null;
use core::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

/// `struct r_debug` of <link.h>, as far as it is the same in glibc and musl.
#[repr(C)]
struct Debug {
    version: c_int,
    objects: *const Object,
}

/// `struct link_map` of <link.h>.
#[repr(C)]
struct Object {
    base: usize,
    name: *const c_char,
    dynamic: *const Dynamic,
    next: *const Object,
    previous: *const Object,
}

/// Part of the linker's list, from one object to its end.
struct Objects(*const Object);

impl Object {
    /// The path of its file; empty for the program.
    fn path(&self) -> Option<&'static CStr> {
        // SAFETY: a C string that lives as long as the object, which is none that could be unloaded
        // (see `refers`; this one is preloaded).
        (!self.name.is_null()).then(|| unsafe { super::memory::terminated(self.name) })
    }
}

impl Iterator for Objects {
    type Item = &'static Object;

    #[inline(always)]
    fn next(&mut self) -> Option<&'static Object> {
        // SAFETY: the linker's list: valid objects, each linked to the next, null at the end. Whoever
        // walks it stops before what could be unloaded meanwhile.
        let object = unsafe { self.0.as_ref() }?;
        self.0 = object.next;
        Some(object)
    }
}

#[repr(C)]
struct Dynamic {
    tag: i64,
    value: usize,
}

#[repr(C)]
struct Symbol {
    name: u32,
    info: u8,
    other: u8,
    section: u16,
    value: usize,
    size: usize,
}

/// Where a hooked function goes on: empty until its first call, then libc's own address. Two
/// threads that come first find the same. Zero at start, and without the name: nothing for the
/// dynamic linker to write at every exec.
#[repr(transparent)]
pub struct Next(AtomicPtr<()>);

impl Next {
    /// Nothing found yet.
    #[allow(clippy::new_without_default)] // for statics, which no `default()` can make
    pub const fn new() -> Next {
        Next(AtomicPtr::new(core::ptr::null_mut()))
    }

    /// The address of `name`, the same at each call; null where no object behind this one has it.
    #[inline(always)]
    pub fn address(&self, name: Name) -> *mut () {
        let found = self.0.load(Ordering::Relaxed);
        if found.is_null() {
            self.look_up(name.text, name.gnu_hash)
        } else {
            found
        }
    }

    #[cold]
    #[inline(never)]
    #[unsafe(link_section = ".text.near")]
    fn look_up(&self, text: &'static CStr, gnu_hash: u32) -> *mut () {
        let address = find_next(Name { text, gnu_hash }).cast_mut().cast();
        self.0.store(address, Ordering::Relaxed);
        address
    }
}

/// The address of `name` in the objects behind this one, or, if this object was loaded last, in
/// those before it.
#[unsafe(link_section = ".text.near")]
fn find_next(name: Name) -> *const u8 {
    let (remembered, rest) = match BEHIND.get() {
        Some(behind) => (behind.tables.get(..behind.count), behind.rest()),
        None => (None, behind_own()),
    };
    for tables in remembered.unwrap_or_default() {
        // SAFETY: objects that never go away.
        let found = unsafe { tables.find(&name) };
        if !found.is_null() {
            return found;
        }
    }
    let found = find_in(rest, &name);
    if found.is_null() {
        find_in(loaded().0, &name)
    } else {
        found
    }
}

/// The address of `name` in the first object that has it, the program itself included: what a
/// reference from any object would mean.
pub fn find_first(name: Name) -> *const u8 {
    find_in(loaded().0, &name)
}

/// Whether the program runs with rights that its caller has not (`AT_SECURE`: setuid, file
/// capabilities): then its environment is a stranger's.
pub fn is_secure() -> bool {
    const NO: u8 = 1;
    const YES: u8 = 2;
    static KNOWN: AtomicU8 = AtomicU8::new(0);
    let mut known = KNOWN.load(Ordering::Relaxed);
    if known == 0 {
        let getauxval = find_first(const { Name::of(c"getauxval") });
        let secure = !getauxval.is_null() && {
            // SAFETY: libc's function of this type, glibc 2.16 and musl 1.1; what it is asked for is
            // always there, so that it leaves errno alone.
            let getauxval = unsafe {
                core::mem::transmute::<*const u8, extern "C" fn(c_ulong) -> c_ulong>(getauxval)
            };
            getauxval(libc::AT_SECURE) != 0
        };
        known = if secure { YES } else { NO };
        KNOWN.store(known, Ordering::Relaxed);
    }
    known == YES
}

/// The address of `name` in the first of `objects` that has it, this one left out.
fn find_in(objects: Objects, name: &Name) -> *const u8 {
    let own = loaded().1;
    for object in objects {
        if object.dynamic as usize != own {
            // SAFETY: an object of the list.
            let found = unsafe { lookup(object, name) };
            if !found.is_null() {
                return found;
            }
        }
    }
    null()
}

/// The objects behind this one, from the next to libc: read once, because a program calls a dozen
/// hooked functions, and each would read all their dynamic sections again.
static BEHIND: Behind = Behind {
    state: AtomicU8::new(EMPTY),
    found: UnsafeCell::new(Found::NONE),
};

const EMPTY: u8 = 0;
const BEING_READ: u8 = 1;
const READ: u8 = 2;

struct Behind {
    state: AtomicU8,
    found: UnsafeCell<Found>,
}

// SAFETY: `found` is written by the one that took `state` from EMPTY, before it is READ, and read only
// after that.
unsafe impl Sync for Behind {}

/// The objects that fit, in the linker's order; the rest of its list follows `last`.
struct Found {
    tables: [Tables; 16],
    count: usize,
    last: *const Object,
}

impl Behind {
    /// None while another thread (or this one, below a signal handler; or a parent whose thread did not
    /// come along) is reading them.
    #[unsafe(link_section = ".text.near")]
    fn get(&self) -> Option<&Found> {
        let state = &self.state;
        if state.load(Ordering::Acquire) != READ {
            let taken =
                state.compare_exchange(EMPTY, BEING_READ, Ordering::Acquire, Ordering::Relaxed);
            if taken.is_err() {
                return None;
            }
            // SAFETY: nobody else has taken it, nobody reads before READ.
            unsafe { (*self.found.get()).read() };
            state.store(READ, Ordering::Release);
        }
        // SAFETY: READ, so it is not written any more.
        Some(unsafe { &*self.found.get() })
    }
}

impl Found {
    const NONE: Found = Found {
        tables: [const { Tables::NONE }; 16],
        count: 0,
        last: null(),
    };

    /// None of them where libc does not stand behind this object: what does could be unloaded.
    #[unsafe(link_section = ".text.near")]
    fn read(&mut self) {
        let libc = Name::of(c"__errno_location");
        let own = find_own();
        self.last = own.map_or(null(), |own| own);
        let mut last = self.last;
        let mut count = 0usize;
        for object in behind_own() {
            // SAFETY: an object of the list.
            let Some(tables) = (unsafe { Tables::of(object) }) else {
                continue;
            };
            // SAFETY: its tables.
            let is_libc = !unsafe { tables.find(&libc) }.is_null();
            if let Some(room) = self.tables.get_mut(count) {
                *room = tables;
                count = count.wrapping_add(1);
                last = object;
            }
            if is_libc {
                self.count = count;
                self.last = last;
                return;
            }
        }
    }

    /// What the linker's list goes on with.
    fn rest(&self) -> Objects {
        // SAFETY: an object of the list, or null.
        Objects(unsafe { self.last.as_ref() }.map_or(null(), |last| last.next))
    }
}

/// This object in the linker's list; none in a namespace of its own (`dlmopen`, `LD_AUDIT`).
#[unsafe(link_section = ".text.near")]
fn find_own() -> Option<&'static Object> {
    let (mut objects, own) = loaded();
    objects.find(|object| object.dynamic as usize == own)
}

/// The objects behind this one.
fn behind_own() -> Objects {
    Objects(find_own().map_or(null(), |own| own.next))
}

/// True if an object that stands before libc, so that it was there from the start and stays, has a
/// file name that begins with `file` and refers to `symbol` of another one.
pub fn refers(file: &[u8], symbol: &CStr) -> bool {
    let libc = Name::of(c"__errno_location");
    for object in loaded().0 {
        // SAFETY: an object of the list.
        let is_libc = !unsafe { lookup(object, &libc) }.is_null();
        if is_libc {
            return false;
        }
        let path = object.path().map_or(&b""[..], CStr::to_bytes);
        let last = memchr::memrchr(b'/', path).map_or(0, |slash| slash.wrapping_add(1));
        if path.get(last..).is_some_and(|name| name.starts_with(file)) {
            // SAFETY: as above.
            return unsafe { Tables::of(object).is_some_and(|t| t.refer_to(symbol)) };
        }
    }
    false
}

/// The path of the file that this object was loaded from, as the linker was told it.
pub fn own_path() -> Option<&'static CStr> {
    find_own()?.path()
}

/// The linker's list and the address of our own dynamic section.
#[unsafe(link_section = ".text.near")]
fn loaded() -> (Objects, usize) {
    let (glibc, musl, own) = super::arch::linker_symbols();
    // SAFETY: `_r_debug` is a `struct r_debug`, `_dl_debug_addr` a pointer to one; a libc has one
    // of them, and it is filled in before any object's code runs.
    let objects = unsafe {
        let debug = if glibc != 0 {
            glibc as *const Debug
        } else if musl != 0 {
            *(musl as *const *const Debug)
        } else {
            null()
        };
        debug.as_ref().map_or(null(), |d| d.objects)
    };
    (Objects(objects), own)
}

/// What one object's dynamic section says of its symbols, and the head of its hash table: all that a
/// look-up needs of an object that has not the name is this, one line of a cache, and one word of the
/// Bloom filter.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Tables {
    base: usize,
    symbols: *const Symbol,
    strings: *const c_char,
    versions: *const u16,
    /// Null: it has no GNU hash table.
    bloom: *const u64,
    /// Of the GNU hash table; without one, where the System V one begins, or null.
    buckets: *const u32,
    bucket_count: u32,
    bloom_mask: u32,
    bloom_shift: u32,
    /// The first symbol that is in the GNU hash table.
    first: u32,
}

/// A name with its hash.
#[derive(Clone, Copy)]
pub struct Name {
    text: &'static CStr,
    gnu_hash: u32,
}

impl Name {
    /// For a constant: then nothing is left to compute.
    pub const fn of(text: &'static CStr) -> Name {
        let mut gnu_hash = 5381u32;
        let mut rest = text.to_bytes();
        while let [byte, more @ ..] = rest {
            gnu_hash = gnu_hash.wrapping_mul(33).wrapping_add(*byte as u32);
            rest = more;
        }
        Name { text, gnu_hash }
    }
}

/// # Safety
/// `object` must be one of the linker's list.
#[unsafe(link_section = ".text.near")]
unsafe fn lookup(object: &Object, name: &Name) -> *const u8 {
    // SAFETY: the caller's; the tables of a loaded object.
    unsafe { Tables::of(object).map_or(null(), |tables| tables.find(name)) }
}

impl Tables {
    const NONE: Tables = Tables {
        base: 0,
        symbols: null(),
        strings: null(),
        versions: null(),
        bloom: null(),
        buckets: null(),
        bucket_count: 0,
        bloom_mask: 0,
        bloom_shift: 0,
        first: 0,
    };

    /// None for an object without symbols.
    ///
    /// # Safety
    /// `object` must be one of the linker's list.
    #[unsafe(link_section = ".text.near")]
    unsafe fn of(object: &Object) -> Option<Tables> {
        const DT_HASH: i64 = 4;
        const DT_STRTAB: i64 = 5;
        const DT_SYMTAB: i64 = 6;
        const DT_GNU_HASH: i64 = 0x6fff_fef5;
        const DT_VERSYM: i64 = 0x6fff_fff0;
        let mut tables = Tables {
            base: object.base,
            ..Tables::NONE
        };
        let mut gnu_hash = null::<u32>();
        let mut entry = object.dynamic;
        // SAFETY: a dynamic section ends with DT_NULL.
        while let Some(d) = unsafe { entry.as_ref() } {
            // glibc adds the base to these pointers in place, musl and the vDSO do not: an offset into
            // the object is below its base, an address is not.
            let address = if d.value < object.base {
                d.value.wrapping_add(object.base)
            } else {
                d.value
            };
            match d.tag {
                0 => break,
                DT_HASH => tables.buckets = address as *const u32,
                DT_STRTAB => tables.strings = address as *const c_char,
                DT_SYMTAB => tables.symbols = address as *const Symbol,
                DT_GNU_HASH => gnu_hash = address as *const u32,
                DT_VERSYM => tables.versions = address as *const u16,
                _ => {}
            }
            // SAFETY: not the last entry, so there is one more.
            entry = unsafe { entry.add(1) };
        }
        if !gnu_hash.is_null() {
            // SAFETY: header (4 words), Bloom filter (words of 64 bits, a power of two of them), buckets,
            // chains.
            unsafe {
                let words = *gnu_hash.add(2);
                let bloom = gnu_hash.add(4);
                tables.bucket_count = *gnu_hash;
                tables.first = *gnu_hash.add(1);
                tables.bloom = bloom.cast();
                tables.bloom_mask = words.wrapping_sub(1);
                tables.bloom_shift = *gnu_hash.add(3);
                tables.buckets = bloom.add(words as usize * 2);
                if words == 0 || tables.bucket_count == 0 {
                    return None;
                }
            }
        }
        (!tables.symbols.is_null() && !tables.strings.is_null()).then_some(tables)
    }

    /// True if `name` is among what this object wants of others: in a GNU hash table's object the
    /// symbols before the first one that it covers.
    ///
    /// # Safety
    /// The tables must be those of a loaded object.
    unsafe fn refer_to(&self, name: &CStr) -> bool {
        // SAFETY: all symbols below the first one of the hash table are within the symbol table, their
        // names within the strings; without a GNU hash table there are none.
        unsafe {
            (1..self.first).any(|index| {
                let symbol = &*self.symbols.add(index as usize);
                let text = self.strings.add(symbol.name as usize);
                symbol.section == 0 && super::memory::terminated(text) == name
            })
        }
    }

    /// The address of what this object defines as `name`.
    ///
    /// # Safety
    /// The tables must be those of a loaded object.
    #[unsafe(link_section = ".text.near")]
    unsafe fn find(&self, name: &Name) -> *const u8 {
        // SAFETY: the caller's.
        unsafe {
            if !self.bloom.is_null() {
                self.by_gnu_hash(name)
            } else if !self.buckets.is_null() {
                self.by_sysv_hash(name.text)
            } else {
                null()
            }
        }
    }

    /// # Safety
    /// As [`Tables::find`], and there must be such a hash table.
    #[unsafe(link_section = ".text.near")]
    unsafe fn by_gnu_hash(&self, name: &Name) -> *const u8 {
        let hash = name.gnu_hash;
        // SAFETY: every index below is bounded by the header's own counts or by the chain's end mark.
        unsafe {
            let word = self.bloom.add(((hash / 64) & self.bloom_mask) as usize);
            let both = 1u64 << (hash % 64) | 1u64 << (hash.wrapping_shr(self.bloom_shift) % 64);
            if word.read_unaligned() & both != both {
                return null();
            }
            let bucket = hash.checked_rem(self.bucket_count).unwrap_or(0);
            let mut index = *self.buckets.add(bucket as usize);
            if index < self.first {
                return null();
            }
            let chain = self.buckets.add(self.bucket_count as usize);
            loop {
                let entry = *chain.add((index - self.first) as usize);
                if (entry | 1) == (hash | 1) {
                    let found = self.accept(index, name.text);
                    if !found.is_null() {
                        return found;
                    }
                }
                if entry & 1 != 0 {
                    return null();
                }
                index = index.wrapping_add(1);
            }
        }
    }

    /// # Safety
    /// As [`Tables::find`], and there must be such a hash table.
    unsafe fn by_sysv_hash(&self, name: &CStr) -> *const u8 {
        let hash = name.to_bytes().iter().fold(0u32, |h, b| {
            let h = h.wrapping_shl(4).wrapping_add(u32::from(*b));
            let high = h & 0xf000_0000;
            (h ^ (high >> 24)) & !high
        });
        // SAFETY: bucket count, chain count, buckets, chains; a chain ends with index 0.
        unsafe {
            let t = self.buckets;
            let (buckets, chains) = (*t, *t.add(1));
            if buckets == 0 {
                return null();
            }
            let mut index = *t.add(2).add((hash % buckets) as usize);
            while index != 0 && index < chains {
                let found = self.accept(index, name);
                if !found.is_null() {
                    return found;
                }
                index = *t.add(2).add(buckets as usize).add(index as usize);
            }
        }
        null()
    }

    /// The address of symbol `index` if it is a definition of `name` that a new reference would
    /// get: defined, global or weak, a function or an object, and not an older version.
    ///
    /// # Safety
    /// `index` must be within the symbol table.
    #[unsafe(link_section = ".text.near")]
    unsafe fn accept(&self, index: u32, name: &CStr) -> *const u8 {
        const HIDDEN_VERSION: u16 = 0x8000;
        // SAFETY: the caller's; strings are within the string table.
        unsafe {
            let symbol = &*self.symbols.add(index as usize);
            let (binding, kind) = (symbol.info >> 4, symbol.info & 15);
            let defined = symbol.section != 0 && symbol.value != 0;
            if !defined || !matches!(binding, 1 | 2) || kind > 2 {
                return null();
            }
            if !self.versions.is_null() && *self.versions.add(index as usize) & HIDDEN_VERSION != 0
            {
                return null();
            }
            let text = self.strings.add(symbol.name as usize).cast::<u8>();
            if name
                .to_bytes_with_nul()
                .iter()
                .enumerate()
                .any(|(i, b)| *text.add(i) != *b)
            {
                return null();
            }
            self.base.wrapping_add(symbol.value) as *const u8
        }
    }
}
