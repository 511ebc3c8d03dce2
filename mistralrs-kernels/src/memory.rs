//! What the system and its allocator do with large pieces of memory. Knows no kernel.

/// Pieces from this size on are mapped for themselves: they go back when they are freed, and no neighbor's pages
/// are asked about.
const OWN_MAP: usize = 32 << 20;

/// Has this process keep freed memory for its next use. Otherwise each large buffer of a step is new memory
/// from the system, which clears it page by page: 40 MB for each layer of a small model at 512 tokens.
/// Pieces from 32 MiB on still go back at once. Does nothing where the allocator is not glibc's.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call sets parameters of the allocator, from any thread and at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAP as libc::c_int);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 << 20);
    }
}

/// Hands memory that is free within the allocator to the system: after work that is done once and leaves much of it.
/// Does nothing where the allocator is not glibc's.
pub fn return_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call may come from any thread and at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Asks the system for huge pages behind a large buffer that nobody has written yet: one fault for 2 MiB
/// instead of five hundred. Smaller ones are left to the allocator. What the buffer holds stays as it is.
pub fn prefer_huge_pages<T>(buffer: &mut [T]) {
    #[cfg(target_os = "linux")]
    {
        const HUGE: usize = 2 << 20;
        let (start, len) = (buffer.as_mut_ptr() as usize, size_of_val(buffer));
        let (first, end) = (start.next_multiple_of(HUGE), (start + len) / HUGE * HUGE);
        if len < OWN_MAP || first >= end {
            return;
        }
        // SAFETY: the pages lie within the buffer, and this advice changes neither what they hold nor whether
        // they may be read and written. A system without huge pages refuses, and nothing is lost.
        unsafe {
            libc::madvise(first as *mut libc::c_void, end - first, libc::MADV_HUGEPAGE);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = buffer;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_buffer_holds_stays() {
        for len in [0, 1, 1 << 10, (OWN_MAP / 4) - 1, OWN_MAP / 4, OWN_MAP / 2 + 7] {
            let mut buffer: Vec<u32> = (0..len as u32).collect();
            prefer_huge_pages(&mut buffer);
            assert!(buffer.iter().copied().eq(0..len as u32));
            let mut fresh = vec![0u32; len];
            prefer_huge_pages(&mut fresh);
            assert!(fresh.iter().all(|value| *value == 0));
        }
    }
}
