//! Threads that compute one loop at a time: the caller and its helpers take its turns one by one, so a
//! thread that is held up by somebody else's work holds up one turn and no more. A helper that finds
//! nothing to do spins for about as long as the gap between two loops of a step, then sleeps: an idle
//! program costs nothing. While a thread waits, it fetches what is expected to be read next: else memory would
//! wait, too. Knows no kernel.

use crate::cores;
use crate::simd::{LINE, prefetch_early};
use std::any::Any;
use std::cell::{Cell, RefCell, UnsafeCell};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a helper looks for work before it sleeps.
const SPIN: Duration = Duration::from_micros(60);
/// Looks between two glances at the clock.
const LOOKS: usize = 64;
/// More turns than this do not fit the word they are counted in.
const MOST_TURNS: usize = 0xffff;

/// So many bytes of what is expected a thread fetches at most: they stay in its second-level cache.
const MOST_FETCHED: usize = 512 << 10;

/// Memory that the next loop is likely to read. Nothing is wrong but time is lost where it does not, or where it is
/// nobody's any more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    /// What the first turn reads.
    pub(crate) start: *const u8,
    /// How many bytes that are; those of the turns behind it follow.
    pub(crate) turn: usize,
}

/// A loop's body, borrowed from the caller for as long as the loop runs.
type Body = *const (dyn Fn(usize) + Sync);

/// What caller and helpers share.
struct Shared {
    /// `[loop's number: 32][turns: 16][turns taken: 16]`. A turn is taken by raising the last part;
    /// whoever succeeds knows that the loop has not ended.
    turns: AtomicU64,
    /// Turns that are done.
    done: AtomicUsize,
    body: UnsafeCell<Option<Body>>,
    /// What the first turn that panicked said.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// What an [`Expected`] says, of the loop that was published last and said something.
    expected: AtomicPtr<u8>,
    expected_turn: AtomicUsize,
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
    stop: AtomicBool,
}

// SAFETY: `body` is written only between loops, by the one caller that holds `Pool::busy`, and read only
// by those who have taken a turn of the loop it belongs to; the body itself is `Sync`.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// A caller's helpers.
struct Pool {
    shared: Arc<Shared>,
    threads: usize,
    /// Held while a loop runs: whoever finds it taken computes alone.
    busy: Mutex<()>,
    helpers: Vec<JoinHandle<()>>,
    /// Where the threads are pinned, that of the caller first; empty if they are not.
    cores: Vec<usize>,
}

static GLOBAL: OnceLock<Arc<Pool>> = OnceLock::new();

thread_local! {
    /// The pool that loops of this thread use, if it is not the global one.
    static CURRENT: RefCell<Option<Arc<Pool>>> = const { RefCell::new(None) };
    /// Whether this thread is within a turn: loops within loops are computed by one thread.
    static WITHIN: Cell<bool> = const { Cell::new(false) };
}

/// Computes with `threads` threads from now on, the calling one included, or one for each core; each
/// `pinned` to a core of its own, as far as there are so many. `false` if kernels have run already and it is
/// too late.
pub fn set_threads(threads: Option<NonZeroUsize>, pinned: bool) -> bool {
    let mut new = false;
    GLOBAL.get_or_init(|| {
        new = true;
        let cores = if pinned { cores::physical() } else { Vec::new() };
        Pool::new(threads.map_or_else(usual_threads, NonZeroUsize::get), cores)
    });
    new
}

/// Pins the calling thread to the first core, if threads are pinned: for the one that calls the kernels.
pub fn pin_caller() {
    if let Some(core) = current().cores.first() {
        cores::pin(*core);
    }
}

/// One thread for each core, but no more than the system lets run at once: what two threads of one core
/// compute together is little more than what one does alone.
fn usual_threads() -> usize {
    let most = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    match cores::physical().len() {
        0 => most,
        cores => cores.min(most),
    }
}

/// How many threads compute, the calling one included.
pub fn threads() -> usize {
    current().threads
}

/// Runs `work` on this thread with a pool of `threads` threads of its own: to show that their number does
/// not matter.
pub fn with_threads<T>(threads: NonZeroUsize, work: impl FnOnce() -> T) -> T {
    /// Puts the thread's pool back, also when `work` panics.
    struct Before(Option<Arc<Pool>>);
    impl Drop for Before {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let _before = Before(CURRENT.replace(Some(Pool::new(threads.get(), Vec::new()))));
    work()
}

/// Calls `body` with every number below `turns`, in any order, on all threads at once. Within such a call
/// it is a plain loop.
///
/// # Panics
/// As `body` does, once all turns are done.
pub fn in_parallel(turns: usize, body: impl Fn(usize) + Sync) {
    in_parallel_before(None, turns, body);
}

/// As [`in_parallel`]; who waits for others fetches what is expected then. `None` leaves what an earlier loop
/// expected.
pub(crate) fn in_parallel_before(
    expected: Option<Expected>,
    turns: usize,
    body: impl Fn(usize) + Sync,
) {
    if turns < 2 || WITHIN.get() {
        return (0..turns).for_each(body);
    }
    let each = turns.div_ceil(MOST_TURNS);
    if each == 1 {
        return current().run(expected, turns, &body);
    }
    current().run(expected, turns.div_ceil(each), &|turn: usize| {
        (turn * each..turns.min((turn + 1) * each)).for_each(&body);
    });
}

/// As [`in_parallel`], with parts of `len` elements of a slice and their numbers.
pub fn in_parallel_parts<T: Send>(
    slice: &mut [T],
    len: usize,
    body: impl Fn(usize, &mut [T]) + Sync,
) {
    /// A pointer that threads may share.
    struct Start<T>(*mut T);
    // SAFETY: turns write disjoint parts.
    unsafe impl<T: Send> Sync for Start<T> {}
    impl<T> Start<T> {
        fn at(&self, at: usize) -> *mut T {
            self.0.wrapping_add(at)
        }
    }
    let (len, all) = (len.max(1), slice.len());
    let start = Start(slice.as_mut_ptr());
    in_parallel(all.div_ceil(len), |turn| {
        let first = turn * len;
        // SAFETY: within the slice; each turn has a part of its own.
        let part = unsafe { std::slice::from_raw_parts_mut(start.at(first), len.min(all - first)) };
        body(turn, part);
    });
}

fn current() -> Arc<Pool> {
    let mine = CURRENT.with_borrow(Clone::clone);
    mine.unwrap_or_else(|| {
        Arc::clone(GLOBAL.get_or_init(|| Pool::new(usual_threads(), Vec::new())))
    })
}

/// Locks; what the mutexes here guard is valid at every instruction.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// Starts `threads - 1` helpers, or as many as the system allows.
    fn new(threads: usize, cores: Vec<usize>) -> Arc<Self> {
        let shared = Arc::new(Shared {
            turns: AtomicU64::new(0),
            done: AtomicUsize::new(0),
            body: UnsafeCell::new(None),
            panic: Mutex::new(None),
            expected: AtomicPtr::new(std::ptr::null_mut()),
            expected_turn: AtomicUsize::new(0),
            sleepers: AtomicUsize::new(0),
            sleep: Mutex::new(()),
            wake: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let helper = |number| {
            let shared = Arc::clone(&shared);
            let name = format!("kernel-{number}");
            let core = cores.get(number).copied();
            let work = move || {
                core.into_iter().for_each(cores::pin);
                shared.help(number);
            };
            std::thread::Builder::new().name(name).spawn(work).ok()
        };
        let helpers: Vec<_> = (1..threads.max(1)).map_while(helper).collect();
        Arc::new(Self { shared, threads: helpers.len() + 1, busy: Mutex::new(()), helpers, cores })
    }

    fn run(&self, expected: Option<Expected>, turns: usize, body: &(dyn Fn(usize) + Sync)) {
        let Some(_busy) = (!self.helpers.is_empty()).then(|| self.busy.try_lock().ok()).flatten()
        else {
            return (0..turns).for_each(body);
        };
        let shared = &*self.shared;
        shared.done.store(0, Ordering::Relaxed);
        // SAFETY: `busy` is held and no loop runs, so nobody reads the body now. The lifetime is
        // forgotten, but nobody calls the body after its last turn is done, and that is awaited below.
        unsafe {
            let body = std::mem::transmute::<&(dyn Fn(usize) + Sync), Body>(body);
            *shared.body.get() = Some(body);
        }
        if let Some(Expected { start, turn }) = expected {
            shared.expected_turn.store(turn, Ordering::Relaxed);
            shared.expected.store(start.cast_mut(), Ordering::Relaxed);
        }
        let number = (shared.turns.load(Ordering::Relaxed) >> 32).wrapping_add(1) & 0xffff_ffff;
        shared.turns.store(number << 32 | (turns as u64) << 16, Ordering::SeqCst);
        if shared.sleepers.load(Ordering::SeqCst) > 0 {
            let _sleep = lock(&shared.sleep);
            shared.wake.notify_all();
        }
        shared.take_turns();
        let mut looks = 0usize;
        let mut fetcher = Fetcher::of(0);
        while shared.done.load(Ordering::Acquire) < turns {
            // Whoever has the last turn may have been put aside: let it go on.
            looks += 1;
            if looks > 4096 { std::thread::yield_now() } else { fetcher.wait(shared) }
        }
        let panic = lock(&shared.panic).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        {
            let _sleep = lock(&self.shared.sleep);
            self.shared.wake.notify_all();
        }
        for helper in self.helpers.drain(..) {
            // A helper catches what turns throw.
            let _ = helper.join();
        }
    }
}

impl Shared {
    fn has_turns(&self) -> bool {
        let turns = self.turns.load(Ordering::SeqCst);
        turns & 0xffff < turns >> 16 & 0xffff
    }

    /// Takes turns of the loop that runs until none is left.
    fn take_turns(&self) {
        let mut seen = self.turns.load(Ordering::Acquire);
        while seen & 0xffff < seen >> 16 & 0xffff {
            let taken = self.turns.compare_exchange_weak(
                seen,
                seen + 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match taken {
                Ok(_) => {
                    self.take_turn((seen & 0xffff) as usize);
                    seen = self.turns.load(Ordering::Acquire);
                }
                Err(now) => seen = now,
            }
        }
    }

    fn take_turn(&self, turn: usize) {
        WITHIN.set(true);
        // SAFETY: a turn is taken and not done, so the loop goes on and its body is there.
        let result = catch_unwind(AssertUnwindSafe(|| unsafe {
            if let Some(body) = *self.body.get() {
                (*body)(turn);
            }
        }));
        WITHIN.set(false);
        if let Err(panic) = result {
            lock(&self.panic).get_or_insert(panic);
        }
        self.done.fetch_add(1, Ordering::Release);
    }

    /// The life of helper `number`.
    fn help(&self, number: usize) {
        let mut fetcher = Fetcher::of(number);
        while !self.stop.load(Ordering::Relaxed) {
            self.take_turns();
            if !self.spin(&mut fetcher) {
                self.sleep();
            }
        }
    }

    /// Looks for work for a while; whether there is some.
    fn spin(&self, fetcher: &mut Fetcher) -> bool {
        let began = Instant::now();
        loop {
            for _ in 0..LOOKS {
                if self.has_turns() {
                    return true;
                }
                fetcher.wait(self);
            }
            if began.elapsed() > SPIN {
                return false;
            }
        }
    }

    fn sleep(&self) {
        let mut guard = lock(&self.sleep);
        // First announced, then looked: a caller that publishes a loop does it the other way round.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while !self.has_turns() && !self.stop.load(Ordering::SeqCst) {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Fetches the part of what is expected that one thread is likely to read.
struct Fetcher {
    /// The caller is number 0: it takes its first turn before any helper has seen the loop.
    number: usize,
    from: *const u8,
    /// Bytes that were fetched.
    done: usize,
}

impl Fetcher {
    fn of(number: usize) -> Self {
        Self { number, from: std::ptr::null(), done: 0 }
    }

    /// Fetches another line, or waits a moment if there is none.
    #[inline(always)]
    fn wait(&mut self, shared: &Shared) {
        let from = shared.expected.load(Ordering::Relaxed).cast_const();
        if from != self.from {
            (self.from, self.done) = (from, 0);
        }
        let turn = shared.expected_turn.load(Ordering::Relaxed);
        if self.done < turn.min(MOST_FETCHED) {
            prefetch_early(from.wrapping_add(self.number * turn + self.done));
            self.done += LINE;
        } else {
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(threads: usize, work: impl FnOnce() -> T) -> T {
        with_threads(NonZeroUsize::new(threads).unwrap(), work)
    }

    fn add(sum: &AtomicUsize, turn: usize) {
        sum.fetch_add(turn, Ordering::Relaxed);
    }

    #[test]
    fn every_turn_is_taken_once() {
        for count in [1, 2, 5] {
            with(count, || {
                assert_eq!(threads(), count);
                for turns in [0, 1, 2, 3, 100, 1000, 3 * MOST_TURNS] {
                    let taken: Vec<AtomicUsize> = (0..turns).map(|_| AtomicUsize::new(0)).collect();
                    in_parallel(turns, |turn| {
                        taken[turn].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(taken.iter().all(|times| times.load(Ordering::Relaxed) == 1));
                }
                let mut numbers = vec![0; 1001];
                in_parallel_parts(&mut numbers, 10, |turn, part| part.fill(turn + 1));
                assert!(numbers.iter().enumerate().all(|(at, number)| *number == at / 10 + 1));
            });
        }
    }

    /// Loops one after the other, with pauses in which helpers fall asleep.
    #[test]
    fn helpers_wake_up() {
        let sum = AtomicUsize::new(0);
        with(3, || {
            for round in 0..300 {
                in_parallel(7, |turn| add(&sum, turn));
                if round % 100 == 0 {
                    std::thread::sleep(3 * SPIN);
                }
            }
        });
        assert_eq!(sum.into_inner(), 300 * 21);
    }

    /// Several threads share a pool: one has its helpers, the others compute alone.
    #[test]
    fn loops_within_loops_and_beside_loops() {
        let sum = AtomicUsize::new(0);
        let add = |turn| add(&sum, turn);
        let pool = Pool::new(2, Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    CURRENT.set(Some(Arc::clone(&pool)));
                    (0..100).for_each(|_| in_parallel(4, |_| in_parallel(5, add)));
                });
            }
        });
        assert_eq!(sum.into_inner(), 3 * 100 * 4 * 10);
    }

    #[test]
    fn a_panic_comes_out_and_the_pool_lives_on() {
        with(3, || {
            let fails = || in_parallel(20, |turn| assert_ne!(turn, 7, "turn seven"));
            let text = catch_unwind(AssertUnwindSafe(fails)).unwrap_err();
            assert!(text.downcast_ref::<String>().unwrap().contains("turn seven"));
            let sum = AtomicUsize::new(0);
            in_parallel(20, |turn| add(&sum, turn));
            assert_eq!(sum.into_inner(), 190);
        });
    }

    /// What a waiting thread fetches is its own part, once, also where nobody owns it any more.
    #[test]
    fn what_is_expected_is_fetched_once() {
        let pool = Pool::new(1, Vec::new());
        let mut fetcher = Fetcher::of(1);
        for (turn, fetched) in [(100, 128), (0, 0), (MOST_FETCHED + 1, MOST_FETCHED)] {
            let start = std::ptr::without_provenance_mut(turn + 64);
            pool.shared.expected.store(start, Ordering::Relaxed);
            pool.shared.expected_turn.store(turn, Ordering::Relaxed);
            for _ in 0..MOST_FETCHED {
                fetcher.wait(&pool.shared);
            }
            assert_eq!(fetcher.done, fetched);
        }
    }
}
