//! Gathers frames of one inbox into one frame of the store's log: points by run, with the store's numbers of keys.
//!
//! A frame is taken as a whole or not at all. Its points follow those that the same run already has, so the order of
//! logging stays; [`Encoder`] then makes one section of each series. All buffers are reused.

use std::borrow::Cow;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::error::{Error, Result};
use crate::event::batch::MetricContext;
use crate::event::batch::{
    Definition, Merged, Origin, SectionKind, definitions, put_definition, put_section, sections,
};
use crate::event::section::{RowSection, SeriesSection, put_row, row_values};
use crate::hot::dictionary::Reservation;
use crate::hot::points::wide::WIDE_KEYS_MIN;
use crate::hot::points::{Gate, RunHot};
use crate::id::{ContextId, KeyId, Lsn, Peer, RunId, WriterId};
use crate::ingest::encode::{Encoder, KeyedPoint, Planned};
use crate::ingest::gate::branch_to_log;
use crate::ingest::late::{Given, Looked};
use crate::ingest::look_up::{NEVER_LATE, late_before};
use crate::ingest::pipeline::Pipeline;
use crate::ingest::prepare::leave_out;
use crate::ingest::prepared::{OwnedDefinition, Prepared, PreparedRow, RunPoints};
use crate::ingest::validate::check_metric_key;
use crate::log::FrameHeader;
use crate::point::{Columns, Point};
use crate::time::TimestampMs;

/// About how many points a merged frame gets: copying it holds up other appends for some 50 us.
const POINTS_MAX: usize = 16_384;
/// A longer frame of an inbox gets a frame of its own.
const FRAME_BYTES_MAX: usize = 64 << 10;
/// Frames without points (dropped ones) end a batch too.
const FRAMES_MAX: u64 = 1 << 20;

/// Smaller numbers are found in a table, others in a map, so that the content of an inbox does not decide how much is
/// allocated.
const TABLE_MAX: u32 = 1 << 16;
const NONE: u32 = u32::MAX;

/// Translates a writer's numbers to the store's.
#[derive(Debug, Default)]
struct Translation {
    table: Vec<u32>,
    map: FxHashMap<u32, u32>,
}

impl Translation {
    #[inline]
    fn get(&self, number: u32) -> Option<u32> {
        match self.table.get(number as usize) {
            Some(&ours) => (ours != NONE).then_some(ours),
            None => self.map.get(&number).copied(),
        }
    }

    fn set(&mut self, number: u32, ours: u32) {
        if number < TABLE_MAX {
            if self.table.len() <= number as usize {
                self.table.resize(number as usize + 1, NONE);
            }
            if let Some(slot) = self.table.get_mut(number as usize) {
                *slot = ours;
            }
        } else {
            self.map.insert(number, ours);
        }
    }
}

/// The numbers of one writer.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    keys: Translation,
    contexts: Translation,
    /// Keys and contexts that only this writer named. They are forgotten with it if none of their points was kept.
    reserved: Option<Reservation>,
}

impl Numbers {
    /// Learns the definitions in a frame; `None`: it does not decode.
    pub(super) fn define(&mut self, pipeline: &Pipeline, payload: &[u8]) -> Result<Option<()>> {
        for section in sections(payload) {
            let Ok(section) = section else { return Ok(None) };
            if section.kind != SectionKind::Dictionary as u8 {
                continue;
            }
            let Some(definitions) = definitions(section.body) else { return Ok(None) };
            let reserved = self.reserved.get_or_insert_with(|| pipeline.dictionary.reserve());
            for definition in definitions {
                match definition {
                    Definition::Key(id, name) => {
                        check_metric_key(name)?;
                        self.keys.set(id.0, reserved.key(name).0);
                    }
                    Definition::Context(id, bytes) => {
                        let Some(context) = MetricContext::decode(bytes) else { return Ok(None) };
                        self.contexts.set(id.0, reserved.context(&context).0);
                    }
                }
            }
        }
        Ok(Some(()))
    }

    fn context(&self, context: ContextId) -> Option<ContextId> {
        if context.0 == 0 { Some(context) } else { self.contexts.get(context.0).map(ContextId) }
    }
}

#[derive(Debug)]
struct Group {
    run: Arc<RunHot>,
    context: ContextId,
    /// The run is purged, with all its points.
    purged: bool,
    points: Vec<KeyedPoint>,
    /// Indexes of points that arrived so long after their own times, by their writer's clock, that they may exist
    /// already.
    late: Vec<u32>,
}

impl Group {
    /// Its points, under the keys that a branch of the run has for them.
    fn points_on(&self, branch: u32, pipeline: &Pipeline) -> Result<Cow<'_, [KeyedPoint]>> {
        if branch == 0 {
            return Ok(Cow::Borrowed(&self.points));
        }
        let own = |point: &KeyedPoint| Ok(KeyedPoint { key: pipeline.own_key(point.key, branch)?, ..*point });
        Ok(Cow::Owned(self.points.iter().map(own).collect::<Result<_>>()?))
    }
}

/// The outcome for a frame.
#[derive(Debug)]
pub(super) enum Pushed {
    Taken,
    /// Not taken: commit the gathered frames first.
    Full,
    /// Not taken: the store does not know this run.
    UnknownRun(RunId),
    /// Not taken: it uses a number that no earlier frame defines.
    Undefined,
    /// Not taken: it holds something that frames of inboxes may not hold.
    Bad(String),
}

/// Frames of one writer, gathered.
#[derive(Debug, Default)]
pub(super) struct Gather {
    groups: Vec<Group>,
    group_of: FxHashMap<(RunId, ContextId), usize>,
    last: usize,
    spare: Vec<Vec<KeyedPoint>>,
    range: Option<Merged>,
    frames: u64,
    points: usize,
    /// Points of purged runs.
    pub(super) dropped: u64,
    /// A wide row, which should stay alone in its frame.
    wide: Option<PreparedRow>,
    undo: Vec<(usize, usize)>,
    /// Points with earlier times may be late, by the time of their own frame.
    late_before: TimestampMs,
    looked: Option<Looked>,
    columns: Columns,
    encoder: Encoder,
    prepared: Prepared,
}

/// The reason why a frame is not taken.
enum Refuse {
    /// It has a wide row, and something was gathered before.
    Full,
    UnknownRun(RunId),
    Undefined,
    Bad(String),
    /// The store failed.
    Failed(Error),
}

impl From<Error> for Refuse {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

fn bad(what: impl Into<String>) -> Refuse {
    Refuse::Bad(what.into())
}

fn no_group() -> Refuse {
    Refuse::Failed(Error::Internal("points of an inbox have no group to go to".into()))
}

impl Gather {
    pub(super) fn clear(&mut self) {
        for mut group in self.groups.drain(..) {
            if self.spare.len() < 64 && group.points.capacity() <= 4 * POINTS_MAX {
                group.points.clear();
                self.spare.push(group.points);
            }
        }
        self.group_of.clear();
        (self.last, self.range, self.frames, self.points, self.dropped, self.wide) = (0, None, 0, 0, 0, None);
        (self.late_before, self.looked) = (NEVER_LATE, None);
    }

    /// Frames in it.
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    /// Points in it, without dropped ones.
    pub(super) fn points(&self) -> u64 {
        (self.points - self.dropped as usize) as u64
    }

    /// The last number in it.
    pub(super) fn last_number(&self) -> Option<u64> {
        self.range.map(|range| range.last)
    }

    /// Takes a frame. `first`: the number after the last merged one; numbers missing before this frame are lost.
    pub(super) fn push(
        &mut self,
        pipeline: &Pipeline,
        numbers: &mut Numbers,
        (writer, first): (WriterId, u64),
        header: &FrameHeader,
        payload: &[u8],
    ) -> Result<Pushed> {
        let is_full = self.points >= POINTS_MAX || payload.len() > FRAME_BYTES_MAX || self.frames >= FRAMES_MAX;
        if (is_full || self.wide.is_some()) && self.frames > 0 {
            return Ok(Pushed::Full);
        }
        let before = (self.points, self.dropped);
        self.undo.clear();
        let late_before = late_before(header.time);
        let mut taken = self.sections(pipeline, numbers, late_before, payload);
        if let Err(Refuse::Undefined) = taken {
            // It may define what later frames use.
            self.take_back(before);
            if numbers.define(pipeline, payload)?.is_some() {
                taken = self.sections(pipeline, numbers, late_before, payload);
            }
        }
        match taken {
            Ok(()) => {}
            Err(refuse) => {
                let pushed = match refuse {
                    Refuse::Full => Pushed::Full,
                    Refuse::UnknownRun(run) => Pushed::UnknownRun(run),
                    Refuse::Undefined => Pushed::Undefined,
                    Refuse::Bad(what) => Pushed::Bad(what),
                    Refuse::Failed(error) => return Err(error),
                };
                self.take_back(before);
                return Ok(pushed);
            }
        }
        self.frames += 1;
        self.late_before = self.late_before.max(late_before);
        let (number, time) = (header.lsn.0, header.time);
        let range = self.range.get_or_insert(Merged { writer, first, last: number, time_first: time, time_last: time });
        range.last = number;
        range.time_first = range.time_first.min(time);
        range.time_last = range.time_last.max(time);
        Ok(Pushed::Taken)
    }

    fn take_back(&mut self, (points, dropped): (usize, u64)) {
        for (group, len) in self.undo.drain(..).rev() {
            debug_assert!(group < self.groups.len(), "a frame was gathered into group {group}, which is gone");
            if let Some(group) = self.groups.get_mut(group) {
                group.points.truncate(len);
                group.late.retain(|at| (*at as usize) < len);
            }
        }
        (self.points, self.dropped, self.wide) = (points, dropped, None);
    }

    #[inline]
    fn sections(
        &mut self,
        pipeline: &Pipeline,
        numbers: &mut Numbers,
        late_before: TimestampMs,
        payload: &[u8],
    ) -> Result<(), Refuse> {
        for section in sections(payload) {
            let Ok(section) = section else { return Err(bad("its sections do not decode")) };
            match section.kind {
                kind if kind == SectionKind::Row as u8 => {
                    let Some(row) = RowSection::read(section.flags, section.body) else {
                        return Err(bad("a row section does not decode"));
                    };
                    if row.count() >= WIDE_KEYS_MIN && self.frames > 0 {
                        return Err(Refuse::Full);
                    }
                    let Some(context) = numbers.context(row.context) else {
                        return Err(Refuse::Undefined);
                    };
                    let group = self.group(pipeline, row.run, context)?;
                    let Some(Group { points, purged, run, late, .. }) = self.groups.get_mut(group) else {
                        return Err(no_group());
                    };
                    self.points += row.count();
                    if *purged {
                        self.dropped += row.count() as u64;
                        continue;
                    }
                    self.undo.push((group, points.len()));
                    if row.time.0 < 0 {
                        return Err(bad("it has a negative time"));
                    }
                    let mut known = true;
                    if row.count() >= WIDE_KEYS_MIN && self.points == row.count() {
                        let mut wide = Vec::with_capacity(row.count());
                        row.for_each(|key, point| match numbers.keys.get(key.0) {
                            Some(key) => wide.push((KeyId(key), point.value)),
                            None => known = false,
                        });
                        let (run, is_late) = (run.clone(), row.time < late_before);
                        let row = PreparedRowParts { step: row.step, time: row.time, is_late, context };
                        self.wide = Some(row.with(run, wide));
                    } else {
                        if self.wide.take().is_some() {
                            return Err(bad("a wide row is not alone in its frame"));
                        }
                        if row.time < late_before {
                            late.extend((points.len()..points.len() + row.count()).map(|at| at as u32));
                        }
                        row.for_each(|key, point| match numbers.keys.get(key.0) {
                            Some(key) => points.push(KeyedPoint { key: KeyId(key), point }),
                            None => known = false,
                        });
                    }
                    if !known {
                        return Err(Refuse::Undefined);
                    }
                }
                kind if kind == SectionKind::Series as u8 => {
                    let Some(series) = SeriesSection::read(section.flags, section.body) else {
                        return Err(bad("a series section does not decode"));
                    };
                    let ids = numbers.keys.get(series.series.key.0).zip(numbers.context(series.context));
                    let Some((key, context)) = ids else {
                        return Err(Refuse::Undefined);
                    };
                    if self.wide.take().is_some() {
                        return Err(bad("a wide row is not alone in its frame"));
                    }
                    let group = self.group(pipeline, series.series.run, context)?;
                    let Some(Group { points, purged, late, .. }) = self.groups.get_mut(group) else {
                        return Err(no_group());
                    };
                    self.points += series.count;
                    if *purged {
                        self.dropped += series.count as u64;
                        continue;
                    }
                    self.undo.push((group, points.len()));
                    self.columns.clear();
                    series.extend(Lsn::ZERO, &mut self.columns);
                    if self.columns.times.iter().any(|time| *time < 0) {
                        return Err(bad("it has a negative time"));
                    }
                    let columns = &self.columns;
                    let places = points.len()..;
                    let timed = columns.times.iter().zip(places).filter(|(time, _)| **time < late_before.0);
                    late.extend(timed.map(|(_, at)| at as u32));
                    points.extend((0..columns.len()).map(|i| KeyedPoint { key: KeyId(key), point: columns.point(i) }));
                }
                kind if kind == SectionKind::Dictionary as u8 => {}
                kind if kind == SectionKind::Event as u8 => {
                    return Err(bad("it holds entity events, which an inbox of this host cannot"));
                }
                kind => {
                    return Err(bad(format!("it has a section of kind {kind}, which this version does not know")));
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn group(&mut self, pipeline: &Pipeline, run: RunId, context: ContextId) -> Result<usize, Refuse> {
        if let Some(group) = self.groups.get(self.last)
            && group.run.id == run
            && group.context == context
        {
            return Ok(self.last);
        }
        if let Some(&group) = self.group_of.get(&(run, context)) {
            self.last = group;
            return Ok(group);
        }
        let hot = match pipeline.load_run(run) {
            Err(Error::NotFound { .. }) => return Err(Refuse::UnknownRun(run)),
            hot => hot?,
        };
        let gate = hot.gate();
        if gate == Gate::Absent {
            return Err(Refuse::UnknownRun(run));
        }
        let points = self.spare.pop().unwrap_or_default();
        self.last = self.groups.len();
        self.group_of.insert((run, context), self.last);
        self.groups.push(Group { run: hot, context, purged: gate == Gate::Purged, points, late: Vec::new() });
        Ok(self.last)
    }

    /// Turns a wide row into points, which need not stay together.
    fn break_row(&mut self) {
        if let Some(PreparedRow { run, step, time, late, context, row, .. }) = self.wide.take() {
            let point = |value| Point { step, time, value };
            let points: Vec<_> = row.into_iter().map(|(key, value)| KeyedPoint { key, point: point(value) }).collect();
            let late = if late { (0..points.len() as u32).collect() } else { Vec::new() };
            self.groups.push(Group { run, context, purged: false, points, late });
        }
    }

    /// Whether there are points that may exist already; a look-up would tell.
    pub(super) fn has_late_points(&self) -> bool {
        self.wide.as_ref().is_some_and(|row| row.late) || self.groups.iter().any(|group| !group.late.is_empty())
    }

    /// Leaves out late points that exist already. `tries`: how often this was done for these frames. Returns how many.
    pub(super) fn look_up(&mut self, pipeline: &Pipeline, tries: u32) -> Result<u64> {
        self.break_row();
        let mut looked = Looked::new(pipeline.published(), tries);
        let mut known = 0;
        for group in self.groups.iter_mut().filter(|group| !group.late.is_empty()) {
            let branch = branch_to_log(&group.run);
            let points = &group.points_on(branch, pipeline)?;
            let given = Given { run: &group.run, branch, context: group.context, points };
            let is_late = |at: usize, _: &KeyedPoint| group.late.binary_search(&(at as u32)).is_ok();
            let there = pipeline.look_up(&given, is_late, &mut looked)?;
            leave_out(&mut group.points, &there);
            group.late.clear();
            known += there.len() as u64;
        }
        self.points -= known as usize;
        self.looked = Some(looked);
        Ok(known)
    }

    /// Shows the gathered points at a position of its own, in memory only: for a store that is open for reading.
    pub(super) fn show(&mut self, pipeline: &Pipeline, lsn: Lsn) -> Result<()> {
        if self.has_late_points() {
            self.look_up(pipeline, 0)?;
        }
        self.break_row();
        for Group { run, context, points, .. } in self.groups.iter().filter(|group| !group.points.is_empty()) {
            let mut keys: Vec<KeyId> = points.iter().map(|point| point.key).collect();
            keys.sort_unstable();
            keys.dedup();
            // No frame of this store will define these keys, but their points are shown.
            pipeline.dictionary.hold_for_good(&keys, *context);
            pipeline.read_bases(run, &keys)?;
            let mut grown = 0;
            let mut series = run.lock();
            for KeyedPoint { key, point } in points {
                let slot = series.resolve(*key, &mut grown).map_err(|key| {
                    let why = "was not found for the points of an inbox, though it was just read";
                    Error::Internal(format!("the base of metric key {} of run {} {why}", key.0, run.id))
                })?;
                series.push(slot, *point, lsn, *context, &mut grown);
            }
            drop(series);
            run.note_changed();
            pipeline.runs.note_grown(grown);
        }
        if let Some(range) = self.range {
            pipeline.writers.publish(Peer::Writer(range.writer), lsn, range.last);
        }
        pipeline.set_published(lsn);
        Ok(())
    }

    /// The batch to commit.
    pub(super) fn prepare(&mut self, pipeline: &Pipeline) -> Result<&mut Prepared> {
        let prepared = &mut self.prepared;
        prepared.frame.clear();
        prepared.points.clear();
        prepared.definitions.clear();
        prepared.merged = self.range;
        prepared.looked = self.looked.take();
        prepared.row = self.wide.take();
        let bytes = prepared.frame.payload_mut();
        Origin { merged: self.range, ..Origin::default() }.put(bytes);
        let (mut keys, mut contexts): (Vec<KeyId>, Vec<ContextId>) = Default::default();
        if let Some(row) = &mut prepared.row {
            row.branch = branch_to_log(&row.run);
            if row.branch != 0 {
                for (key, _) in &mut row.row {
                    *key = pipeline.own_key(*key, row.branch)?;
                }
            }
            let mut flags = 0;
            put_section(bytes, SectionKind::Row, |out| {
                flags = put_row(out, row.run.id, row.context, row.step, row.time, &row.row);
                flags
            });
            row.values = row_values(flags, bytes.len(), row.row.len());
            keys.extend(row.row.iter().map(|(key, _)| *key));
            contexts.push(row.context);
        }
        for group in self.groups.iter().filter(|group| !group.points.is_empty()) {
            let mut planned = Planned { context: group.context, ..Planned::default() };
            // A rewound run: the points belong to the live branch.
            let branch = branch_to_log(&group.run);
            let points = &group.points_on(branch, pipeline)?;
            let late_before = if group.late.is_empty() { NEVER_LATE } else { self.late_before };
            self.encoder.encode_at(group.run.id, points, late_before, bytes, &mut planned)?;
            keys.extend(planned.series.iter().map(|series| series.key));
            contexts.push(group.context);
            prepared.points.push(RunPoints { run: group.run.clone(), branch, planned });
        }
        keys.sort_unstable();
        keys.dedup();
        contexts.sort_unstable();
        contexts.dedup();
        let definitions = &mut prepared.definitions;
        let known = pipeline.dictionary.unpublished(keys.into_iter(), contexts.into_iter(), |definition| {
            definitions.push(OwnedDefinition::of(&definition));
        });
        if !known {
            return Err(Error::Internal("a merged point has a number that is not in the dictionary".into()));
        }
        if !definitions.is_empty() {
            put_section(prepared.frame.payload_mut(), SectionKind::Dictionary, |out| {
                definitions.iter().for_each(|definition| put_definition(out, &definition.get()));
                0
            });
        }
        prepared.frame.seal()?;
        Ok(prepared)
    }
}

struct PreparedRowParts {
    step: i64,
    time: TimestampMs,
    is_late: bool,
    context: ContextId,
}

impl PreparedRowParts {
    fn with(self, run: Arc<RunHot>, row: Vec<(KeyId, f64)>) -> PreparedRow {
        let Self { step, time, is_late, context } = self;
        PreparedRow { run, branch: 0, step, time, late: is_late, context, row, values: (0, false) }
    }
}
