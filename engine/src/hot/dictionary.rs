//! The store-wide dictionary: metric keys and contexts have small numbers, so that frames and rows stay small.
//!
//! A number may be used before a frame that defines it is published; every frame that uses an unpublished number
//! repeats the definition. Numbers are dense from 0 (contexts from 1; 0 is "none") and never reused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
}

#[derive(Debug, Default)]
struct Tables {
    keys: Vec<Option<Slot<Arc<str>>>>,
    key_ids: FxHashMap<Arc<str>, KeyId>,
    contexts: Vec<Option<Slot<Arc<MetricContext>>>>,
    context_ids: FxHashMap<Arc<MetricContext>, ContextId>,
    /// Keys of a branch's own points, as far as they were asked for: (branch, key of the metric).
    own_keys: FxHashMap<(u32, KeyId), KeyId>,
}

/// Numbers of metric keys and contexts.
#[derive(Debug, Default)]
pub struct Dictionary {
    tables: RwLock<Tables>,
    /// There are keys of branches: some run was rewound.
    has_branches: AtomicBool,
    /// Published and not yet in the index.
    fresh: Mutex<Vec<Fresh>>,
}

/// A definition on its way to the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fresh {
    /// Where it was published.
    pub lsn: Lsn,
    /// The definition; a key if `key` is set, else a context.
    pub id: u32,
    /// Whether it is a metric key.
    pub is_key: bool,
    /// Name, or encoded context.
    pub bytes: Vec<u8>,
}

fn set<T>(slots: &mut Vec<Option<Slot<T>>>, index: usize, slot: Slot<T>) {
    if slots.len() <= index {
        slots.resize_with(index + 1, || None);
    }
    slots[index] = Some(slot);
}

impl Tables {
    fn part(&self, key: KeyId) -> Option<KeyPart<'_>> {
        branch::parse(&self.keys.get(key.0 as usize)?.as_ref()?.value)
    }
}

/// Numbers beyond this in a definition are damage: a dictionary is dense.
const ID_MAX: u32 = 1 << 28;

impl Dictionary {
    /// The key's number; a new one if it has none.
    pub fn key(&self, name: &str) -> KeyId {
        if let Some(&id) = self.tables.read().key_ids.get(name) {
            return id;
        }
        let mut tables = self.tables.write();
        if let Some(&id) = tables.key_ids.get(name) {
            return id;
        }
        let id = KeyId(tables.keys.len() as u32);
        self.note_branches(name);
        let name: Arc<str> = name.into();
        tables.keys.push(Some(Slot { value: name.clone(), published: AtomicBool::new(false) }));
        tables.key_ids.insert(name, id);
        id
    }

    /// The key's number, if it has one.
    pub fn find_key(&self, name: &str) -> Option<KeyId> {
        self.tables.read().key_ids.get(name).copied()
    }

    /// The key of a number.
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

    /// Whether there are keys of branches. If not, no run was ever rewound: every series is what it seems.
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
        let own = self.key(&branch::own_key(&self.key_name(metric)?, branch));
        self.tables.write().own_keys.insert((branch, metric), own);
        Some(own)
    }

    /// The metric that a key belongs to: itself, or what a branch has of it.
    pub fn metric_of(&self, key: KeyId) -> KeyId {
        if !self.has_branches() {
            return key;
        }
        let tables = self.tables.read();
        tables.part(key).and_then(|part| tables.key_ids.get(part.metric).copied()).unwrap_or(key)
    }

    /// Of the statistics of all series of a run, ascending by key: those of a branch, by metric.
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

    /// How many numbers of keys there are.
    pub fn keys_count(&self) -> usize {
        self.tables.read().keys.len()
    }

    /// The context's number; 0 for the empty one.
    pub fn context(&self, context: &MetricContext) -> ContextId {
        if context.is_empty() {
            return ContextId(0);
        }
        if let Some(&id) = self.tables.read().context_ids.get(context) {
            return id;
        }
        let mut tables = self.tables.write();
        if let Some(&id) = tables.context_ids.get(context) {
            return id;
        }
        let id = ContextId(tables.contexts.len().max(1) as u32);
        let context = Arc::new(context.clone());
        set(&mut tables.contexts, id.0 as usize, Slot { value: context.clone(), published: AtomicBool::new(false) });
        tables.context_ids.insert(context, id);
        id
    }

    /// The context of a number; `None` for 0 and for unknown ones.
    pub fn context_of(&self, id: ContextId) -> Option<Arc<MetricContext>> {
        self.tables.read().contexts.get(id.0 as usize)?.as_ref().map(|slot| slot.value.clone())
    }

    /// Calls `put` with the definition of every id that is not published yet. False if an id is unknown.
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
                Some(Some(slot)) if slot.published.load(Ordering::Acquire) => {}
                Some(Some(slot)) => put(Definition::Key(id, &slot.value)),
                _ => known = false,
            }
        }
        for id in contexts.filter(|id| id.0 != 0) {
            match tables.contexts.get(id.0 as usize) {
                Some(Some(slot)) if slot.published.load(Ordering::Acquire) => {}
                Some(Some(slot)) => put(Definition::Context(id, &slot.value.encode())),
                _ => known = false,
            }
        }
        known
    }

    /// Notes that a frame with these definitions is in the log; unknown ones are taken over.
    pub fn published(&self, definitions: &[Definition<'_>], lsn: Lsn) -> Result<()> {
        self.load(definitions)?;
        let fresh = definitions.iter().map(|definition| match definition {
            Definition::Key(id, name) => Fresh { lsn, id: id.0, is_key: true, bytes: name.as_bytes().to_vec() },
            Definition::Context(id, bytes) => Fresh { lsn, id: id.0, is_key: false, bytes: bytes.to_vec() },
        });
        self.fresh.lock().extend(fresh);
        Ok(())
    }

    /// As [`Dictionary::published`], for keys that are known here.
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

    /// Definitions published at most at `up_to` that the index has not got.
    pub fn fresh(&self, up_to: Lsn) -> Vec<Fresh> {
        self.fresh.lock().iter().filter(|fresh| fresh.lsn <= up_to).cloned().collect()
    }

    /// The index has those published at most at `up_to`.
    pub fn forget_fresh(&self, up_to: Lsn) {
        self.fresh.lock().retain(|fresh| fresh.lsn > up_to);
    }

    /// Takes over definitions from the log or the index. Equal repeats are fine.
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
                    let slot = Slot { value: name.clone(), published: AtomicBool::new(true) };
                    set(&mut tables.keys, id.0 as usize, slot);
                    tables.key_ids.insert(name, *id);
                }
                Definition::Context(id, bytes) => {
                    let Some(context) = MetricContext::decode(bytes) else {
                        return Err(Error::Internal(format!("context {} does not decode", id.0)));
                    };
                    let context = Arc::new(context);
                    let slot = Slot { value: context.clone(), published: AtomicBool::new(true) };
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
