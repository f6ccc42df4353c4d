//! C strings of the program: a path, an argument, the environment.

use super::is_memory;
use core::ffi::{CStr, c_char};

const PAGE: usize = 4096;

/// Returns a C string of the program. Reads no word that the string does not reach: valgrind would report it.
/// This does not use `CStr::from_ptr`, which calls the program's `strlen`.
///
/// # Safety
/// `text` must point to a string that ends with a NUL and stays as it is for `'t`.
#[unsafe(link_section = ".text.hot")]
pub unsafe fn terminated<'t>(text: *const c_char) -> &'t CStr {
    let start = text.cast::<u8>();
    let mut next = start;
    loop {
        // SAFETY: the string has not ended before `next`, so that byte is mapped.
        match unsafe { end_on_page(next) } {
            // SAFETY: the string reaches from `start` to the NUL at `end`.
            Some(end) => unsafe {
                let length = (end as usize).wrapping_sub(start as usize).wrapping_add(1);
                let whole = core::slice::from_raw_parts(start, length);
                return CStr::from_bytes_with_nul_unchecked(whole);
            },
            None => next = after_page(next),
        }
    }
}

/// Where the string that `text` is a part of has its NUL, if that is on the page of `text`.
///
/// # Safety
/// `text` must be readable.
#[inline]
unsafe fn end_on_page(text: *const u8) -> Option<*const u8> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let before = text as usize % 8;
    let mut next = text.wrapping_sub(before).cast::<u64>();
    // The bytes in front of the string are overwritten, because one of them may be zero.
    let mut cover = (1u64 << (8 * before)).wrapping_sub(1);
    loop {
        // SAFETY: aligned words do not cross a page, and no NUL is in those between `text` and this one, so at
        // least one byte of this word is the string's.
        let word = u64::from_le(unsafe { next.read() }) | cover;
        cover = 0;
        // The lowest bit belongs to the first byte that is zero.
        let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if zeros != 0 {
            let at = zeros.trailing_zeros() / 8;
            return Some(next.cast::<u8>().wrapping_add(at as usize));
        }
        next = next.wrapping_add(1);
        if (next as usize).is_multiple_of(PAGE) {
            return None;
        }
    }
}

/// The first byte of the next page.
fn after_page(text: *const u8) -> *const u8 {
    text.wrapping_add(PAGE - text as usize % PAGE)
}

/// True if a list of C strings that ends with a null pointer is readable: the list itself and all its
/// strings. An address for which `is_readable` is false costs one system call for each page. The page of the list and
/// the last few pages of strings are remembered.
pub fn is_list_of_strings(list: *const *const c_char, is_readable: impl Fn(usize) -> bool) -> bool {
    const REMEMBERED: usize = 16;
    /// A page that no address is on.
    const NONE: usize = usize::MAX;
    let is_there = |address: usize, known: &mut usize| {
        let page = address / PAGE;
        if *known != page && !is_readable(address) && !is_memory(address) {
            return false;
        }
        *known = page;
        true
    };
    let (mut page_of_list, mut pages) = (NONE, [NONE; REMEMBERED]);
    let mut next = list;
    loop {
        if !next.is_aligned() || !is_there(next as usize, &mut page_of_list) {
            return false;
        }
        // SAFETY: that page is readable, and an aligned pointer does not cross into another page.
        let mut text = unsafe { *next }.cast::<u8>();
        if text.is_null() {
            return true;
        }
        next = next.wrapping_add(1);
        loop {
            let known = pages.get_mut(text as usize / PAGE % REMEMBERED);
            if !known.is_some_and(|known| is_there(text as usize, known)) {
                return false;
            }
            // SAFETY: that page is readable.
            if unsafe { end_on_page(text) }.is_some() {
                break;
            }
            text = after_page(text);
        }
    }
}

/// The strings of a list of C strings that ends with a null pointer; empty for a null list.
///
/// # Safety
/// `list` must be such a list or null, and stay as it is for `'t`.
pub unsafe fn strings<'t>(list: *const *const c_char) -> impl Iterator<Item = &'t CStr> + Clone {
    // SAFETY: the caller guarantees that the list holds C strings.
    unsafe { pointers(list).map(|text| terminated(text)) }
}

/// As [`strings`], only those that begin with one of `prefixes`. The others are not read to their end.
///
/// # Safety
/// As for [`strings`].
pub unsafe fn strings_with<'t>(
    list: *const *const c_char,
    prefixes: [&'static [u8]; 2],
) -> impl Iterator<Item = &'t CStr> + Clone {
    // SAFETY: the caller guarantees that the list holds C strings.
    unsafe {
        pointers(list)
            .filter(move |text| prefixes.iter().any(|prefix| begins(*text, prefix)))
            .map(|text| terminated(text))
    }
}

/// The pointers of a list that ends with a null pointer; none for a null list.
///
/// # Safety
/// As for [`strings`].
unsafe fn pointers(list: *const *const c_char) -> impl Iterator<Item = *const c_char> + Clone {
    let mut next = list;
    core::iter::from_fn(move || {
        // SAFETY: the caller guarantees it: `next` is neither null nor past the null pointer at the end.
        let text = unsafe { *next.as_ref()? };
        if text.is_null() {
            return None;
        }
        next = next.wrapping_add(1);
        Some(text)
    })
}

/// True if the C string `text` begins with `prefix`, which contains no NUL.
///
/// # Safety
/// `text` must point to a string that ends with a NUL.
unsafe fn begins(text: *const c_char, prefix: &[u8]) -> bool {
    let mut at = text.cast::<u8>();
    prefix.iter().all(|wanted| {
        // SAFETY: all bytes before this one are those of `prefix`, so the string has not ended.
        let same = unsafe { *at } == *wanted;
        at = at.wrapping_add(1);
        same
    })
}
