//! How the process treats memory that was freed.
//!
//! `mimalloc` would be one safe line. It was tried in place of the C library's allocator with these settings (mimalloc 0.1.52,
//! 2026-11-29, AMD EPYC with AVX-512, one thread, medians of four paired runs of `ivl bench`, tokens a second and resident MiB):
//!
//! | | this file | mimalloc, default | mimalloc v2, no purge, large pages |
//! |---|---|---|---|
//! | `24m --value 24m --measure train --context 128` | 922, 1023 | 840, 934 | 940, 1146 |
//! | `24m --measure decode` | 424, 240 | 408, 211 | 413, 251 |
//! | first value, decode | 26,700, 25 | 27,700, 34 | 27,700, 32 |
//!
//! Its default loses on models of ordinary size. The variant that does not needs options that are set through the environment
//! or unsafe calls, and more memory.

/// Tensors of a pass come and go by the gigabyte. By default the C library gives each large one back to the kernel, which
/// clears the next one again, page by page: up to half of a training step. Freed memory is kept instead; the peak is the
/// same.
///
/// Where the system leaves it to programs (`madvise`), tensors request large pages: rows of logits lie
/// further apart than small pages reach, and each page costs a look-up. For that, room for as many tensors as half of the
/// machine holds is taken from the kernel at once, as addresses; pages come when they are written.
pub fn keep_freed_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (option, value) in [(libc::M_MMAP_MAX, 0), (libc::M_TRIM_THRESHOLD, -1)] {
        #[expect(unsafe_code, reason = "the C library's settings have no safe interface")]
        // SAFETY: called once, before any thread starts; both options take any number.
        unsafe {
            libc::mallopt(option, value);
        }
    }
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    large_pages();
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn large_pages() {
    const PAGE: usize = 2 << 20;
    #[expect(unsafe_code, reason = "the system's settings have no safe interface")]
    // SAFETY: `sysconf` reads. What `malloc` gives, if it does, has room for `len` bytes; the advice is about whole pages in it,
    // changes no content, and stays with the addresses when they are freed. A refusal leaves small pages.
    unsafe {
        let pages = usize::try_from(libc::sysconf(libc::_SC_PHYS_PAGES)).unwrap_or(0);
        let size = usize::try_from(libc::sysconf(libc::_SC_PAGESIZE)).unwrap_or(0);
        let len = pages.saturating_mul(size) / 2;
        let room = libc::malloc(len);
        if !room.is_null() && len > 2 * PAGE {
            let skipped = room.align_offset(PAGE);
            libc::madvise(room.byte_add(skipped), (len - skipped) / PAGE * PAGE, libc::MADV_HUGEPAGE);
        }
        libc::free(room);
    }
}
