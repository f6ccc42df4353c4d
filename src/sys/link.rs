//! Finds libc's own functions without using libc. It walks the dynamic linker's list of loaded objects from
//! the one after this object, as `dlsym(RTLD_NEXT)` would, and looks the name up in each object's own hash
//! table.
//!
//! `dlsym` itself is unsuitable. It allocates and takes the linker's lock. Before glibc 2.34 it is in a
//! library that the program may not have. For a caller without version information it returns the oldest of
//! several versions. Allocators call hooked functions while they initialise, and the look-up here cannot
//! disturb them. All data that it reads is constant after start-up: libc precedes every object that the
//! program loads later, so the walk never reaches an object that could be unloaded. The exception is [`find_later`],
//! which holds the linker's lock.
//!
//! Format: System V gABI chapter 5 (dynamic section, hash table), GNU hash table, GNU symbol
//! versions.

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char, c_int, c_ulong, c_void};
use core::ptr::null;
use core::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

/// `struct r_debug` of <link.h>, the part that is the same in glibc and musl.
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
        // SAFETY: a C string that lives as long as the object. The callers use only objects that are never
        // unloaded (see `refers`; this object is preloaded).
        (!self.name.is_null()).then(|| unsafe { super::c_string::terminated(self.name) })
    }

    /// The name that the object has for those that need it.
    ///
    /// # Safety
    /// The object must stay loaded.
    unsafe fn soname(&self) -> Option<&'static CStr> {
        const DT_SONAME: i64 = 14;
        let mut entry = self.dynamic;
        // SAFETY: a dynamic section ends with DT_NULL; the name is within the strings.
        unsafe {
            let strings = Tables::of(self)?.strings;
            while (*entry).tag != 0 {
                if (*entry).tag == DT_SONAME {
                    let name = strings.wrapping_add((*entry).value);
                    return Some(super::c_string::terminated(name));
                }
                entry = entry.add(1);
            }
        }
        None
    }

    /// True if the linker never unloads the object.
    ///
    /// # Safety
    /// The object must be loaded.
    unsafe fn stays(&self) -> bool {
        const DT_FLAGS_1: i64 = 0x6fff_fffb;
        const DF_1_NODELETE: usize = 8;
        let mut entry = self.dynamic;
        // SAFETY: a dynamic section ends with DT_NULL; before it, another entry follows.
        unsafe {
            while (*entry).tag != 0 {
                if (*entry).tag == DT_FLAGS_1 {
                    return (*entry).value & DF_1_NODELETE != 0;
                }
                entry = entry.add(1);
            }
        }
        false
    }
}

impl Iterator for Objects {
    type Item = &'static Object;

    #[inline(always)]
    fn next(&mut self) -> Option<&'static Object> {
        // SAFETY: the linker's list: valid objects, each linked to the next, null at the end. Every walk
        // stops before objects that could be unloaded meanwhile.
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

/// The address that a hook calls: null until its first call, then libc's own address. If two threads look
/// it up at once, both find the same address. The value starts as zero and has no reference to the name, so
/// the dynamic linker writes nothing here at each exec.
#[repr(transparent)]
pub struct Next(AtomicPtr<()>);

impl Next {
    /// Nothing found yet.
    #[allow(clippy::new_without_default)] // for statics, which no `default()` can make
    pub const fn new() -> Next {
        Next(AtomicPtr::new(core::ptr::null_mut()))
    }

    /// The address of `name`, the same on each call; null if no object after this one defines it.
    #[inline(always)]
    pub fn address(&self, name: Name) -> *mut () {
        self.address_or(name, Next::look_up)
    }

    /// The cached address; `look_up` finds it at the first call.
    #[inline(always)]
    pub fn address_or(
        &self,
        name: Name,
        look_up: fn(&Next, text: &CStr, gnu_hash: u32) -> *mut (),
    ) -> *mut () {
        let known = self.0.load(Ordering::Relaxed);
        if known.is_null() {
            look_up(self, name.text, name.gnu_hash)
        } else {
            known
        }
    }

    /// Finds the address of the symbol with this name and this hash.
    #[cold]
    #[inline(never)]
    #[unsafe(link_section = ".text.hot")]
    pub fn look_up(&self, text: &CStr, gnu_hash: u32) -> *mut () {
        self.set(find_next(Name { text, gnu_hash }).cast_mut().cast())
    }

    /// Caches `address`. Null means that nothing is known.
    pub fn set(&self, address: *mut ()) -> *mut () {
        self.0.store(address, Ordering::Relaxed);
        address
    }
}

/// The address of `name` in the objects after this one. If this object was loaded last, in those before it.
#[unsafe(link_section = ".text.hot")]
fn find_next(name: Name) -> *const u8 {
    let (remembered, rest) = match BEHIND.get() {
        Some(behind) => (behind.tables.get(..behind.count), behind.rest()),
        None => (None, Objects(find_own().map_or(null(), |own| own.next))),
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

/// What [`find_later`] found.
#[derive(Clone, Copy)]
pub struct Later {
    /// Null if no object defines the name.
    pub address: *const u8,
    /// True if the object can never be unloaded (`-z nodelete`).
    pub stays: bool,
}

/// Finds `name` in any object, also in one that the program loaded later. Before glibc 2.34, functions for
/// threads and `dlsym` are in libraries of their own, which a plugin may bring. Only such a plugin calls the hook then,
/// and while its code runs, the library that it needs stays loaded.
///
/// Unlike every other look-up this one takes the linker's lock, so that no object goes away meanwhile. It allocates nothing.
#[cold]
#[inline(never)]
pub fn find_later(name: Name) -> Later {
    type Visit = unsafe extern "C" fn(*const libc::dl_phdr_info, usize, *mut c_void) -> c_int;
    type Iterate = unsafe extern "C" fn(Visit, *mut c_void) -> c_int;
    struct Wanted<'n> {
        name: Name<'n>,
        found: Later,
    }
    unsafe extern "C" fn visit(
        info: *const libc::dl_phdr_info,
        _size: usize,
        wanted: *mut c_void,
    ) -> c_int {
        // SAFETY: libc describes a loaded object, which it keeps during the call, and passes on the pointer that
        // it was given.
        unsafe {
            let (info, wanted) = (&*info, &mut *wanted.cast::<Wanted>());
            let headers = core::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into());
            let Some(dynamic) = headers.iter().find(|h| h.p_type == libc::PT_DYNAMIC) else {
                return 0;
            };
            let base = info.dlpi_addr as usize;
            let object = Object {
                base,
                name: null(),
                dynamic: base.wrapping_add(dynamic.p_vaddr as usize) as *const Dynamic,
                next: null(),
                previous: null(),
            };
            if object.dynamic as usize != loaded().1 {
                wanted.found = Later {
                    address: lookup(&object, &wanted.name),
                    stays: object.stays(),
                };
            }
            c_int::from(!wanted.found.address.is_null())
        }
    }
    let mut wanted = Wanted {
        name,
        found: Later {
            address: null(),
            stays: false,
        },
    };
    let iterate = find_first(const { Name::of(c"dl_iterate_phdr") });
    if !iterate.is_null() {
        // A handler that leaves with `siglongjmp` must not leave the lock taken.
        let _signals = super::signals::block();
        // SAFETY: glibc's and musl's function has this type. It calls `visit` only during this call.
        unsafe {
            core::mem::transmute::<*const u8, Iterate>(iterate)(
                visit,
                (&raw mut wanted).cast::<c_void>(),
            )
        };
    }
    wanted.found
}

/// True if an object other than this one defines `name`.
pub fn is_defined_elsewhere(name: Name) -> bool {
    !find_in(loaded().0, &name).is_null()
}

/// The address of the hook with this name in this object; null if there is none.
pub fn hook(name: Name) -> *const u8 {
    // SAFETY: the tables belong to this object.
    find_own().map_or(null(), |own| unsafe { lookup(own, &name) })
}

/// The last object that the program was started with; null until it is recorded, and always null if this
/// object was loaded later. Objects after it may be unloaded during a look-up.
static LAST_INITIAL: AtomicPtr<Object> = AtomicPtr::new(core::ptr::null_mut());

/// Records which objects the program was started with. The dynamic linker must call this before it loads
/// any more objects.
#[unsafe(link_section = ".text.hot")]
pub fn remember_initial_objects() {
    let (_, own) = loaded();
    let libc = Name::of(c"__errno_location");
    let mut seen_own = false;
    for object in loaded().0 {
        seen_own |= object.dynamic as usize == own;
        // SAFETY: an object of the list.
        if !seen_own && !unsafe { lookup(object, &libc) }.is_null() {
            return;
        }
        LAST_INITIAL.store((&raw const *object).cast_mut(), Ordering::Relaxed);
    }
}

/// The address of `name` in the first object that defines it, including the program itself. A reference
/// from any object would resolve to this address.
pub fn find_first(name: Name) -> *const u8 {
    find_in(loaded().0, &name)
}

/// True if the program has rights that its caller lacks (`AT_SECURE`: setuid, file capabilities). Its
/// environment is then untrusted.
pub fn is_secure() -> bool {
    const NO: u8 = 1;
    const YES: u8 = 2;
    static KNOWN: AtomicU8 = AtomicU8::new(0);
    let mut known = KNOWN.load(Ordering::Relaxed);
    if known == 0 {
        // If `AT_SECURE` cannot be read, the program counts as secure.
        let secure = auxiliary(libc::AT_SECURE)
            .or_else(|| {
                let _signals = super::signals::block();
                super::auxiliary_value(libc::AT_SECURE).map(|value| value as usize)
            })
            .is_none_or(|secure| secure != 0);
        known = if secure { YES } else { NO };
        KNOWN.store(known, Ordering::Relaxed);
    }
    known == YES
}

/// The address of `name` in the vDSO; null if there is no vDSO. Both libcs list the vDSO among the loaded
/// objects: glibc after the program, musl after all objects that were present at the start.
pub fn find_in_vdso(name: Name) -> *const u8 {
    let (glibc, ..) = super::arch::linker_symbols();
    let libc = Name::of(c"__errno_location");
    for object in loaded().0 {
        // SAFETY: an object of the list.
        let found = unsafe { lookup(object, &name) };
        if !found.is_null() {
            return found;
        }
        // SAFETY: an object of the list. Objects after glibc could be unloaded meanwhile; musl never
        // unloads an object.
        if glibc != 0 && !unsafe { lookup(object, &libc) }.is_null() {
            return null();
        }
    }
    null()
}

/// An entry of the kernel's auxiliary vector that every program has, getauxval(3).
pub fn auxiliary(entry: c_ulong) -> Option<usize> {
    let getauxval = find_first(const { Name::of(c"getauxval") });
    if getauxval.is_null() {
        return None;
    }
    // SAFETY: libc's function has this type, in glibc 2.16 and musl 1.1. The entry always exists, so the
    // call does not write errno.
    let getauxval =
        unsafe { core::mem::transmute::<*const u8, extern "C" fn(c_ulong) -> c_ulong>(getauxval) };
    Some(getauxval(entry) as usize)
}

/// True if `address` is in a segment of the program's image that its file declares readable.
#[cfg(feature = "preload")]
pub fn is_in_program(address: usize) -> bool {
    let (Some(start), Some(count)) = (auxiliary(libc::AT_PHDR), auxiliary(libc::AT_PHNUM)) else {
        return false;
    };
    let start = start as *const libc::Elf64_Phdr;
    if start.is_null() {
        return false;
    }
    // SAFETY: the kernel passes the address and the number of the program headers, which are part of the image.
    let headers = unsafe { core::slice::from_raw_parts(start, count) };
    // The headers' own entry tells how far the image is from the addresses in its file.
    let Some(own) = headers.iter().find(|h| h.p_type == libc::PT_PHDR) else {
        return false;
    };
    let base = (start as usize).wrapping_sub(own.p_vaddr as usize);
    let in_file = address.wrapping_sub(base) as u64;
    headers.iter().any(|h| {
        h.p_type == libc::PT_LOAD
            && h.p_flags & libc::PF_R != 0
            && in_file.wrapping_sub(h.p_vaddr) < h.p_memsz
    })
}

/// True if the program's libc is glibc, which passes argc, argv and envp to functions of DT_INIT.
#[unsafe(link_section = ".text.hot")]
pub fn is_glibc() -> bool {
    super::arch::linker_symbols().0 != 0
}

/// The address of `name` in the first of `objects` that defines it, without this object. The search stops
/// after the last object of the start, or after libc if that is unknown: the program may unload the objects
/// behind it.
fn find_in(objects: Objects, name: &Name) -> *const u8 {
    let own = loaded().1;
    let last = LAST_INITIAL.load(Ordering::Relaxed).cast_const();
    let libc = Name::of(c"__errno_location");
    for object in objects {
        if object.dynamic as usize != own {
            // SAFETY: an object of the list.
            let found = unsafe { lookup(object, name) };
            if !found.is_null() {
                return found;
            }
        }
        let is_last = if last.is_null() {
            // SAFETY: as above.
            !unsafe { lookup(object, &libc) }.is_null()
        } else {
            core::ptr::eq(object, last)
        };
        if is_last {
            break;
        }
    }
    null()
}

/// The objects after this one, up to libc. They are read once, because a program calls a dozen hooked
/// functions, and each look-up would read all their dynamic sections again.
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

// SAFETY: only the thread that took `state` from EMPTY writes `found`, before `state` is READ. All threads
// read it only after that.
unsafe impl Sync for Behind {}

/// The objects that fit into the table, in the linker's order. The rest of the linker's list follows
/// `last`.
struct Found {
    tables: [Tables; 8],
    count: usize,
    last: *const Object,
}

impl Behind {
    /// `None` while the objects are being read: by another thread, by this thread below a signal handler,
    /// or by a thread of the parent that does not exist in this forked child.
    #[unsafe(link_section = ".text.hot")]
    fn get(&self) -> Option<&Found> {
        let state = &self.state;
        if state.load(Ordering::Acquire) != READ {
            let taken =
                state.compare_exchange(EMPTY, BEING_READ, Ordering::Acquire, Ordering::Relaxed);
            if taken.is_err() {
                return None;
            }
            // SAFETY: this thread alone has taken `state`, and no thread reads before READ.
            unsafe { (*self.found.get()).read() };
            state.store(READ, Ordering::Release);
        }
        // SAFETY: `state` is READ, so nothing writes it any more.
        Some(unsafe { &*self.found.get() })
    }
}

impl Found {
    const NONE: Found = Found {
        tables: [const { Tables::NONE }; 8],
        count: 0,
        last: null(),
    };

    /// Reads no object if libc does not come after this object: the objects that do could be unloaded.
    #[unsafe(link_section = ".text.hot")]
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
            // SAFETY: the tables belong to that object.
            let is_libc = !unsafe { tables.find(&libc) }.is_null();
            if let Some(slot) = self.tables.get_mut(count) {
                *slot = tables;
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

    /// The rest of the linker's list after the objects read, up to the last one that the program was
    /// started with.
    fn rest(&self) -> Objects {
        let end = LAST_INITIAL.load(Ordering::Relaxed).cast_const();
        if end.is_null() || core::ptr::eq(self.last, end) {
            return Objects(null());
        }
        // SAFETY: an object of the list, or null.
        Objects(unsafe { self.last.as_ref() }.map_or(null(), |last| last.next))
    }
}

/// This object in the linker's list; `None` in a separate linker namespace (`dlmopen`, `LD_AUDIT`).
#[unsafe(link_section = ".text.hot")]
fn find_own() -> Option<&'static Object> {
    let (mut objects, own) = loaded();
    objects.find(|object| object.dynamic as usize == own)
}

/// The objects after this one.
fn behind_own() -> Objects {
    Objects(find_own().map_or(null(), |own| own.next))
}

/// True if an object before libc has a file name that begins with `file`, and refers to `symbol` of another
/// object. Objects before libc were present at the start and are never unloaded.
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

/// True if another copy of this library stands between this one and libc. The program then has two files of it
/// preloaded, and the copy next to libc does all the work: two would change a start time twice.
pub fn has_copy_behind() -> bool {
    let Some(own) = find_own() else {
        return false;
    };
    let libc = Name::of(c"__errno_location");
    let mut before_libc = Objects(own.next).take_while(|object| {
        // SAFETY: objects of the list; none before libc is ever unloaded.
        unsafe { lookup(object, &libc) }.is_null()
    });
    // SAFETY: as above.
    before_libc.any(|object| unsafe { object.soname() == own.soname() })
}

/// The path that the linker loaded this object from.
pub fn own_path() -> Option<&'static CStr> {
    find_own()?.path()
}

/// The linker's list and the address of our own dynamic section.
#[unsafe(link_section = ".text.hot")]
fn loaded() -> (Objects, usize) {
    let (glibc, musl, own) = super::arch::linker_symbols();
    // SAFETY: `_r_debug` is a `struct r_debug`, `_dl_debug_addr` a pointer to one. A libc has one of them,
    // and fills it before any object's code runs.
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

/// What an object's dynamic section says about its symbols, and the header of its hash table. A look-up in
/// an object that does not define the name reads only this, which is one cache line, and one word of the
/// Bloom filter.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Tables {
    base: usize,
    symbols: *const Symbol,
    strings: *const c_char,
    versions: *const u16,
    /// Null if the object has no GNU hash table.
    bloom: *const u64,
    /// The buckets of the GNU hash table. Without one, the start of the System V hash table, or null.
    buckets: *const u32,
    bucket_count: u32,
    bloom_mask: u32,
    bloom_shift: u32,
    /// The first symbol that the GNU hash table covers.
    first: u32,
}

/// A name with its hash.
#[derive(Clone, Copy)]
pub struct Name<'n> {
    text: &'n CStr,
    gnu_hash: u32,
}

impl<'n> Name<'n> {
    /// In a constant, the compiler computes the hashes.
    pub const fn of(text: &'n CStr) -> Name<'n> {
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
/// `object` must be in the linker's list.
#[unsafe(link_section = ".text.hot")]
unsafe fn lookup(object: &Object, name: &Name) -> *const u8 {
    // SAFETY: the caller guarantees it; the tables belong to a loaded object.
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

    /// `None` for an object without symbols.
    ///
    /// # Safety
    /// `object` must be in the linker's list.
    #[unsafe(link_section = ".text.hot")]
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
            // glibc adds the base to these pointers in place; musl and the vDSO do not. An offset into the
            // object is less than its base, and an address is not.
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
            // SAFETY: this is not the last entry, so another one follows.
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

    /// True if this object refers to the undefined symbol `name`. With a GNU hash table, the undefined
    /// symbols come before the first symbol that the table covers.
    ///
    /// # Safety
    /// The tables must belong to a loaded object.
    unsafe fn refer_to(&self, name: &CStr) -> bool {
        // SAFETY: all symbols below the hash table's first one are within the symbol table, and their names
        // are within the strings. Without a GNU hash table there are no such symbols.
        unsafe {
            (1..self.first).any(|index| {
                let symbol = &*self.symbols.add(index as usize);
                let text = self.strings.add(symbol.name as usize);
                symbol.section == 0 && super::c_string::terminated(text) == name
            })
        }
    }

    /// The address of this object's definition of `name`.
    ///
    /// # Safety
    /// The tables must belong to a loaded object.
    #[unsafe(link_section = ".text.hot")]
    unsafe fn find(&self, name: &Name) -> *const u8 {
        // SAFETY: the caller guarantees it.
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
    /// As for [`Tables::find`]. The object must have a GNU hash table.
    #[unsafe(link_section = ".text.hot")]
    unsafe fn by_gnu_hash(&self, name: &Name) -> *const u8 {
        let hash = name.gnu_hash;
        // SAFETY: the header's own counts or the chain's end mark bound every index below.
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
    /// As for [`Tables::find`]. The object must have a System V hash table.
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

    /// The address of symbol `index` if a new reference to `name` would resolve to it: defined, global or
    /// weak, a function or an object, and not an older version.
    ///
    /// # Safety
    /// `index` must be within the symbol table.
    #[unsafe(link_section = ".text.hot")]
    unsafe fn accept(&self, index: u32, name: &CStr) -> *const u8 {
        const HIDDEN_VERSION: u16 = 0x8000;
        // SAFETY: the caller guarantees the index; strings are within the string table.
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
