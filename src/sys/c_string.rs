//! C strings of the program: a path, an argument, the environment.

use super::is_memory;
use core::ffi::{CStr, c_char};

/// Returns a C string of the program. The search goes page by page, so it touches no page that the string
/// does not reach. This does not use `CStr::from_ptr`, which calls the program's `strlen`.
///
/// # Safety
/// `text` must point to a string that ends with a NUL and stays as it is for `'t`.
#[unsafe(link_section = ".text.hot")]
pub unsafe fn terminated<'t>(text: *const c_char) -> &'t CStr {
    const PAGE: usize = 4096;
    let start = text.cast::<u8>();
    let mut length = 0usize;
    loop {
        // SAFETY: the string has not ended before this byte, so the byte and the rest of its page
        // are mapped.
        unsafe {
            let from = start.wrapping_add(length);
            let here = core::slice::from_raw_parts(from, PAGE - (from as usize) % PAGE);
            if let Some(at) = memchr::memchr(0, here) {
                let whole =
                    core::slice::from_raw_parts(start, length.wrapping_add(at).wrapping_add(1));
                return CStr::from_bytes_with_nul_unchecked(whole);
            }
            length = length.wrapping_add(here.len());
        }
    }
}

/// True if a list of C strings that ends with a null pointer is readable: the list itself and all its
/// strings. An address for which `is_readable` is false costs one system call for each page. The page of the list and
/// the last few pages of strings are remembered.
pub fn is_list_of_strings(list: *const *const c_char, is_readable: impl Fn(usize) -> bool) -> bool {
    const PAGE: usize = 4096;
    const REMEMBERED: usize = 16;
    /// A page that no address is on.
    const NONE: usize = usize::MAX;
    let is_there = |address: usize, known: &mut usize| {
        let page = address / PAGE;
        // The check reads 8 bytes. The address is aligned, so they are all on this page. A null pointer is
        // never readable.
        let word = (address & !7) as *const ();
        if *known != page && (word.is_null() || !is_readable(address) && !is_memory(word)) {
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
            // SAFETY: that page is readable to its end.
            let here = unsafe { core::slice::from_raw_parts(text, PAGE - (text as usize) % PAGE) };
            if memchr::memchr(0, here).is_some() {
                break;
            }
            text = text.wrapping_add(here.len());
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
