//! Places in the queue.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Client, EngineError};

/// How many texts may wait or run at once: in all, and of one client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueLimits {
    pub(crate) total: usize,
    pub(crate) per_client: usize,
}

/// The places that are taken.
#[derive(Debug, Clone)]
pub(crate) struct QueuePlaces {
    limits: QueueLimits,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_client: HashMap<Client, usize>,
}

impl QueuePlaces {
    pub(crate) fn new(limits: QueueLimits) -> Self {
        Self { limits, taken: Arc::default() }
    }

    /// Takes places for a client.
    ///
    /// # Errors
    /// [`EngineError::LargerThanQueue`] for more places than a client can ever have, [`EngineError::ClientBusy`] or
    /// [`EngineError::Busy`] if too many are taken now.
    pub(crate) fn take(&self, client: &Client, places: usize) -> Result<QueuePermit, EngineError> {
        let QueueLimits { total, per_client } = self.limits;
        let limit = total.min(per_client);
        if places > limit {
            return Err(EngineError::LargerThanQueue { texts: places, limit });
        }
        let mut taken = lock(&self.taken);
        if taken.total + places > total {
            return Err(EngineError::Busy);
        }
        let own = taken.by_client.get(client).copied().unwrap_or(0) + places;
        if own > per_client {
            return Err(EngineError::ClientBusy { limit: per_client });
        }
        taken.by_client.insert(client.clone(), own);
        taken.total += places;
        Ok(QueuePermit { taken: self.taken.clone(), client: client.clone(), places })
    }
}

/// Places among the texts that wait or run; given back when dropped.
#[derive(Debug)]
pub(crate) struct QueuePermit {
    taken: Arc<Mutex<Taken>>,
    client: Client,
    places: usize,
}

impl QueuePermit {
    /// Parts with some of the places, for one job of several.
    pub(crate) fn split_off(&mut self, places: usize) -> Self {
        debug_assert!(places <= self.places, "only what was taken can be shared out");
        self.places -= places;
        Self { taken: self.taken.clone(), client: self.client.clone(), places }
    }
}

impl Drop for QueuePermit {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.total -= self.places;
        if let Some(own) = taken.by_client.get_mut(&self.client) {
            *own -= self.places;
            if *own == 0 {
                taken.by_client.remove(&self.client);
            }
        }
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    // Counts are changed without a panic between.
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn a_client_has_its_share_and_places_come_back() {
        let places = QueuePlaces::new(QueueLimits { total: 5, per_client: 3 });
        let [a, b] = [1, 2].map(|last| Client::Address(IpAddr::from([10, 0, 0, last])));
        assert_eq!(
            places.take(&a, 4).expect_err("never fits"),
            EngineError::LargerThanQueue { texts: 4, limit: 3 }
        );
        let mut first = places.take(&a, 3).expect("there is room");
        assert_eq!(places.take(&a, 1).expect_err("has its share"), EngineError::ClientBusy { limit: 3 });
        let second = places.take(&b, 2).expect("there is room for another client");
        assert_eq!(places.take(&b, 1).expect_err("all are taken"), EngineError::Busy);
        let part = first.split_off(2);
        drop(first);
        assert!(places.take(&a, 2).is_err(), "the part that was split off is still held");
        drop((part, second));
        assert!(places.take(&a, 3).is_ok() && lock(&places.taken).by_client.is_empty());
    }
}
