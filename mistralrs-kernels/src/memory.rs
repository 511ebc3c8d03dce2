//! What the system's allocator does with large pieces of memory that are given back. Knows no kernel.

/// Has this process keep freed memory for its next use. Otherwise each large buffer of a step is new memory
/// from the system, which clears it page by page: 40 MB for each layer of a small model at 512 tokens.
/// Pieces above 32 MiB still go back at once. Does nothing where the allocator is not glibc's.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call sets parameters of the allocator, from any thread and at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 << 20);
    }
}
