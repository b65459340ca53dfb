//! The store-wide dictionary: metric keys and contexts have small numbers, so that frames and rows stay small.
//!
//! A number may be used before a frame that defines it is published; every frame that uses an unpublished number
//! repeats the definition. Numbers are dense from 0 (contexts from 1; 0 is "none"). A published number is never reused.
//!
//! A [`Reservation`] holds the unpublished numbers of one batch. When the last reservation of a number is dropped and
//! no frame that defines it was published, the number is free again: refused batches leave nothing in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;

use crate::branch::{self, KeyPart};
use crate::error::{Error, Result};
use crate::event::batch::{Definition, MetricContext};
use crate::id::{ContextId, KeyId, Lsn};
use crate::point::Stats;

#[derive(Debug)]
struct Slot<T> {
    value: T,
    published: AtomicBool,
    /// Number of reservations that hold the number while it is not published.
    holders: AtomicU32,
}

impl<T> Slot<T> {
    fn new(value: T, published: bool) -> Self {
        Self { value, published: AtomicBool::new(published), holders: AtomicU32::new(0) }
    }

    fn is_published(&self) -> bool {
        self.published.load(Ordering::Acquire)
    }

    /// Gives up one hold. Returns whether nobody holds the number any more and no frame defines it.
    fn let_go(&self) -> bool {
        self.holders.fetch_sub(1, Ordering::AcqRel) == 1 && !self.is_published()
    }
}

/// The numbers that a batch uses before a frame defines them. On drop, those that no frame defines are free again.
#[derive(Debug)]
pub struct Reservation {
    dictionary: Arc<Dictionary>,
    keys: Vec<KeyId>,
    contexts: Vec<ContextId>,
}

impl Reservation {
    /// As [`Dictionary::key`]; this reservation holds the number.
    pub fn key(&mut self, name: &str) -> KeyId {
        self.dictionary.hold_key(name, &mut self.keys)
    }

    /// As [`Dictionary::context`]; this reservation holds the number.
    pub fn context(&mut self, context: &MetricContext) -> ContextId {
        self.dictionary.hold_context(context, &mut self.contexts)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.keys.is_empty() || !self.contexts.is_empty() {
            self.dictionary.release(&self.keys, &self.contexts);
        }
    }
}

#[derive(Debug, Default)]
struct Tables {
    keys: Vec<Option<Slot<Arc<str>>>>,
    key_ids: FxHashMap<Arc<str>, KeyId>,
    contexts: Vec<Option<Slot<Arc<MetricContext>>>>,
    context_ids: FxHashMap<Arc<MetricContext>, ContextId>,
    /// Numbers that are free again.
    free_keys: Vec<KeyId>,
    free_contexts: Vec<ContextId>,
    /// Keys for a branch's own points, as far as they were asked for: (branch, key of the metric).
    own_keys: FxHashMap<(u32, KeyId), KeyId>,
}

/// The numbers of all metric keys and contexts of the store.
#[derive(Debug, Default)]
pub struct Dictionary {
    tables: RwLock<Tables>,
    /// Whether there are keys of branches, because some run was rewound.
    has_branches: AtomicBool,
    /// Definitions that are published and not yet in the index.
    fresh: Mutex<Vec<Fresh>>,
}

/// A definition on its way to the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fresh {
    /// Position of the frame that published it.
    pub lsn: Lsn,
    /// The defined number: of a key if `is_key`, else of a context.
    pub id: u32,
    /// Whether it defines a metric key.
    pub is_key: bool,
    /// The key's name, or the encoded context.
    pub bytes: Vec<u8>,
}

fn is_published<T>(slot: &Option<Slot<T>>) -> bool {
    slot.as_ref().is_some_and(Slot::is_published)
}

fn set<T>(slots: &mut Vec<Option<Slot<T>>>, index: usize, slot: Slot<T>) {
    if slots.len() <= index {
        slots.resize_with(index + 1, || None);
    }
    slots[index] = Some(slot);
}

impl Tables {
    /// A number without a meaning: a free one, unless the log has defined it since, or a new one.
    fn next_key(&mut self) -> KeyId {
        while let Some(id) = self.free_keys.pop() {
            if self.keys.get(id.0 as usize).is_some_and(Option::is_none) {
                return id;
            }
        }
        KeyId(self.keys.len() as u32)
    }

    fn next_context(&mut self) -> ContextId {
        while let Some(id) = self.free_contexts.pop() {
            if self.contexts.get(id.0 as usize).is_some_and(Option::is_none) {
                return id;
            }
        }
        ContextId(self.contexts.len().max(1) as u32)
    }

    fn part(&self, key: KeyId) -> Option<KeyPart<'_>> {
        branch::parse(&self.keys.get(key.0 as usize)?.as_ref()?.value)
    }
}

/// A definition of a number beyond this is damage: a dictionary is dense.
const ID_MAX: u32 = 1 << 28;

impl Dictionary {
    /// An empty reservation for the numbers of one batch.
    pub fn reserve(self: &Arc<Self>) -> Reservation {
        Reservation { dictionary: self.clone(), keys: Vec::new(), contexts: Vec::new() }
    }

    /// The key's number; a new one if it has none. The number stays valid as long as this dictionary.
    pub fn key(&self, name: &str) -> KeyId {
        self.hold_key(name, &mut Vec::new())
    }

    /// The key's number. It is added to `held` unless it is published.
    fn hold_key(&self, name: &str, held: &mut Vec<KeyId>) -> KeyId {
        let mut hold = |tables: &Tables| {
            let &id = tables.key_ids.get(name)?;
            let slot = tables.keys.get(id.0 as usize)?.as_ref()?;
            if !slot.is_published() {
                // Numbers are freed under the write lock only, so this one is still there.
                slot.holders.fetch_add(1, Ordering::AcqRel);
                held.push(id);
            }
            Some(id)
        };
        if let Some(id) = hold(&self.tables.read()) {
            return id;
        }
        let mut tables = self.tables.write();
        if let Some(id) = hold(&tables) {
            return id;
        }
        let id = tables.next_key();
        self.note_branches(name);
        let name: Arc<str> = name.into();
        let slot = Slot::new(name.clone(), false);
        slot.holders.store(1, Ordering::Release);
        set(&mut tables.keys, id.0 as usize, slot);
        tables.key_ids.insert(name, id);
        held.push(id);
        id
    }

    /// Holds numbers for good: they are in use without a frame that defines them.
    pub fn hold_for_good(&self, keys: &[KeyId], context: ContextId) {
        let tables = self.tables.read();
        for id in keys {
            let Some(Some(slot)) = tables.keys.get(id.0 as usize) else {
                debug_assert!(false, "key {} is in use, and has no name", id.0);
                continue;
            };
            slot.holders.fetch_add(1, Ordering::AcqRel);
        }
        if let Some(Some(slot)) = tables.contexts.get(context.0 as usize) {
            slot.holders.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Gives up one hold on each number. Those that nobody holds and no frame defines are free.
    fn release(&self, keys: &[KeyId], contexts: &[ContextId]) {
        {
            // Usually the batch was published, and nothing must be removed.
            let tables = self.tables.read();
            let keys_published = keys.iter().all(|id| tables.keys.get(id.0 as usize).is_some_and(is_published));
            if keys_published && contexts.iter().all(|id| tables.contexts.get(id.0 as usize).is_some_and(is_published))
            {
                return;
            }
        }
        let tables = &mut *self.tables.write();
        for id in keys {
            let Some(slot) = tables.keys.get_mut(id.0 as usize) else {
                debug_assert!(false, "key {} was held, and is not there", id.0);
                continue;
            };
            if let Some(free) = slot.take_if(|slot| slot.let_go()) {
                tables.key_ids.remove(&free.value);
                tables.free_keys.push(*id);
            }
        }
        for id in contexts {
            let Some(slot) = tables.contexts.get_mut(id.0 as usize) else {
                debug_assert!(false, "context {} was held, and is not there", id.0);
                continue;
            };
            if let Some(free) = slot.take_if(|slot| slot.let_go()) {
                tables.context_ids.remove(&free.value);
                tables.free_contexts.push(*id);
            }
        }
    }

    /// The key's number; `None` if it has none.
    pub fn find_key(&self, name: &str) -> Option<KeyId> {
        self.tables.read().key_ids.get(name).copied()
    }

    /// The key with this number; `None` if the number is unknown.
    pub fn key_name(&self, id: KeyId) -> Option<Arc<str>> {
        self.tables.read().keys.get(id.0 as usize)?.as_ref().map(|slot| slot.value.clone())
    }

    /// The names of many numbers; unknown ones are left out.
    pub fn key_names<T>(&self, items: impl Iterator<Item = (KeyId, T)>) -> Vec<(Arc<str>, T)> {
        let tables = self.tables.read();
        items.filter_map(|(id, item)| Some((tables.keys.get(id.0 as usize)?.as_ref()?.value.clone(), item))).collect()
    }

    fn note_branches(&self, name: &str) {
        if !branch::is_plain(name) {
            self.has_branches.store(true, Ordering::Release);
        }
    }

    /// Whether there are keys of branches. If not, no run was ever rewound, and every key is a metric's own.
    #[inline]
    pub fn has_branches(&self) -> bool {
        self.has_branches.load(Ordering::Acquire)
    }

    /// The key under which a branch has its own points of a metric; a new number if it has none. `None` if the
    /// metric's number is unknown.
    pub fn own_key(&self, metric: KeyId, branch: u32) -> Option<KeyId> {
        if branch == 0 {
            return Some(metric);
        }
        if let Some(&own) = self.tables.read().own_keys.get(&(branch, metric)) {
            return Some(own);
        }
        let name = self.key_name(metric)?;
        // Both numbers are held for good, because the pair is remembered.
        self.key(&name);
        let own = self.key(&branch::own_key(&name, branch));
        self.tables.write().own_keys.insert((branch, metric), own);
        Some(own)
    }

    /// The metric of a key: the key itself, or the metric of which it holds a branch's own points.
    pub fn metric_of(&self, key: KeyId) -> KeyId {
        if !self.has_branches() {
            return key;
        }
        let tables = self.tables.read();
        tables.part(key).and_then(|part| tables.key_ids.get(part.metric).copied()).unwrap_or(key)
    }

    /// Selects the statistics of one branch, by metric, from those of all series of a run (ascending by key).
    pub fn stats_of_branch(&self, branch: u32, stats: Vec<(KeyId, Stats)>) -> Vec<(KeyId, Stats)> {
        if !self.has_branches() {
            return stats;
        }
        let tables = self.tables.read();
        let mut kept: FxHashMap<KeyId, Stats> = FxHashMap::default();
        let mut own: Vec<(KeyId, Stats)> = Vec::with_capacity(stats.len());
        for (key, stats) in stats {
            let Some(part) = tables.part(key).filter(|part| part.branch == branch) else { continue };
            let Some(&metric) = tables.key_ids.get(part.metric) else { continue };
            match part.is_kept {
                true => drop(kept.insert(metric, stats)),
                false => own.push((metric, stats)),
            }
        }
        for (metric, stats) in &mut own {
            if let Some(mut all) = kept.remove(metric) {
                all.merge(stats);
                *stats = all;
            }
        }
        own.extend(kept);
        own.sort_unstable_by_key(|(metric, _)| *metric);
        own
    }

    /// Number of metric keys.
    #[cfg(test)]
    pub(crate) fn keys_count(&self) -> usize {
        self.tables.read().keys.len()
    }

    /// The context's number; 0 for the empty context. The number stays valid as long as this dictionary.
    #[cfg(test)]
    pub fn context(&self, context: &MetricContext) -> ContextId {
        self.hold_context(context, &mut Vec::new())
    }

    /// The context's number. It is added to `held` unless it is published.
    fn hold_context(&self, context: &MetricContext, held: &mut Vec<ContextId>) -> ContextId {
        if context.is_empty() {
            return ContextId(0);
        }
        let mut hold = |tables: &Tables| {
            let &id = tables.context_ids.get(context)?;
            let slot = tables.contexts.get(id.0 as usize)?.as_ref()?;
            if !slot.is_published() {
                slot.holders.fetch_add(1, Ordering::AcqRel);
                held.push(id);
            }
            Some(id)
        };
        if let Some(id) = hold(&self.tables.read()) {
            return id;
        }
        let mut tables = self.tables.write();
        if let Some(id) = hold(&tables) {
            return id;
        }
        let id = tables.next_context();
        let context = Arc::new(context.clone());
        let slot = Slot::new(context.clone(), false);
        slot.holders.store(1, Ordering::Release);
        set(&mut tables.contexts, id.0 as usize, slot);
        tables.context_ids.insert(context, id);
        held.push(id);
        id
    }

    /// The context with this number; `None` for 0 and for unknown numbers.
    pub fn context_of(&self, id: ContextId) -> Option<Arc<MetricContext>> {
        self.tables.read().contexts.get(id.0 as usize)?.as_ref().map(|slot| slot.value.clone())
    }

    /// Calls `put` with the definition of every number that is not published yet. False if a number is unknown.
    pub fn unpublished(
        &self,
        keys: impl Iterator<Item = KeyId>,
        contexts: impl Iterator<Item = ContextId>,
        mut put: impl FnMut(Definition<'_>),
    ) -> bool {
        let tables = self.tables.read();
        let mut known = true;
        for id in keys {
            match tables.keys.get(id.0 as usize) {
                Some(Some(slot)) if slot.is_published() => {}
                Some(Some(slot)) => put(Definition::Key(id, &slot.value)),
                _ => known = false,
            }
        }
        for id in contexts.filter(|id| id.0 != 0) {
            match tables.contexts.get(id.0 as usize) {
                Some(Some(slot)) if slot.is_published() => {}
                Some(Some(slot)) => put(Definition::Context(id, &slot.value.encode())),
                _ => known = false,
            }
        }
        known
    }

    /// Records that a frame with these definitions is in the log, and adds those that are unknown here.
    pub fn published(&self, definitions: &[Definition<'_>], lsn: Lsn) -> Result<()> {
        self.load(definitions)?;
        let fresh = definitions.iter().map(|definition| match definition {
            Definition::Key(id, name) => Fresh { lsn, id: id.0, is_key: true, bytes: name.as_bytes().to_vec() },
            Definition::Context(id, bytes) => Fresh { lsn, id: id.0, is_key: false, bytes: bytes.to_vec() },
        });
        self.fresh.lock().extend(fresh);
        Ok(())
    }

    /// As [`Dictionary::published`], for keys that are already known.
    pub fn published_keys(&self, keys: &[KeyId], lsn: Lsn) {
        let tables = self.tables.read();
        let slots = keys.iter().filter_map(|id| Some((id, tables.keys.get(id.0 as usize)?.as_ref()?)));
        let fresh = slots.filter(|(_, slot)| !slot.published.swap(true, Ordering::AcqRel)).map(|(id, slot)| Fresh {
            lsn,
            id: id.0,
            is_key: true,
            bytes: slot.value.as_bytes().to_vec(),
        });
        self.fresh.lock().extend(fresh);
    }

    /// Definitions published at most at `up_to` that the index does not have.
    pub fn fresh(&self, up_to: Lsn) -> Vec<Fresh> {
        self.fresh.lock().iter().filter(|fresh| fresh.lsn <= up_to).cloned().collect()
    }

    /// Forgets the definitions published at most at `up_to`: the index has them.
    pub fn forget_fresh(&self, up_to: Lsn) {
        self.fresh.lock().retain(|fresh| fresh.lsn > up_to);
    }

    /// Loads definitions from the log or the index. Equal repeats are fine.
    pub fn load(&self, definitions: &[Definition<'_>]) -> Result<()> {
        let mut tables = self.tables.write();
        for definition in definitions {
            let id = match definition {
                Definition::Key(id, _) => id.0,
                Definition::Context(id, _) => id.0,
            };
            if id > ID_MAX {
                return Err(Error::Internal(format!("dictionary number {id} is out of range")));
            }
            match definition {
                Definition::Key(id, name) => {
                    self.note_branches(name);
                    let name: Arc<str> = (*name).into();
                    let slot = Slot::new(name.clone(), true);
                    set(&mut tables.keys, id.0 as usize, slot);
                    tables.key_ids.insert(name, *id);
                }
                Definition::Context(id, bytes) => {
                    let Some(context) = MetricContext::decode(bytes) else {
                        return Err(Error::Internal(format!("context {} does not decode", id.0)));
                    };
                    let context = Arc::new(context);
                    let slot = Slot::new(context.clone(), true);
                    set(&mut tables.contexts, id.0 as usize, slot);
                    tables.context_ids.insert(context, *id);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_no_frame_defined_is_free_when_nobody_holds_it() {
        let dictionary = Arc::new(Dictionary::default());
        let model = |id: &str| MetricContext { model_id: Some(id.into()), ..Default::default() };
        let mut refused = dictionary.reserve();
        let loss = refused.key("loss");
        let context = refused.context(&model("a"));
        let mut accepted = dictionary.reserve();
        assert_eq!(accepted.key("loss"), loss);
        drop(refused);
        // The other batch still holds it.
        assert_eq!(dictionary.find_key("loss"), Some(loss));
        assert_eq!(dictionary.context_of(context), None);
        dictionary.published_keys(&[loss], Lsn(1));
        drop(accepted);
        assert_eq!(dictionary.find_key("loss"), Some(loss));
        for batch in 0..100 {
            let mut refused = dictionary.reserve();
            for key in 0..10 {
                let id = refused.key(&format!("{batch}-{key}"));
                assert_ne!(id, loss);
                refused.context(&model(&format!("{batch}-{key}")));
            }
        }
        assert_eq!(dictionary.keys_count(), 11);
        assert_eq!(dictionary.find_key("3-3"), None);
        let kept = dictionary.key("kept");
        assert_eq!(dictionary.reserve().key("kept"), kept);
        assert_eq!(dictionary.find_key("kept"), Some(kept), "who asked for it without a reservation keeps it");
    }

    #[test]
    fn an_unpublished_number_repeats_its_definition_until_it_is_published() {
        let dictionary = Dictionary::default();
        let loss = dictionary.key("loss");
        assert_eq!(dictionary.key("loss"), loss);
        let context = dictionary.context(&MetricContext { model_id: Some("m-1".into()), ..Default::default() });
        assert_eq!(context, ContextId(1));
        let mut seen = 0;
        assert!(dictionary.unpublished([loss].into_iter(), [context, ContextId(0)].into_iter(), |_| seen += 1));
        assert_eq!(seen, 2);
        dictionary.published(&[Definition::Key(loss, "loss")], Lsn(1)).unwrap();
        assert_eq!(dictionary.fresh(Lsn(1)).len(), 1);
        seen = 0;
        assert!(dictionary.unpublished([loss].into_iter(), [context].into_iter(), |_| seen += 1));
        assert_eq!(seen, 1);
        assert!(!dictionary.unpublished([KeyId(9)].into_iter(), [].into_iter(), |_| {}));
    }
}
