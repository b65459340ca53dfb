//! Writes the rows of one change into redb's tables.
//!
//! Keys are sorted first: rows after a table's last key are appended through a cursor, and so is every row of a bulk
//! load. Rows of series come one by one ([`Rows`]), and redb writes pages out as its cache fills: a transaction takes
//! no more memory for a million series than for one.

use std::ops::Bound;

use redb::{Key, ReadableTable, ReadableTableMetadata, Table, Value, WriteTransaction};

use super::change::{IndexChange, OrError, Rows};
use super::keys;
use super::rows;
use super::stats_page;
use super::tables::*;
use crate::entity::{EntityKey, EntityState, Lifecycle};
use crate::error::{Error, Result};
use crate::id::{KeyId, Lsn, RunId, SeriesId};
use crate::point::Stats;
use crate::time::TimestampMs;

/// Number of idempotency keys kept; beyond it the oldest are removed, whatever their age.
pub(super) const IDEMPOTENCY_COUNT_MAX: u64 = 1_000_000;

/// Writes a whole change: every row, and the positions that they belong to.
pub(super) fn write_all(transaction: &WriteTransaction, change: &IndexChange, more: Rows<'_>) -> Result<()> {
    for run in &change.purged {
        let (first, last) = run_bounds(*run);
        let (from, to) = (keys::series(first), keys::series(last));
        let mut stats = transaction.open_table(STATS).or_error("write")?;
        stats.retain_in::<&[u8; 20], _>(&from..=&to, |_, _| false).or_error("write")?;
        let (from, to) = (keys::chunk(first, 0, 0), keys::chunk(last, u64::MAX, u32::MAX));
        let mut chunks = transaction.open_table(CHUNKS).or_error("write")?;
        chunks.retain_in::<&[u8; 32], _>(&from..=&to, |_, _| false).or_error("write")?;
        let entity = keys::entity(&EntityKey::Run(*run));
        let (from, to) = (keys::event_list(&entity, Lsn::ZERO), keys::event_list(&entity, Lsn::MAX));
        let mut events = transaction.open_table(EVENTS).or_error("write")?;
        events.retain_in::<&[u8], _>(from.as_slice()..=to.as_slice(), |_, _| false).or_error("write")?;
    }
    write_entities(transaction, change)?;
    write_points(transaction, change, more)?;
    let events = sorted(&change.events, |(key, list)| {
        let first = list.first().map_or(Lsn::ZERO, |(lsn, _)| *lsn);
        keys::event_list(&keys::entity(key), first)
    });
    let mut table = transaction.open_table(EVENTS).or_error("write")?;
    put(
        &mut table,
        &events,
        |(key, _), out| out.extend_from_slice(key),
        |(_, (_, list)), out| {
            rows::put_event_list(list, out);
            Ok(())
        },
    )?;
    drop(table);
    write_rest(transaction, change)?;
    let mut meta = transaction.open_table(META).or_error("write")?;
    let positions = rows::three([change.applied.0, change.sealed.0, change.generation]);
    meta.insert(META_POSITIONS, positions.as_slice()).or_error("write")?;
    Ok(())
}

fn run_bounds(run: RunId) -> (SeriesId, SeriesId) {
    (SeriesId { run, key: KeyId(0) }, SeriesId { run, key: KeyId(u32::MAX) })
}

/// References sorted by key; of equal keys the last one.
fn sorted<T, K: Ord>(items: &[T], key: impl Fn(&T) -> K) -> Vec<(K, &T)> {
    let mut refs: Vec<(K, &T)> = items.iter().map(|item| (key(item), item)).collect();
    if !refs.is_sorted_by(|a, b| a.0 < b.0) {
        refs.sort_by(|a, b| a.0.cmp(&b.0));
        refs.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                earlier.1 = later.1;
            }
            same
        });
    }
    refs
}

/// After this many consecutive new keys, a gap between two keys of the table is filled through a cursor.
const FRESH_MIN: u32 = 4;

/// Puts rows whose keys ascend strictly.
///
/// Rows after the table's last key, and rows that all fall between two of its keys (the series of a new run), go
/// through a cursor: it fills pages instead of looking each key up, three times as fast.
fn put<K: Key + 'static, V: Value + 'static, T>(
    table: &mut Table<'_, K, V>,
    items: &[T],
    key: impl Fn(&T, &mut Vec<u8>),
    row: impl Fn(&T, &mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    let mut items = items.iter();
    let next = |key_bytes: &mut Vec<u8>, row_bytes: &mut Vec<u8>| match items.next() {
        Some(item) => {
            key(item, key_bytes);
            row(item, row_bytes)?;
            Ok(true)
        }
        None => Ok(false),
    };
    put_each(table, next, None)
}

/// Merges the old row of a key into its new one.
type Merge<'a> = &'a dyn Fn(&[u8], &mut Vec<u8>) -> Result<()>;

/// Puts rows whose keys ascend strictly. `next` fills empty buffers with key and row, or says that there are no more. A
/// row replaces the old one of its key, or is merged with it.
fn put_each<K: Key + 'static, V: Value + 'static>(
    table: &mut Table<'_, K, V>,
    mut next: impl FnMut(&mut Vec<u8>, &mut Vec<u8>) -> Result<bool>,
    merge: Option<Merge<'_>>,
) -> Result<()> {
    let owned = |guard: &redb::AccessGuard<'_, K>| K::as_bytes(&guard.value()).as_ref().to_vec();
    let last = table.last().or_error("write")?.map(|(key, _)| owned(&key));
    let (mut key, mut row, mut before) = (Vec::new(), Vec::new(), Vec::new());
    let mut pull = |key: &mut Vec<u8>, row: &mut Vec<u8>| {
        std::mem::swap(key, &mut before);
        key.clear();
        row.clear();
        let more = next(key, row)?;
        if more && !before.is_empty() && K::compare(key, &before).is_le() {
            return Err(Error::Internal("rows for the index came out of order".into()));
        }
        Ok(more)
    };
    let mut more = pull(&mut key, &mut row)?;
    let mut fresh = 0;
    while more {
        let behind = last.as_ref().is_none_or(|last| K::compare(&key, last).is_gt());
        if !behind && fresh < FRESH_MIN {
            if let Some(merge) = merge
                && let Some(old) = table.get(K::from_bytes(&key)).or_error("write")?
            {
                merge(V::as_bytes(&old.value()).as_ref(), &mut row)?;
            }
            let old = table.insert(K::from_bytes(&key), V::from_bytes(&row)).or_error("write")?.is_some();
            fresh = if old { 0 } else { fresh + 1 };
            more = pull(&mut key, &mut row)?;
            continue;
        }
        let mut cursor = if behind {
            table.upper_bound_mut(Bound::<K::SelfType<'_>>::Unbounded).or_error("write")?
        } else {
            table.lower_bound_mut(Bound::Included(K::from_bytes(&key))).or_error("write")?
        };
        let end = cursor.peek_next().or_error("write")?.map(|(key, _)| owned(&key));
        let mut count = 0;
        while more && end.as_ref().is_none_or(|end| K::compare(&key, end).is_lt()) {
            cursor.insert_before(K::from_bytes(&key), V::from_bytes(&row)).or_error("write")?;
            count += 1;
            more = pull(&mut key, &mut row)?;
        }
        cursor.close().or_error("write")?;
        // The gap was too short, or the key exists: look keys up for a while.
        fresh = if count > FRESH_MIN { FRESH_MIN - 1 } else { 0 };
    }
    Ok(())
}

fn write_entities(transaction: &WriteTransaction, change: &IndexChange) -> Result<()> {
    let entities = sorted(&change.entities, |(key, _)| keys::entity(key));
    let mut table = transaction.open_table(ENTITIES).or_error("write")?;
    // A purged run keeps no start time. What it is listed under is known from its old row.
    let mut purged = Vec::new();
    for (key, (entity, state)) in &entities {
        if let (EntityKey::Run(id), EntityState::Run(state)) = (entity, &**state)
            && state.lifecycle == Lifecycle::Purged
            && let Some(old) = table.get(key.as_slice()).or_error("write")?
        {
            let start_time_ms = rows::access_run(old.value())?.start_time_ms.to_native();
            purged.push(keys::run_of(state.experiment, start_time_ms, *id));
        }
    }
    put(
        &mut table,
        &entities,
        |(key, _), out| out.extend_from_slice(key),
        |(_, (_, state)), out| rows::put_entity(state, out),
    )?;
    drop(table);

    let mut runs = Vec::new();
    let mut models = Vec::new();
    for (_, (key, state)) in &entities {
        match (key, &**state) {
            (EntityKey::Run(id), EntityState::Run(state)) if state.lifecycle != Lifecycle::Purged => {
                runs.push(keys::run_of(state.experiment, state.start_time_ms, *id));
            }
            (EntityKey::LoggedModel(id), EntityState::LoggedModel(state)) => {
                models.push(keys::member(state.experiment, state.created, id.0));
            }
            _ => {}
        }
    }
    let mut table = transaction.open_table(RUNS).or_error("write")?;
    put_members(&mut table, runs)?;
    for key in purged {
        table.remove(&key).or_error("write")?;
    }
    drop(table);
    put_members(&mut transaction.open_table(LOGGED_MODELS).or_error("write")?, models)
}

/// Adds the members that are missing. Most changes are of existing entities, and a page that is not written is free.
fn put_members(table: &mut Table<'_, &'static [u8; 32], ()>, mut members: Vec<[u8; 32]>) -> Result<()> {
    members.sort_unstable();
    let mut fresh = Vec::with_capacity(members.len());
    for key in members {
        if table.get(&key).or_error("write")?.is_none() {
            fresh.push(key);
        }
    }
    put(table, &fresh, |key, out| out.extend_from_slice(key), |_, _| Ok(()))
}

/// Puts statistics of series, which ascend strictly, into their pages.
fn put_stats(
    table: &mut Table<'_, &'static [u8; 20], &'static [u8]>,
    mut stats: impl Iterator<Item = Result<(SeriesId, Stats)>>,
) -> Result<()> {
    let mut held = stats.next().transpose()?;
    let mut list = Vec::new();
    let next = |key: &mut Vec<u8>, row: &mut Vec<u8>| {
        let Some((series, first)) = held.take() else { return Ok(false) };
        let page = keys::page_of(series);
        list.clear();
        list.push((series.key, first));
        while let Some((series, stats)) = stats.next().transpose()? {
            if keys::page_of(series) != page {
                held = Some((series, stats));
                break;
            }
            if list.last().is_some_and(|(before, _)| *before >= series.key) {
                return Err(Error::Internal("statistics for the index came out of order".into()));
            }
            list.push((series.key, stats));
        }
        key.extend_from_slice(&keys::series(page));
        stats_page::encode(&list, row);
        Ok(true)
    };
    let merge = |old: &[u8], row: &mut Vec<u8>| {
        stats_page::merge(old, row).ok_or_else(|| rows::malformed("stats", "another form"))
    };
    put_each(table, next, Some(&merge))
}

fn write_points(transaction: &WriteTransaction, change: &IndexChange, more: Rows<'_>) -> Result<()> {
    let mut purged = change.purged.clone();
    purged.sort_unstable();
    let is_purged = |series: &SeriesId| !purged.is_empty() && purged.binary_search(&series.run).is_ok();
    let mut stats = sorted(&change.stats, |(series, _)| *series);
    stats.retain(|(series, _)| !is_purged(series));
    let mut table = transaction.open_table(STATS).or_error("write")?;
    put_stats(&mut table, stats.into_iter().map(|(_, row)| Ok(*row)))?;
    if let Some(stats) = more.stats {
        put_stats(&mut table, stats.filter(|row| row.as_ref().map_or(true, |(series, _)| !is_purged(series))))?;
    }
    drop(table);

    let mut table = transaction.open_table(CHUNKS).or_error("write")?;
    let removed = sorted(&change.chunks_removed, |(series, file, chunk)| keys::chunk(*series, *file, *chunk));
    for (key, _) in &removed {
        table.remove(key).or_error("write")?;
    }
    let added = sorted(&change.chunks_added, |(series, file, chunk, _)| keys::chunk(*series, *file, *chunk));
    put(
        &mut table,
        &added,
        |(key, _), out| out.extend_from_slice(key),
        |(_, (.., entry)), out| {
            out.extend_from_slice(entry);
            Ok(())
        },
    )?;
    for mut chunks in more.chunks {
        let next = |key: &mut Vec<u8>, row: &mut Vec<u8>| {
            let Some((series, file, chunk)) = chunks(row) else { return Ok(false) };
            key.extend_from_slice(&keys::chunk(series, file, chunk));
            Ok(true)
        };
        put_each(&mut table, next, None)?;
    }
    drop(table);

    let mut table = transaction.open_table(FILES).or_error("write")?;
    for file in &change.files_removed {
        table.remove(file).or_error("write")?;
    }
    for (file, row) in &change.files_added {
        table.insert(file, row.as_slice()).or_error("write")?;
    }
    Ok(())
}

fn write_rest(transaction: &WriteTransaction, change: &IndexChange) -> Result<()> {
    let mut table = transaction.open_table(DICTIONARY).or_error("write")?;
    let entries = sorted(&change.dictionary, |entry| keys::dictionary(entry.kind, entry.id));
    put(
        &mut table,
        &entries,
        |(key, _), out| out.extend_from_slice(key),
        |(_, entry), out| {
            out.extend_from_slice(&entry.bytes);
            Ok(())
        },
    )?;
    drop(table);

    let mut used = transaction.open_table(IDEMPOTENCY).or_error("write")?;
    let mut ages = transaction.open_table(IDEMPOTENCY_AGE).or_error("write")?;
    for entry in &change.idempotency {
        let row = rows::three([entry.request, entry.lsn.0, entry.time.0 as u64]);
        used.insert(entry.key.as_slice(), &row).or_error("write")?;
        ages.insert(entry.lsn.0, entry.key.as_slice()).or_error("write")?;
    }
    expire(&mut used, &mut ages, change.idempotency_expired_before)?;
    drop((used, ages));

    let mut table = transaction.open_table(WRITERS).or_error("write")?;
    for (writer, row) in &change.writers {
        table.insert(writer.as_slice(), row.as_slice()).or_error("write")?;
    }
    drop(table);
    let mut table = transaction.open_table(UNKNOWN).or_error("write")?;
    for (tag, more) in &change.unknown_events {
        let count = table.get(tag).or_error("write")?.map_or(0, |count| count.value());
        table.insert(tag, count.saturating_add(*more)).or_error("write")?;
    }
    Ok(())
}

/// Removes the oldest keys while they are too old or too many.
fn expire(
    used: &mut Table<'_, &'static [u8], &'static [u8; 24]>,
    ages: &mut Table<'_, u64, &'static [u8]>,
    before: Option<TimestampMs>,
) -> Result<()> {
    loop {
        let Some((lsn, key)) = ages.first().or_error("write")?.map(|(lsn, key)| (lsn.value(), key.value().to_vec()))
        else {
            return Ok(());
        };
        let row = used.get(key.as_slice()).or_error("write")?.and_then(|row| rows::read_three(row.value()));
        // A key that was used again since has a younger entry.
        let current = row.filter(|[_, at, _]| *at == lsn);
        if let Some([.., time]) = current {
            let old = before.is_some_and(|before| (time as i64) < before.0);
            if !old && ages.len().or_error("write")? <= IDEMPOTENCY_COUNT_MAX {
                return Ok(());
            }
            used.remove(key.as_slice()).or_error("write")?;
        }
        ages.remove(lsn).or_error("write")?;
    }
}
