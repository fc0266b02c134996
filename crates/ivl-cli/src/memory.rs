//! How the process treats freed memory.

/// Tensors of a pass come and go by the gigabyte. By default the C library gives each large one back to the kernel, which
/// clears the next one again, page by page: up to half of a training step. Freed memory is kept instead; the peak is the
/// same.
pub fn keep_freed_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (option, value) in [(libc::M_MMAP_MAX, 0), (libc::M_TRIM_THRESHOLD, i32::MAX)] {
        #[expect(unsafe_code, reason = "the C library's settings have no safe interface")]
        // SAFETY: called once, before any thread starts; both options take any number.
        unsafe {
            libc::mallopt(option, value);
        }
    }
}
