//! Threads that share the units of one kernel.
//!
//! A token of a small model is a hundred products of ten to a hundred microseconds. Waking a sleeping thread takes as long as
//! the shortest of them, so that workers stay awake for a moment after each job before they sleep, and have the first weights of the
//! next one brought nearer ([`upcoming`](crate::upcoming)). A worker that comes too late for a job misses it: no thread waits for threads that have not begun. rayon puts an idle
//! worker to sleep after some tens of yields, which is sooner than the next product comes. No figure compares the two here.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::upcoming::{Fetching, Places, Upcoming};

/// How long a worker waits for the next job before it sleeps: longer than what lies between two products of a token.
const AWAKE: Duration = Duration::from_micros(150);

/// In `Board::state`: units of the current job may be taken.
const OPEN: u64 = 1;
/// In `Board::state`: one worker that takes part.
const WORKER: u64 = 2;
/// In `Board::state`: one job, so that a worker knows a new one.
const JOB: u64 = 1 << 32;

/// Calls `work` once with each of `0..units`, on as many threads as the machine has. Units start in ascending order.
///
/// A call from inside a unit, or while another thread's call is under way, does its units itself.
///
/// # Panics
/// If `work` does.
pub fn parallel(units: usize, work: impl Fn(usize) + Sync) {
    let pool = if units > 1 { pool() } else { None };
    match pool.map(|pool| (pool, pool.turn.try_lock())) {
        Some((pool, Ok(_turn))) => pool.run(units, &work),
        // A panic of an earlier job leaves no state.
        Some((pool, Err(TryLockError::Poisoned(_turn)))) => pool.run(units, &work),
        _ => (0..units).for_each(work),
    }
}

/// Threads that [`parallel`] uses: `RAYON_NUM_THREADS`, as Burn's CPU backend does, else one for each core.
pub fn threads() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| {
        let asked = std::env::var("RAYON_NUM_THREADS").ok().and_then(|text| text.parse().ok());
        asked
            .filter(|&threads| threads > 0)
            .unwrap_or_else(|| thread::available_parallelism().map_or(1, Into::into))
    })
}

/// Says what each worker reads first in the next job: the worker has it brought nearer while it waits.
pub(crate) fn announce(places: impl FnOnce() -> Vec<Vec<Places>>) {
    if let Some(pool) = pool() {
        pool.upcoming.announce(places());
    }
}

type Work<'a> = dyn Fn(usize) + Sync + 'a;

struct Pool {
    /// Held by the thread whose job runs.
    turn: Mutex<()>,
    board: Board,
    /// The payload of a worker's panic.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    asleep: AtomicUsize,
    workers: OnceLock<Vec<Thread>>,
    upcoming: Upcoming,
}

/// What threads need to begin a job. It fills the lines of the cache that it lies in, so that it passes between threads at once, and
/// nothing else is slowed down by workers that look at it.
#[repr(align(128))]
struct Board {
    /// Number of the job, workers that take part in it, and whether it is open.
    state: AtomicU64,
    next: AtomicUsize,
    job: UnsafeCell<Option<Job>>,
}

#[expect(unsafe_code, reason = "the borrow checker does not know what the state of a job allows")]
// SAFETY: `job` is written by the thread that holds the turn, while no job is open and no worker inside one. It is read by
// that thread, and by workers between entering an open job and leaving it.
unsafe impl Sync for Board {}

#[derive(Clone, Copy)]
struct Job {
    work: &'static Work<'static>,
    units: usize,
}

fn pool() -> Option<&'static Pool> {
    static POOL: OnceLock<Option<Pool>> = OnceLock::new();
    let pool = POOL.get_or_init(|| (threads() > 1).then(Pool::new)).as_ref()?;
    pool.workers.get_or_init(|| {
        let spawn = |n| thread::Builder::new().name(format!("kernel {n}")).spawn(move || pool.serve(n - 1));
        // Without a thread the caller does all the work.
        (1..threads()).map_while(|n| spawn(n).ok()).map(|handle| handle.thread().clone()).collect()
    });
    Some(pool)
}

impl Pool {
    fn new() -> Self {
        Self {
            turn: Mutex::new(()),
            board: Board { state: AtomicU64::new(0), next: AtomicUsize::new(0), job: UnsafeCell::new(None) },
            panic: Mutex::new(None),
            asleep: AtomicUsize::new(0),
            workers: OnceLock::new(),
            upcoming: Upcoming::new(),
        }
    }

    fn run(&self, units: usize, work: &Work<'_>) {
        #[expect(
            unsafe_code,
            reason = "the borrow checker cannot see that workers are done when this returns"
        )]
        // SAFETY: only the lifetime changes. Workers use the reference between entering an open job and leaving it;
        // `Closing` shuts the job and waits until all have left, before this function returns or unwinds.
        let work = unsafe { std::mem::transmute::<&Work<'_>, &'static Work<'static>>(work) };
        let job = Job { work, units };
        #[expect(unsafe_code, reason = "workers read it without a lock")]
        // SAFETY: this thread holds the turn; the job before was shut, and all workers have left it.
        unsafe {
            *self.board.job.get() = Some(job);
        }
        self.board.next.store(0, Ordering::Relaxed);
        let closing = Closing(self);
        self.board.state.fetch_add(JOB | OPEN, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) > 0 {
            self.workers.get().into_iter().flatten().for_each(Thread::unpark);
        }
        self.take_units(job);
        drop(closing);
        let panic = self.panic().take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    fn panic(&self) -> MutexGuard<'_, Option<Box<dyn Any + Send>>> {
        self.panic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_units(&self, job: Job) {
        loop {
            let unit = self.board.next.fetch_add(1, Ordering::Relaxed);
            if unit >= job.units {
                return;
            }
            (job.work)(unit);
        }
    }

    /// The life of a worker, of which `index` is the number.
    fn serve(&self, index: usize) {
        let (mut done, mut fetching) = (0, Fetching::default());
        loop {
            done = self.enter(done, || fetching.go_on(&self.upcoming, index));
            fetching.stop();
            let _leaving = Leaving(self);
            #[expect(unsafe_code, reason = "it is read without a lock")]
            // SAFETY: this worker has entered an open job, which is not replaced before it leaves.
            let job = unsafe { *self.board.job.get() };
            if let Some(job) = job
                && let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.take_units(job)))
            {
                self.panic().get_or_insert(panic);
            }
        }
    }

    /// Waits for an open job other than number `done`, takes part in it, and returns its number. Now and then it calls `meanwhile`.
    fn enter(&self, done: u64, mut meanwhile: impl FnMut()) -> u64 {
        let mut since = Instant::now();
        loop {
            for round in 0..64 {
                let state = self.board.state.load(Ordering::Acquire);
                if state & OPEN != 0 && state / JOB != done {
                    let entered = state + WORKER;
                    let state_of_all = &self.board.state;
                    if state_of_all
                        .compare_exchange(state, entered, Ordering::Acquire, Ordering::Relaxed)
                        .is_ok()
                    {
                        return state / JOB;
                    }
                }
                if round % 4 == 0 {
                    meanwhile();
                }
                std::hint::spin_loop();
            }
            if since.elapsed() > AWAKE {
                self.asleep.fetch_add(1, Ordering::SeqCst);
                let state = self.board.state.load(Ordering::SeqCst);
                if state & OPEN == 0 || state / JOB == done {
                    thread::park();
                }
                self.asleep.fetch_sub(1, Ordering::SeqCst);
                since = Instant::now();
            }
        }
    }
}

/// Ends a worker's part in a job, whatever happened in it.
struct Leaving<'a>(&'a Pool);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.board.state.fetch_sub(WORKER, Ordering::Release);
    }
}

/// Shuts the open job, and waits for the workers in it.
struct Closing<'a>(&'a Pool);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let state = self.0.board.state.fetch_and(!OPEN, Ordering::AcqRel) & !OPEN;
        let mut rounds = 0u32;
        let mut inside = state % JOB;
        while inside != 0 {
            // A worker may have lost its core to another process.
            if rounds > 10_000 {
                thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
            rounds += 1;
            inside = self.0.board.state.load(Ordering::Acquire) % JOB;
        }
        if thread::panicking() {
            // The caller has a panic of its own; the next job is not to end with a worker's.
            *self.0.panic() = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    /// A pool with one worker.
    fn one_worker() -> &'static Pool {
        let pool: &'static Pool = Box::leak(Box::new(Pool::new()));
        pool.workers.get_or_init(|| vec![thread::spawn(|| pool.serve(0)).thread().clone()]);
        pool
    }

    #[test]
    fn what_a_worker_panics_with_reaches_the_caller() {
        let caller = thread::current().id();
        let both = Barrier::new(2);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            one_worker().run(2, &|_| {
                both.wait();
                if thread::current().id() != caller {
                    resume_unwind(Box::new(37));
                }
            });
        }));
        assert_eq!(outcome.expect_err("a panic").downcast_ref(), Some(&37));
    }

    #[test]
    fn panics_on_both_threads_end_with_their_job() {
        let (pool, both) = (one_worker(), Barrier::new(2));
        for _ in 0..50 {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                pool.run(2, &|_| {
                    both.wait();
                    resume_unwind(Box::new("as intended"));
                });
            }));
            assert!(outcome.is_err());
            pool.run(2, &|_| {
                both.wait();
            });
        }
    }
}
