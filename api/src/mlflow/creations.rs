//! Creation races: a client that just found a name free may lose the race to create it.
//!
//! MLflow's client asks for an experiment by name, gets a 404, and creates it. If another client was faster, it accepts
//! `RESOURCE_ALREADY_EXISTS` without activating the experiment, and its runs land in `Default`. So each 404 gives the
//! client one credit for that name: its next plain create of it returns the winner's id. A create without a credit is
//! refused as usual. Credits are per client and name, are used once, and last 60 s. The API defines what a client is:
//! for the REST server an address and user, in process the process.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

/// How long a credit lasts.
const LASTS: Duration = Duration::from_secs(60);
/// Maximum number of names kept; the oldest are dropped first, so that a flood of 404s stays bounded.
const ENTRIES_MAX: usize = 65_536;

/// Credits of all clients.
///
/// ```
/// let creations = runlode::mlflow::Creations::default();
/// creations.give_credit("client", "digits");
/// assert!(creations.use_credit("client", "digits"));
/// assert!(!creations.use_credit("client", "digits"));
/// ```
#[derive(Debug, Default)]
pub struct Creations {
    credits: Mutex<FxHashMap<(u64, u64), Credit>>,
    /// Clients and names are kept as hashes, because either may be tens of kilobytes.
    hashers: [RandomState; 2],
}

#[derive(Debug)]
struct Credit {
    count: u32,
    until: Instant,
}

impl Creations {
    fn key(&self, client: &str, name: &str) -> (u64, u64) {
        let [first, second] = &self.hashers;
        (first.hash_one((client, name)), second.hash_one((client, name)))
    }

    /// Gives a credit to a client that was told that a name is free.
    pub fn give_credit(&self, client: &str, name: &str) {
        let now = Instant::now();
        let mut credits = self.credits.lock();
        if credits.len() >= ENTRIES_MAX {
            credits.retain(|_, credit| credit.until > now);
            if credits.len() >= ENTRIES_MAX {
                credits.clear();
            }
        }
        let credit = credits
            .entry(self.key(client, name))
            .and_modify(|credit| {
                if credit.until <= now {
                    credit.count = 0;
                }
            })
            .or_insert(Credit { count: 0, until: now });
        // One for each answer: processes that share an address ask at once.
        credit.count = credit.count.saturating_add(1);
        credit.until = now + LASTS;
    }

    /// Whether the client has a credit for the name. Uses it up.
    pub fn use_credit(&self, client: &str, name: &str) -> bool {
        let key = self.key(client, name);
        let mut credits = self.credits.lock();
        let Some(credit) = credits.get_mut(&key) else { return false };
        let good = credit.until > Instant::now() && credit.count > 0;
        credit.count = credit.count.saturating_sub(1);
        if credit.count == 0 {
            credits.remove(&key);
        }
        good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_credit_for_each_answer() {
        let creations = Creations::default();
        assert!(!creations.use_credit("a", "x"));
        creations.give_credit("a", "x");
        creations.give_credit("a", "x");
        assert!(!creations.use_credit("b", "x"));
        assert!(!creations.use_credit("a", "y"));
        assert!(creations.use_credit("a", "x"));
        assert!(creations.use_credit("a", "x"));
        assert!(!creations.use_credit("a", "x"));
    }

    #[test]
    fn a_flood_stays_bounded() {
        let creations = Creations::default();
        for i in 0..ENTRIES_MAX + 10 {
            creations.give_credit("a", &i.to_string());
        }
        assert!(creations.credits.lock().len() <= ENTRIES_MAX);
    }
}
