//! Lists of keys and values, sorted by key, each key once.

use super::state::RunState;
use crate::event::KeyValue;

/// The tag that always equals a run's name.
pub const RUN_NAME_TAG: &str = "mlflow.runName";

/// Longer lists are merged in one pass; inserting one by one would be quadratic.
const INSERTS_MAX: usize = 16;

/// Puts pairs into a sorted list. `replace`: the last value of a key wins; else the first value ever set stays.
pub(super) fn put_pairs(list: &mut Vec<KeyValue>, pairs: &[KeyValue], replace: bool) {
    if pairs.len() <= INSERTS_MAX {
        for (key, value) in pairs {
            match list.binary_search_by(|(have, _)| have.cmp(key)) {
                Ok(at) if replace => list[at].1.clone_from(value),
                Ok(_) => {}
                Err(at) => list.insert(at, (key.clone(), value.clone())),
            }
        }
        return;
    }
    let mut fresh: Vec<&KeyValue> = pairs.iter().collect();
    fresh.sort_by(|a, b| a.0.cmp(&b.0));
    fresh.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same && replace {
            *earlier = later;
        }
        same
    });
    let old = std::mem::take(list);
    list.reserve_exact(old.len() + fresh.len());
    let mut fresh = fresh.into_iter().peekable();
    for pair in old {
        while let Some(new) = fresh.next_if(|new| new.0 < pair.0) {
            list.push(new.clone());
        }
        match fresh.next_if(|new| new.0 == pair.0) {
            Some(new) if replace => list.push(new.clone()),
            _ => list.push(pair),
        }
    }
    list.extend(fresh.cloned());
}

pub(super) fn remove_pair(list: &mut Vec<KeyValue>, key: &str) {
    if let Ok(at) = list.binary_search_by(|(have, _)| have.as_str().cmp(key)) {
        list.remove(at);
    }
}

pub(super) fn sorted_pairs(pairs: &[KeyValue], replace: bool) -> Vec<KeyValue> {
    let mut list = Vec::with_capacity(pairs.len());
    put_pairs(&mut list, pairs, replace);
    list
}

/// Sets tags of a run; `mlflow.runName` renames it, unless empty.
pub(super) fn put_run_tags(name: &mut String, list: &mut Vec<KeyValue>, tags: &[KeyValue]) {
    let no_name = |(key, value): &&KeyValue| key == RUN_NAME_TAG && value.is_empty();
    if tags.iter().any(|tag| no_name(&tag)) {
        let tags: Vec<KeyValue> = tags.iter().filter(|tag| !no_name(tag)).cloned().collect();
        return put_run_tags(name, list, &tags);
    }
    put_pairs(list, tags, true);
    if let Some((_, value)) = tags.iter().rev().find(|(key, _)| key == RUN_NAME_TAG) {
        name.clone_from(value);
    }
}

pub(super) fn put_run_name(run: &mut RunState, name: &str) {
    if !name.is_empty() {
        name.clone_into(&mut run.name);
        put_pairs(&mut run.tags, &[(RUN_NAME_TAG.to_owned(), name.to_owned())], true);
    }
}
