//! Weights that are needed soon.
//!
//! Between two products of a token one thread computes norms and attention, and the others wait. In this time the memory can bring
//! them what the next product begins with.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cpu::{CACHE_LINE, prefetch_address};

/// Bytes of a place that are asked for before those of the next place.
const TURN: usize = 512;

/// Places that are read side by side: addresses and bytes.
pub(crate) type Places = Vec<(usize, usize)>;

/// What each worker reads first in the next job. Workers look at it all the time: it shares no line of the cache with anything else.
#[repr(align(128))]
pub(crate) struct Upcoming {
    /// Changes with each announcement.
    number: AtomicU64,
    queues: Mutex<Vec<Vec<Places>>>,
}

impl Upcoming {
    pub(crate) fn new() -> Self {
        Self { number: AtomicU64::new(0), queues: Mutex::new(Vec::new()) }
    }

    /// Announces what each worker reads first, one list of places after the other.
    ///
    /// It does not wait for a worker that takes its list of the announcement before: this one is lost then, which costs no more
    /// than a later start of the reads.
    pub(crate) fn announce(&self, queues: Vec<Vec<Places>>) {
        let Ok(mut all) = self.queues.try_lock() else { return };
        *all = queues;
        self.number.fetch_add(1, Ordering::Release);
    }
}

/// A worker on its way through its places.
#[derive(Default)]
pub(crate) struct Fetching {
    number: u64,
    /// The last comes first.
    queue: Vec<Places>,
    /// Bytes of each of the last places that have been asked for.
    done: usize,
}

impl Fetching {
    /// Asks for some bytes of the places of this worker, if there are any left.
    #[inline]
    pub(crate) fn go_on(&mut self, upcoming: &Upcoming, worker: usize) {
        let number = upcoming.number.load(Ordering::Acquire);
        if number != self.number {
            let Ok(mut all) = upcoming.queues.try_lock() else { return };
            self.number = number;
            self.queue = all.get_mut(worker).map(std::mem::take).unwrap_or_default();
            self.queue.reverse();
            self.done = 0;
        }
        let Some(places) = self.queue.last() else { return };
        let mut any_left = false;
        for &(address, bytes) in places {
            for at in (self.done..bytes.min(self.done + TURN)).step_by(CACHE_LINE) {
                prefetch_address(address + at);
            }
            any_left |= bytes > self.done + TURN;
        }
        self.done += TURN;
        if !any_left {
            self.queue.pop();
            self.done = 0;
        }
    }

    /// Forgets what was announced: the job has begun.
    pub(crate) fn stop(&mut self) {
        self.queue.clear();
    }
}
