//! Versions of entities above the applied position, and their events.
//!
//! Each key has its versions in the order of positions; a reader at P takes the last one at most P, or asks the index
//! if there is none. Versions at most the pruned bound are dropped once the index has them and no snapshot reads below
//! it. Read here first and in the *current* index afterwards, and no entity is missed: the index is refreshed before
//! anything is pruned. A version that a later one replaced may be dropped earlier: each is a whole state, and an entity
//! that changes often would have thousands of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use crate::entity::{EntityKey, EntityState};
use crate::id::{ExperimentId, Lsn, ModelId, RegisteredModelId, RunId};

/// The request that an idempotency key was used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUse {
    /// Hash of the request.
    pub request_hash: u64,
    /// Position of the batch that used the key.
    pub lsn: Lsn,
    /// Time of that use, Unix ms.
    pub time_ms: i64,
}

/// Bytes that a version or an event costs in addition to its state: the key, and the slots in map and list.
const SLOT_BYTES: usize = 128;

#[derive(Debug, Default)]
struct State {
    versions: FxHashMap<EntityKey, Vec<(Lsn, Arc<EntityState>)>>,
    events: FxHashMap<EntityKey, Vec<(Lsn, u16)>>,
    keys: FxHashMap<Box<[u8]>, KeyUse>,
    experiments: BTreeSet<ExperimentId>,
    runs: FxHashMap<ExperimentId, BTreeSet<RunId>>,
    logged_models: FxHashMap<ExperimentId, BTreeSet<ModelId>>,
    registered_models: BTreeSet<RegisteredModelId>,
}

/// Entities that changed above the index: their versions, events and idempotency keys.
#[derive(Debug, Default)]
pub struct HotEntities {
    state: RwLock<State>,
    /// Estimated; changed under the lock only.
    bytes: AtomicUsize,
}

fn key_bytes(key: &[u8]) -> usize {
    key.len() + SLOT_BYTES
}

/// The changes that a checkpoint writes to the index.
#[derive(Debug, Default)]
pub struct Unapplied {
    /// The state of every touched entity, by key.
    pub entities: Vec<(EntityKey, Arc<EntityState>)>,
    /// Events, by the entity whose history lists them.
    pub events: Vec<(EntityKey, Vec<(Lsn, u16)>)>,
    /// Idempotency keys used.
    pub keys: Vec<(Box<[u8]>, KeyUse)>,
}

/// Keeps a history in the order of positions, and of events within one batch.
fn push_event(history: &mut Vec<(Lsn, u16)>, event: (Lsn, u16)) {
    debug_assert!(history.last().is_none_or(|before| *before <= event), "an event at {} comes late", event.0);
    history.push(event);
}

impl HotEntities {
    /// The newest version of an entity; `None` if it did not change above the index.
    pub fn newest(&self, key: &EntityKey) -> Option<Arc<EntityState>> {
        self.state.read().versions.get(key)?.last().map(|(_, state)| state.clone())
    }

    /// Position of the newest version; `None` if the entity did not change above the index.
    pub fn newest_lsn(&self, key: &EntityKey) -> Option<Lsn> {
        self.state.read().versions.get(key)?.last().map(|(lsn, _)| *lsn)
    }

    /// The version that a reader at this position sees. `None`: ask the index.
    pub fn at(&self, key: &EntityKey, at: Lsn) -> Option<Arc<EntityState>> {
        let state = self.state.read();
        let versions = state.versions.get(key)?;
        let index = versions.partition_point(|(lsn, _)| *lsn <= at).checked_sub(1)?;
        versions.get(index).map(|(_, state)| state.clone())
    }

    /// Publishes the changes of a batch. Only under the sequencer, in the order of positions.
    pub fn publish(
        &self,
        lsn: Lsn,
        changed: impl IntoIterator<Item = (EntityKey, Arc<EntityState>)>,
        events: impl IntoIterator<Item = (EntityKey, u16)>,
    ) {
        let mut state = self.state.write();
        let state = &mut *state;
        let mut grown = 0;
        for (key, entity) in changed {
            match (&key, &*entity) {
                (EntityKey::Experiment(id), _) => {
                    state.experiments.insert(*id);
                }
                (EntityKey::Run(id), EntityState::Run(run)) => {
                    state.runs.entry(run.experiment).or_default().insert(*id);
                }
                (EntityKey::LoggedModel(id), EntityState::LoggedModel(model)) => {
                    state.logged_models.entry(model.experiment).or_default().insert(*id);
                }
                (EntityKey::RegisteredModel(id), _) => {
                    state.registered_models.insert(*id);
                }
                _ => {}
            }
            grown += entity.bytes() + SLOT_BYTES;
            let versions = state.versions.entry(key).or_default();
            debug_assert!(versions.last().is_none_or(|(before, _)| *before < lsn), "a version at {lsn} comes late");
            versions.push((lsn, entity));
        }
        for (key, index) in events {
            grown += SLOT_BYTES;
            push_event(state.events.entry(key).or_default(), (lsn, index));
        }
        self.bytes.fetch_add(grown, Ordering::Relaxed);
    }

    /// Publishes events of many positions, in order, after a replay.
    pub fn publish_events(&self, events: impl IntoIterator<Item = (Lsn, EntityKey, u16)>) {
        let mut state = self.state.write();
        for (lsn, key, index) in events {
            self.bytes.fetch_add(SLOT_BYTES, Ordering::Relaxed);
            push_event(state.events.entry(key).or_default(), (lsn, index));
        }
    }

    /// Publishes the use of an idempotency key.
    pub fn publish_key(&self, key: &[u8], used: KeyUse) {
        if self.state.write().keys.insert(key.into(), used).is_none() {
            self.bytes.fetch_add(key_bytes(key), Ordering::Relaxed);
        }
    }

    /// The use of an idempotency key above the index; `None`: ask the index.
    pub fn key_use(&self, key: &[u8]) -> Option<KeyUse> {
        self.state.read().keys.get(key).copied()
    }

    /// Events of an entity above the index, at most `at`, in order.
    pub fn events(&self, key: &EntityKey, at: Lsn) -> Vec<(Lsn, u16)> {
        let state = self.state.read();
        let events = state.events.get(key).map_or(&[][..], Vec::as_slice);
        events.iter().copied().take_while(|(lsn, _)| *lsn <= at).collect()
    }

    /// Experiments touched above the index.
    pub fn experiments(&self) -> Vec<ExperimentId> {
        self.state.read().experiments.iter().copied().collect()
    }

    /// Runs of an experiment touched above the index.
    pub fn runs_of(&self, experiment: ExperimentId) -> Vec<RunId> {
        self.state.read().runs.get(&experiment).into_iter().flatten().copied().collect()
    }

    /// Logged models of an experiment touched above the index.
    pub fn logged_models_of(&self, experiment: ExperimentId) -> Vec<ModelId> {
        self.state.read().logged_models.get(&experiment).into_iter().flatten().copied().collect()
    }

    /// Registered models touched above the index.
    pub fn registered_models(&self) -> Vec<RegisteredModelId> {
        self.state.read().registered_models.iter().copied().collect()
    }

    /// Number of entities with versions above the index.
    pub fn len(&self) -> usize {
        self.state.read().versions.len()
    }

    /// Estimated bytes of private memory.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Everything above `after`, at most `up_to`, for a checkpoint.
    pub fn unapplied(&self, after: Lsn, up_to: Lsn) -> Unapplied {
        let state = self.state.read();
        let mut out = Unapplied::default();
        for (key, versions) in &state.versions {
            let end = versions.partition_point(|(lsn, _)| *lsn <= up_to);
            if let Some((lsn, entity)) = end.checked_sub(1).and_then(|last| versions.get(last))
                && *lsn > after
            {
                out.entities.push((key.clone(), entity.clone()));
            }
        }
        for (key, events) in &state.events {
            let events: Vec<_> = events.iter().copied().filter(|(lsn, _)| *lsn > after && *lsn <= up_to).collect();
            if !events.is_empty() {
                out.events.push((key.clone(), events));
            }
        }
        let uses = state.keys.iter().filter(|(_, used)| used.lsn > after && used.lsn <= up_to);
        out.keys.extend(uses.map(|(key, used)| (key.clone(), *used)));
        drop(state);
        out.entities.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        out.events.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        out.keys.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        out
    }

    /// Drops versions that nobody can read any more: another one at most `settled` replaced them, and none of the
    /// `pinned` positions, ascending, lies between the two. Checkpoints and snapshots that begin from now on must read at
    /// `settled` or above. Returns the estimated bytes that were freed.
    pub fn drop_replaced(&self, settled: Lsn, pinned: &[Lsn]) -> usize {
        let mut dropped = Vec::new();
        let mut state = self.state.write();
        for versions in state.versions.values_mut().filter(|versions| versions.len() > 1) {
            let mut kept = Vec::with_capacity(2);
            let mut all = std::mem::take(versions).into_iter().peekable();
            while let Some((lsn, entity)) = all.next() {
                let is_read =
                    |next: Lsn| pinned.get(pinned.partition_point(|at| *at < lsn)).is_some_and(|at| *at < next);
                match all.peek() {
                    Some((next, _)) if *next <= settled && !is_read(*next) => dropped.push(entity),
                    _ => kept.push((lsn, entity)),
                }
            }
            *versions = kept;
        }
        let freed = dropped.iter().map(|entity| entity.bytes() + SLOT_BYTES).sum();
        self.bytes.fetch_sub(freed, Ordering::Relaxed);
        drop(state);
        // Outside the lock: large states take milliseconds.
        drop(dropped);
        freed
    }

    /// Drops versions and events at most `up_to`: the index has them, and no snapshot reads below.
    pub fn prune(&self, up_to: Lsn) {
        let mut state = self.state.write();
        let mut freed = 0;
        let mut keep = |lsn: Lsn, bytes: &dyn Fn() -> usize| {
            if lsn <= up_to {
                freed += bytes();
            }
            lsn > up_to
        };
        state.versions.retain(|_, versions| {
            versions.retain(|(lsn, entity)| keep(*lsn, &|| entity.bytes() + SLOT_BYTES));
            !versions.is_empty()
        });
        state.events.retain(|_, events| {
            events.retain(|(lsn, _)| keep(*lsn, &|| SLOT_BYTES));
            !events.is_empty()
        });
        state.keys.retain(|key, used| keep(used.lsn, &|| key_bytes(key)));
        self.bytes.fetch_sub(freed, Ordering::Relaxed);
        let State { versions, experiments, runs, logged_models, registered_models, .. } = &mut *state;
        experiments.retain(|id| versions.contains_key(&EntityKey::Experiment(*id)));
        registered_models.retain(|id| versions.contains_key(&EntityKey::RegisteredModel(*id)));
        runs.retain(|_, ids| {
            ids.retain(|id| versions.contains_key(&EntityKey::Run(*id)));
            !ids.is_empty()
        });
        logged_models.retain(|_, ids| {
            ids.retain(|id| versions.contains_key(&EntityKey::LoggedModel(*id)));
            !ids.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entity::NameState;

    #[test]
    fn a_replaced_version_goes_unless_it_can_be_read() {
        let key = EntityKey::ExperimentName("x".into());
        let name = |at| Arc::new(EntityState::ExperimentName(NameState { owner: None, last: Lsn(at) }));
        let last = |hot: &HotEntities, at| hot.at(&key, Lsn(at)).map(|state| state.last().0);
        // Every choice of what is settled and pinned, against what each reader must see.
        for settled in 0..=12u64 {
            for pins in 0..1u32 << 12 {
                let pinned: Vec<Lsn> = (0..12).filter(|bit| pins >> bit & 1 == 1).map(Lsn).collect();
                if pinned.len() > 3 {
                    continue;
                }
                let hot = HotEntities::default();
                for at in [2, 5, 6, 9] {
                    hot.publish(Lsn(at), [(key.clone(), name(at))], []);
                }
                let (all, freed) = (hot.bytes(), hot.drop_replaced(Lsn(settled), &pinned));
                assert_eq!(hot.bytes() + freed, all);
                for at in pinned.iter().map(|at| at.0).chain(settled..=12) {
                    let right = [9, 6, 5, 2].into_iter().find(|version| *version <= at);
                    assert_eq!(last(&hot, at), right, "settled {settled}, pinned {pinned:?}, read at {at}");
                }
                let needed = |from, to| to > settled || pinned.iter().any(|pin| pin.0 >= from && pin.0 < to);
                let kept = 1 + [(2, 5), (5, 6), (6, 9)].iter().filter(|(from, to)| needed(*from, *to)).count();
                assert_eq!(all - freed, kept * (name(1).bytes() + SLOT_BYTES), "settled {settled}, pinned {pinned:?}");
            }
        }
    }

    #[test]
    fn counted_memory_is_given_back() {
        let hot = HotEntities::default();
        let name = |owner| Arc::new(EntityState::ExperimentName(NameState { owner: Some(owner), last: Lsn(owner) }));
        let key = |owner: u64| EntityKey::ExperimentName(owner.to_string().into());
        let used = KeyUse { request_hash: 1, lsn: Lsn(2), time_ms: 0 };
        hot.publish(Lsn(1), [(key(1), name(1)), (key(2), name(2))], [(key(1), 0)]);
        hot.publish(Lsn(2), [(key(1), name(2))], []);
        hot.publish_events([(Lsn(2), key(2), 1)]);
        hot.publish_key(b"once", used);
        hot.publish_key(b"once", used);
        let all = hot.bytes();
        hot.prune(Lsn(1));
        assert!(hot.bytes() > 0 && hot.bytes() < all);
        hot.prune(Lsn(2));
        assert_eq!(hot.bytes(), 0);
    }
}
