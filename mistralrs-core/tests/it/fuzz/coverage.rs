//! Which branches of the code an input reached, where the crates are compiled with LLVM's counters
//! (docs/fuzzing.md says how); elsewhere there are none, and nothing is ever new.
//! Source: inline 8-bit counters, in "SanitizerCoverage" of Clang's documentation.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Where counters begin and end, in addresses.
static SECTIONS: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// Every compiled object calls this before `main`, most of them with the same section.
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, end: *mut u8) {
    let mut sections = SECTIONS.lock().unwrap_or_else(PoisonError::into_inner);
    let section = (start as usize, end as usize);
    if section.0 < section.1 && !sections.contains(&section) {
        sections.push(section);
    }
}

/// What all inputs so far have reached.
pub struct Coverage {
    /// Eight counters at once.
    counters: Vec<&'static AtomicU64>,
    /// For each counter a bit per order of magnitude that it was seen to have.
    seen: Vec<[u8; 8]>,
}

impl Coverage {
    pub fn new() -> Self {
        let sections = SECTIONS.lock().unwrap_or_else(PoisonError::into_inner);
        let words = |&(start, end): &(usize, usize)| start.next_multiple_of(8)..end / 8 * 8;
        let addresses = sections.iter().flat_map(|section| words(section).step_by(8));
        // SAFETY: the section lasts as long as the program, is writable and holds numbers of any value.
        let counters: Vec<&AtomicU64> =
            addresses.map(|at| unsafe { AtomicU64::from_ptr(at as *mut u64) }).collect();
        Self { seen: vec![[0; 8]; counters.len()], counters }
    }

    /// Forgets what was counted since the last call; says whether a branch was taken that never was
    /// before, or so many times.
    pub fn take_news(&mut self) -> bool {
        let mut news = false;
        for (word, seen) in self.counters.iter().zip(&mut self.seen) {
            if word.load(Relaxed) == 0 {
                continue;
            }
            let counts = word.swap(0, Relaxed).to_ne_bytes();
            for (seen, count) in seen.iter_mut().zip(counts) {
                // 1, 2, 3, 4 to 7, 8 to 15, and so on.
                let magnitude = if count < 4 { count } else { count.ilog2() as u8 + 2 };
                let bit = 1u8.checked_shl(u32::from(magnitude.wrapping_sub(1))).unwrap_or(0);
                news |= *seen & bit != bit;
                *seen |= bit;
            }
        }
        news
    }

    /// Branches reached, of how many.
    pub fn reached(&self) -> (usize, usize) {
        let reached = self.seen.iter().flatten().filter(|seen| **seen != 0).count();
        (reached, 8 * self.seen.len())
    }
}
