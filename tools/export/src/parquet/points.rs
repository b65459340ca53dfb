//! The table `points`: all points of all runs, sorted by run, key, and step.
//!
//! ```text
//! this thread      reads groups of GROUP_POINTS ──┬──► encoder 0 ──┬──► appends them in order
//!                                                 └──► encoder 1 ──┘
//! ```
//! Each encoder has at most one group, so memory is that of a few groups, however large the store is. A part (a file)
//! ends after a number of points; the manifest then says where the next one begins.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, scope};

use parquet::errors::ParquetError;
use parquet::file::writer::SerializedFileWriter;
use runlode::MetricContext;
use runlode::engine::{ColumnSet, ContextId};

use super::encode::{Encoded, Encoder, Layout};
use super::file::{Form, Unfinished, failed, part_name};
use super::group::{GROUP_POINTS, Group};
use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::manifest::Cursor;
use crate::moment::Moment;
use crate::progress::Progress;
use crate::select::Selected;
use crate::series::{Blocks, Wanted, rewinds};

/// Name of the table.
pub(super) const TABLE: &str = "points";
type Contexts = HashMap<u32, Arc<MetricContext>>;

/// Writes the table, from where the manifest says.
pub(super) fn write(
    moment: &Moment,
    selected: &Selected,
    folder: &mut Folder,
    form: Form,
    progress: &mut Progress<'_>,
) -> Result<()> {
    let layout = Layout::new().map_err(|error| failed(&folder.path(TABLE), error))?;
    let group_points = GROUP_POINTS.min(usize::try_from(form.part_points).unwrap_or(usize::MAX));
    scope(|scope| {
        let encoders = Encoders::start(scope, &layout, form.threads);
        let encoders = encoders.map_err(|error| failed(&folder.path(TABLE), error))?;
        let begin = folder.manifest.cursor.clone().unwrap_or_default();
        let part_points = form.part_points;
        let end = begin.clone();
        let mut sink = Sink { folder, layout, part_points, encoders, part: None, group: Group::default(), end };
        let total = selected.runs.len() as u64;
        let mut blocks = Blocks::default();
        for (done, (run, _)) in (0u64..).zip(&selected.runs) {
            progress.at("points", done, total);
            let id = run.to_string();
            if id < begin.run {
                continue;
            }
            // It may have been purged meanwhile.
            let Some((state, _)) = moment.run(*run)? else { continue };
            let rewinds = rewinds(moment, &state.rewinds);
            let from = begin.key.as_deref().filter(|_| id == begin.run);
            let wanted = Wanted { columns: ColumnSet::ALL, dead: true, from };
            let mut at = Cursor { run: id, ..Cursor::default() };
            blocks.of_run(moment, *run, &rewinds, wanted, &mut |metric, points| {
                if at.key.as_deref() != Some(&metric.key) {
                    at.key = Some(metric.key.to_string());
                    at.points = 0;
                }
                let is_begin = at.run == begin.run && at.key == begin.key;
                let skipped = if is_begin { begin.points.saturating_sub(at.points) } else { 0 };
                let mut start = usize::try_from(skipped).unwrap_or(usize::MAX).min(points.len());
                at.points += start as u64;
                while start < points.len() {
                    let end = points.len().min(start + group_points - sink.group.len());
                    sink.group.push(*run, metric, points, start..end, &rewinds);
                    at.points += (end - start) as u64;
                    start = end;
                    if sink.group.len() == group_points {
                        sink.flush(&at, moment)?;
                    }
                }
                Ok(())
            })?;
            sink.end = at;
        }
        progress.at("points", total, total);
        sink.finish(moment)
    })
}

/// An encoder in a thread of its own.
struct Lane {
    give: SyncSender<(Group, Contexts)>,
    take: Receiver<Result<Encoded, ParquetError>>,
    /// Whether it has a group.
    busy: bool,
}

/// Encoders that get groups in turn, so that they are taken back in order.
struct Encoders {
    lanes: Vec<Lane>,
    next: usize,
}

impl Encoders {
    fn start<'scope>(scope: &'scope Scope<'scope, '_>, layout: &Layout, threads: usize) -> Result<Self, ParquetError> {
        let mut lanes = Vec::new();
        for _ in 0..threads.max(1) {
            let encoder = Encoder::new(layout.clone())?;
            let (give, groups) = sync_channel::<(Group, Contexts)>(1);
            let (done, take) = sync_channel(1);
            scope.spawn(move || {
                for (group, contexts) in groups {
                    // The other side is gone if the export has failed.
                    if done.send(encoder.encode(group, &contexts)).is_err() {
                        return;
                    }
                }
            });
            lanes.push(Lane { give, take, busy: false });
        }
        Ok(Self { lanes, next: 0 })
    }

    /// Waits for the group that the next lane has.
    fn take(&mut self) -> Option<Result<Encoded, ParquetError>> {
        let lane = &mut self.lanes[self.next];
        let ended = || ParquetError::General("an encoder ended".to_owned());
        std::mem::take(&mut lane.busy).then(|| lane.take.recv().map_err(|_| ended()).flatten())
    }

    /// Hands a group to the next lane, which must have none.
    fn give(&mut self, group: Group, contexts: Contexts) -> Result<(), ParquetError> {
        let lane = &mut self.lanes[self.next];
        debug_assert!(!lane.busy, "a lane has one group");
        lane.give.send((group, contexts)).map_err(|_| ParquetError::General("an encoder ended".to_owned()))?;
        lane.busy = true;
        self.next = (self.next + 1) % self.lanes.len();
        Ok(())
    }
}

/// A file that is being written.
struct Part {
    target: Unfinished,
    writer: SerializedFileWriter<File>,
    points: u64,
}

/// Takes groups, and writes them.
struct Sink<'f> {
    folder: &'f mut Folder,
    layout: Layout,
    part_points: u64,
    encoders: Encoders,
    part: Option<Part>,
    /// The group that is filled.
    group: Group,
    /// The place behind all points so far.
    end: Cursor,
}

impl Sink<'_> {
    fn failed(&self, error: ParquetError) -> Error {
        failed(&self.folder.path(TABLE), error)
    }

    /// Hands the group to an encoder, and begins another one.
    fn flush(&mut self, end: &Cursor, moment: &Moment) -> Result<()> {
        let room = match self.encoders.take() {
            Some(encoded) => self.append(encoded)?,
            None => Group::default(),
        };
        let mut group = std::mem::replace(&mut self.group, room);
        group.end = end.clone();
        let mut contexts = Contexts::new();
        for id in group.columns.contexts.chunk_by(|a, b| a == b).filter_map(|equal| equal.first()) {
            if let Some(context) = moment.context(ContextId(*id)).filter(|_| !contexts.contains_key(id)) {
                contexts.insert(*id, context);
            }
        }
        let given = self.encoders.give(group, contexts);
        given.map_err(|error| self.failed(error))
    }

    /// The file that is written; a new one if there is none.
    fn part(&mut self) -> Result<&mut Part> {
        let part = match self.part.take() {
            Some(part) => part,
            None => {
                let files = self.folder.manifest.files.iter().filter(|name| name.starts_with("points/"));
                let target = Unfinished::create(self.folder, TABLE, part_name(TABLE, files.count() + 1))?;
                let (root, properties) = (self.layout.root.clone(), self.layout.properties.clone());
                let writer = SerializedFileWriter::new(target.file()?, root, properties);
                let writer = writer.map_err(|error| target.failed(error))?;
                Part { target, writer, points: 0 }
            }
        };
        Ok(self.part.insert(part))
    }

    /// Appends an encoded group to the file; returns its memory.
    fn append(&mut self, encoded: Result<Encoded, ParquetError>) -> Result<Group> {
        let encoded = encoded.map_err(|error| self.failed(error))?;
        let part = self.part()?;
        let points = encoded.points;
        let mut group = encoded.append_to(&mut part.writer).map_err(|error| part.target.failed(error))?;
        part.target.grown_to(part.writer.bytes_written() as u64)?;
        part.points += points;
        let is_full = part.points >= self.part_points;
        self.folder.manifest.report.written.points += points;
        if is_full {
            self.folder.manifest.cursor = Some(group.end.clone());
            self.close()?;
            self.folder.save()?;
        }
        group.clear();
        Ok(group)
    }

    /// Closes the file, if there is one.
    fn close(&mut self) -> Result<()> {
        let Some(Part { target, writer, .. }) = self.part.take() else { return Ok(()) };
        writer.close().map_err(|error| target.failed(error))?;
        target.finish(self.folder).map(drop)
    }

    /// Writes what is left.
    fn finish(mut self, moment: &Moment) -> Result<()> {
        if !self.group.columns.is_empty() {
            let end = self.end.clone();
            self.flush(&end, moment)?;
        }
        for _ in 0..self.encoders.lanes.len() {
            if let Some(encoded) = self.encoders.take() {
                self.append(encoded)?;
            }
            self.encoders.next = (self.encoders.next + 1) % self.encoders.lanes.len();
        }
        if !self.folder.manifest.files.iter().any(|name| name.starts_with("points/")) {
            // A table without rows is a table too.
            self.part()?;
        }
        self.close()
    }
}
