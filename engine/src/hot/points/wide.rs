//! Wide rows above the sealed position: steps of a run with very many keys, left in the log.
//!
//! A row of 100,000 keys would cost 3.2 MB of heads, and a loop that logs one at every step would outrun sealing. So
//! only the place of a row is kept (lsn, step, time, offset of its values: 32 bytes). Which key has which place in the
//! row is kept once for all rows of the same keys, as a [`Shape`]:
//! ```text
//! rows   group: shape, segment, context | row row row ...      up to 256 rows of one shape in one segment
//! shape  keys ascending | their places in the row              places only if the row was not logged in this order
//! ```
//!
//! Invariants: groups and rows are in the order of Lsn; no key is twice in a shape; a frame that has a wide row has no
//! other points (so the Lsn alone says what came first); a group that a reader holds is never changed (copy on write).

use std::sync::Arc;

use crate::error::Result;
use crate::hot::SectionSource;
use crate::id::{ContextId, KeyId, Lsn};
use crate::point::{Columns, Point};
use crate::time::TimestampMs;

/// Rows of at least this many keys are wide. The points of a narrower row are copied, so that a series is read from one
/// place, however many rows there are. Small in tests, so that their rows are wide.
pub const WIDE_KEYS_MIN: usize = if cfg!(test) { 4 } else { 1024 };
/// Rows of a group: at most this many are copied when a row is added to a group that a reader holds.
const GROUP_ROWS: usize = 256;
/// Number of values turned from rows to series at a time: 1 MiB.
const BLOCK_VALUES: usize = 128 << 10;
/// Least and greatest number of keys of a block.
const BLOCK_KEYS: (usize, usize) = (64, 8_192);

/// The keys of a row and their places in it.
#[derive(Debug)]
pub struct Shape {
    /// The keys, ascending.
    keys: Vec<KeyId>,
    /// Place of each key in the row; `None`: the row itself is in this order.
    places: Option<Vec<u32>>,
}

impl Shape {
    /// The shape of a row with these keys, in this order. `None` if a key is in it twice.
    pub fn of(row: &[KeyId]) -> Option<Self> {
        if row.is_sorted_by(|a, b| a < b) {
            return Some(Self { keys: row.to_vec(), places: None });
        }
        let mut places: Vec<u32> = (0..row.len() as u32).collect();
        places.sort_unstable_by_key(|&place| row.get(place as usize).copied());
        let keys: Vec<KeyId> = places.iter().filter_map(|&place| row.get(place as usize).copied()).collect();
        keys.is_sorted_by(|a, b| a < b).then_some(Self { keys, places: Some(places) })
    }

    fn place_of(&self, index: usize) -> u32 {
        self.places.as_ref().and_then(|places| places.get(index).copied()).unwrap_or(index as u32)
    }

    fn place(&self, key: KeyId) -> Option<u32> {
        self.keys.binary_search(&key).ok().map(|index| self.place_of(index))
    }

    /// Of these keys (ascending), those that the row has: (index among `keys`, place in the row).
    fn places(&self, keys: &[KeyId]) -> Vec<(u32, u32)> {
        let mut out = Vec::with_capacity(keys.len());
        let mut at = keys.first().map_or(0, |first| self.keys.partition_point(|key| key < first));
        for (index, key) in keys.iter().enumerate() {
            if self.keys.get(at).is_some_and(|next| next < key) {
                at += self.keys.get(at..).unwrap_or_default().partition_point(|next| next < key);
            }
            if self.keys.get(at) == Some(key) {
                out.push((index as u32, self.place_of(at)));
                at += 1;
            }
        }
        out
    }

    fn bytes(&self) -> usize {
        self.keys.len() * size_of::<KeyId>() + self.places.as_ref().map_or(0, |places| places.len() * 4)
    }
}

/// Where the values of a row lie in the log.
#[derive(Debug, Clone)]
pub struct RowPlace {
    /// The segment that holds the row.
    pub source: Arc<dyn SectionSource>,
    /// Offset of the first value in the segment, in bytes.
    pub values_offset: u64,
    /// Whether values are f32; otherwise f64.
    pub narrow: bool,
}

/// Step, time and position of a row.
#[derive(Debug, Clone, Copy)]
struct Row {
    lsn: u64,
    step: i64,
    time_ms: i64,
    values_offset: u64,
}

/// Neighbouring rows of one shape, segment and context.
#[derive(Debug, Clone)]
struct Group {
    shape: Arc<Shape>,
    source: Arc<dyn SectionSource>,
    narrow: bool,
    context: ContextId,
    rows: Vec<Row>,
}

impl Group {
    fn last_lsn(&self) -> u64 {
        self.rows.last().map_or(0, |row| row.lsn)
    }

    fn between(&self, after: Lsn, up_to: Lsn) -> &[Row] {
        let start = self.rows.partition_point(|row| row.lsn <= after.0);
        let end = self.rows.partition_point(|row| row.lsn <= up_to.0);
        self.rows.get(start..end).unwrap_or_default()
    }

    fn value_bytes(&self) -> usize {
        if self.narrow { 4 } else { 8 }
    }

    fn value(&self, bytes: &[u8]) -> f64 {
        if self.narrow {
            bytes.first_chunk().map_or(f64::NAN, |bytes| f64::from(f32::from_le_bytes(*bytes)))
        } else {
            bytes.first_chunk().map_or(f64::NAN, |bytes| f64::from_le_bytes(*bytes))
        }
    }

    /// Reads the values of `row` at the places `first..first + count`.
    fn read(&self, row: &Row, first: u32, count: usize, out: &mut Vec<u8>) -> Result<()> {
        out.resize(count * self.value_bytes(), 0);
        self.source.read(row.values_offset + u64::from(first) * self.value_bytes() as u64, out)
    }
}

/// All wide rows of a run that are above the sealed position.
#[derive(Debug, Default)]
pub struct WideRows {
    groups: Vec<Arc<Group>>,
}

impl WideRows {
    /// Adds a row that was logged after all others.
    pub fn push(
        &mut self,
        shape: &Arc<Shape>,
        place: RowPlace,
        context: ContextId,
        (step, time, lsn): (i64, TimestampMs, Lsn),
        grown: &mut usize,
    ) {
        let row = Row { lsn: lsn.0, step, time_ms: time.0, values_offset: place.values_offset };
        *grown += size_of::<Row>();
        if let Some(last) = self.groups.last_mut() {
            let same = last.rows.len() < GROUP_ROWS
                && Arc::ptr_eq(&last.shape, shape)
                && std::ptr::addr_eq(Arc::as_ptr(&last.source), Arc::as_ptr(&place.source))
                && (last.narrow, last.context) == (place.narrow, context);
            if same {
                Arc::make_mut(last).rows.push(row);
                return;
            }
        }
        *grown += size_of::<Group>();
        if !self.groups.last().is_some_and(|last| Arc::ptr_eq(&last.shape, shape)) {
            *grown += shape.bytes();
        }
        let RowPlace { source, narrow, .. } = place;
        let group = Group { shape: shape.clone(), source, narrow, context, rows: vec![row] };
        self.groups.push(Arc::new(group));
    }

    /// Position of the first row; `None` if there are none.
    pub fn first_lsn(&self) -> Option<Lsn> {
        self.groups.first().and_then(|group| group.rows.first()).map(|row| Lsn(row.lsn))
    }

    /// The rows above `after` and at most `up_to`.
    pub fn between(&self, after: Lsn, up_to: Lsn) -> RowRange {
        let start = self.groups.partition_point(|group| group.last_lsn() <= after.0);
        let groups = self.groups.get(start..).unwrap_or_default().iter();
        let groups = groups.take_while(|group| group.rows.first().is_some_and(|row| row.lsn <= up_to.0));
        RowRange { groups: groups.cloned().collect(), after, up_to }
    }

    /// Whether a row is above `after` and at most `up_to`.
    pub fn any_between(&self, after: Lsn, up_to: Lsn) -> bool {
        let start = self.groups.partition_point(|group| group.last_lsn() <= after.0);
        self.groups.get(start).is_some_and(|group| !group.between(after, up_to).is_empty())
    }

    /// Drops the rows at most `up_to`.
    pub fn drop_to(&mut self, up_to: Lsn) {
        let gone = self.groups.partition_point(|group| group.last_lsn() <= up_to.0);
        self.groups.drain(..gone);
        if let Some(first) = self.groups.first_mut()
            && first.rows.first().is_some_and(|row| row.lsn <= up_to.0)
        {
            Arc::make_mut(first).rows.retain(|row| row.lsn > up_to.0);
        }
        if self.groups.is_empty() {
            self.groups = Vec::new();
        }
    }

    /// Estimated bytes of private memory.
    pub fn bytes(&self) -> usize {
        let mut last: Option<&Arc<Shape>> = None;
        let group_bytes = |group: &Arc<Group>| size_of::<Group>() + group.rows.len() * size_of::<Row>();
        self.groups
            .iter()
            .map(|group| {
                let known = last.replace(&group.shape).is_some_and(|last| Arc::ptr_eq(last, &group.shape));
                group_bytes(group) + if known { 0 } else { group.shape.bytes() }
            })
            .sum()
    }
}

/// Rows taken out of a run under its lock, to be read without it.
#[derive(Debug, Default, Clone)]
pub struct RowRange {
    groups: Vec<Arc<Group>>,
    after: Lsn,
    up_to: Lsn,
}

impl RowRange {
    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Removes the rows at most `after`.
    pub fn skip_to(&mut self, after: Lsn) {
        self.after = self.after.max(after);
        self.groups.retain(|group| group.last_lsn() > self.after.0);
    }

    /// Number of rows.
    pub fn count(&self) -> usize {
        self.groups.iter().map(|group| group.between(self.after, self.up_to).len()).sum()
    }

    /// The best number of series for one call of [`Self::block`].
    pub fn block_keys(&self) -> usize {
        (BLOCK_VALUES / self.count().max(1)).clamp(BLOCK_KEYS.0, BLOCK_KEYS.1)
    }

    /// Merges the points of one series into its other points, which `out` has from `start` on, in the order of
    /// positions.
    ///
    /// # Errors
    /// `Io` if the log cannot be read.
    pub fn decode(&self, key: KeyId, out: &mut Columns, start: usize) -> Result<()> {
        let mut points: Vec<(Lsn, Point, ContextId)> = Vec::new();
        let mut known: Option<(&Arc<Shape>, Option<u32>)> = None;
        let mut bytes = Vec::new();
        for group in &self.groups {
            let place = match known {
                Some((shape, place)) if Arc::ptr_eq(shape, &group.shape) => place,
                _ => group.shape.place(key),
            };
            known = Some((&group.shape, place));
            let Some(place) = place else { continue };
            for row in group.between(self.after, self.up_to) {
                group.read(row, place, 1, &mut bytes)?;
                let point = Point { step: row.step, time: TimestampMs(row.time_ms), value: group.value(&bytes) };
                points.push((Lsn(row.lsn), point, group.context));
            }
        }
        merge(points.into_iter(), out, start);
        Ok(())
    }

    /// Reads the values of these series, ascending by key. [`Self::block_keys`] says how many at a time are best.
    ///
    /// # Errors
    /// `Io` if the log cannot be read.
    pub fn block(&self, keys: &[KeyId]) -> Result<RowBlock> {
        let mut block = RowBlock { rows: Vec::with_capacity(self.count()), groups: Vec::new(), values: Vec::new() };
        let rows_count = self.count();
        block.values.resize(keys.len() * rows_count, 0.0);
        let mut bytes = Vec::new();
        let mut known: Option<(&Arc<Shape>, Arc<Places>)> = None;
        for group in &self.groups {
            let places = match known {
                Some((shape, places)) if Arc::ptr_eq(shape, &group.shape) => places,
                _ => Arc::new(Places::of(group.shape.places(keys), keys.len())),
            };
            let start = block.rows.len();
            for row in group.between(self.after, self.up_to) {
                places.read(group, row, &mut bytes, |index, value| {
                    debug_assert!((index as usize) < keys.len() && block.rows.len() < rows_count);
                    if let Some(slot) = block.values.get_mut(index as usize * rows_count + block.rows.len()) {
                        *slot = value;
                    }
                })?;
                let point = Point { step: row.step, time: TimestampMs(row.time_ms), value: 0.0 };
                block.rows.push((Lsn(row.lsn), point, group.context));
            }
            block.groups.push((start, places.clone()));
            known = Some((&group.shape, places));
        }
        Ok(block)
    }
}

/// Places of the series of a block in rows of one shape.
#[derive(Debug)]
struct Places {
    /// Pairs of (index in the block, place in the row).
    places: Vec<(u32, u32)>,
    /// Whether the rows have the series at an index of the block; empty if they have all of them.
    has: Vec<bool>,
    /// First place and number of values to read at once, if the places are neighbours or nearly so.
    span: Option<(u32, usize)>,
}

impl Places {
    fn of(places: Vec<(u32, u32)>, keys_count: usize) -> Self {
        let mut has = Vec::new();
        if places.len() < keys_count {
            has.resize(keys_count, false);
            for &(index, _) in &places {
                if let Some(has) = has.get_mut(index as usize) {
                    *has = true;
                }
            }
        }
        let least = places.iter().map(|(_, place)| *place).min();
        let greatest = places.iter().map(|(_, place)| *place).max();
        let span = least.zip(greatest).map(|(least, greatest)| (least, (greatest - least) as usize + 1));
        let span = span.filter(|(_, span)| *span <= places.len().saturating_mul(8));
        Self { places, has, span }
    }

    fn has(&self, index: usize) -> bool {
        self.has.get(index).copied().unwrap_or(self.has.is_empty())
    }

    fn read(&self, group: &Group, row: &Row, bytes: &mut Vec<u8>, mut each: impl FnMut(u32, f64)) -> Result<()> {
        let width = group.value_bytes();
        match self.span {
            Some((first, count)) => {
                group.read(row, first, count, bytes)?;
                for &(index, place) in &self.places {
                    let value = bytes.get((place - first) as usize * width..).unwrap_or_default();
                    debug_assert!(value.len() >= width, "a place beyond those that were read");
                    each(index, group.value(value));
                }
            }
            None => {
                for &(index, place) in &self.places {
                    group.read(row, place, 1, bytes)?;
                    each(index, group.value(bytes));
                }
            }
        }
        Ok(())
    }
}

/// The values of some series in some rows, by series.
#[derive(Debug)]
pub struct RowBlock {
    /// Position, step, time and context of each row.
    rows: Vec<(Lsn, Point, ContextId)>,
    /// Places, each from the row with this index on.
    groups: Vec<(usize, Arc<Places>)>,
    values: Vec<f64>,
}

impl RowBlock {
    /// The points of the series at an index of the block's keys, in the order of positions.
    pub fn points(&self, index: usize) -> impl Iterator<Item = (Lsn, Point, ContextId)> + '_ {
        let count = self.rows.len();
        let values = self.values.get(index * count..(index + 1) * count).unwrap_or_default();
        let ends = self.groups.iter().skip(1).map(|(start, _)| *start).chain([count]);
        self.groups.iter().zip(ends).filter(move |((_, places), _)| places.has(index)).flat_map(
            move |((start, _), end)| {
                let rows = self.rows.get(*start..end).unwrap_or_default();
                let values = values.get(*start..end).unwrap_or_default();
                rows.iter()
                    .zip(values)
                    .map(|((lsn, point, context), value)| (*lsn, Point { value: *value, ..*point }, *context))
            },
        )
    }

    /// Merges the points of the series at an index into its other points, which `out` has from `start` on.
    pub fn decode(&self, index: usize, out: &mut Columns, start: usize) {
        merge(self.points(index), out, start);
    }
}

/// Merges points into those that `out` has from `start` on; both are in the order of positions.
fn merge(points: impl Iterator<Item = (Lsn, Point, ContextId)>, out: &mut Columns, start: usize) {
    let mut points = points.peekable();
    if points.peek().is_none() {
        return;
    }
    let mut others = Columns::default();
    if out.len() > start {
        others.append_range(out, start, out.len(), true);
        out.cut(0, start);
    }
    let mut other = 0;
    for (lsn, point, context) in points {
        while others.lsns.get(other).is_some_and(|other| *other < lsn.0) {
            out.push(others.point(other), Lsn(others.lsns[other]), others.context(other));
            other += 1;
        }
        out.push(point, lsn, context);
    }
    out.append_range(&others, other, others.len(), true);
}
