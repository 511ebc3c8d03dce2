//! So many at a time, the others wait: for work that takes much memory for a short while.

use std::sync::{Condvar, Mutex, PoisonError};

/// Decoding a picture may take hundreds of megabytes, however small its file is.
const MOST: usize = 4;

/// Places to work at.
#[derive(Debug)]
pub(super) struct Places {
    free: Mutex<usize>,
    given_back: Condvar,
}

/// A place, until it is dropped.
pub(super) struct Place<'a>(&'a Places);

impl Places {
    /// As many as the machine has processors, at most [`MOST`].
    pub(super) fn of_machine() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(processors.min(MOST))
    }

    fn new(places: usize) -> Self {
        Self { free: Mutex::new(places), given_back: Condvar::new() }
    }

    /// Waits for one. Blocks: the threads that prepare requests may.
    pub(super) fn take(&self) -> Place<'_> {
        // A number is right after every instruction, whatever its holder went through.
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.given_back.wait_while(free, |free| *free == 0);
        *free.unwrap_or_else(PoisonError::into_inner) -= 1;
        Place(self)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn no_more_work_at_once_than_there_are_places_and_all_get_one() {
        let (places, now, most) = (Places::new(3), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| {
                    let _place = places.take();
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    now.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert!((1..=3).contains(&most.into_inner()));
        assert_eq!(*places.free.lock().unwrap(), 3);
        // Who fails gives its place back, too.
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _place = places.take();
            panic!("at work");
        }));
        assert!(failed.is_err());
        assert_eq!(*places.free.lock().unwrap(), 3);
    }
}
