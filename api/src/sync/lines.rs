//! Stamps of the deletions and restorings of an experiment and of its runs.
//!
//! Deleting an experiment deletes its runs, whatever was decided about them before, and a run may be restored after its
//! experiment was deleted. So each such decision replaces both: one about a run replaces the last one about its
//! experiment, and one about an experiment replaces the last one about each of its runs. Its stamp must be later than
//! theirs; otherwise stores whose clocks differ would disagree on the order.
//!
//! The stamp of a store's own decision is a function of the log before it, so every reader of the log finds the same.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::origins::Extra;
use crate::engine::entity::EntityKey;
use crate::engine::event::payload::Decoded;
use crate::{Event, ExperimentId, Lifecycle, Lsn, Result, RunId, RunState, Snapshot};

/// The tag of an experiment in which decisions about runs may have to be repeated ([`super::repeat`]). By its prefix it
/// stays in this store, and users do not see it.
pub(super) const REPEAT_TAG: &str = "runlode.source.repeat";

/// A batch, and the index of an event in it.
pub(super) type Place = (Lsn, u16);

/// Whether an event deletes or restores an experiment or a run.
pub(super) fn is_lifecycle(event: &Event) -> bool {
    matches!(
        event,
        Event::ExperimentDeleted(_) | Event::ExperimentRestored(_) | Event::RunDeleted(_) | Event::RunRestored(_)
    )
}

/// The runs of an experiment that were deleted or restored themselves.
pub(super) fn decided_runs(snapshot: &Snapshot, experiment: ExperimentId) -> Result<Vec<(RunId, Arc<RunState>)>> {
    let mut decided = Vec::new();
    for run in snapshot.runs_of(experiment)? {
        if let Some(state) = snapshot.run(run)?
            && state.lifecycle != Lifecycle::Purged
            && state.lifecycle_lsn != state.created
        {
            decided.push((run, state));
        }
    }
    Ok(decided)
}

/// A decision in the log.
struct Decision {
    place: Place,
    /// The run; `None`: the experiment.
    of: Option<RunId>,
    time: i64,
    /// The stamp that came with it, if another store decided it.
    stamp: Option<i64>,
}

fn decisions(snapshot: &Snapshot, key: &EntityKey, of: Option<RunId>, out: &mut Vec<Decision>) -> Result<()> {
    for record in snapshot.events(key)? {
        if matches!(&record.event, Decoded::Known(event) if is_lifecycle(event)) {
            let stamp = record.note.as_deref().map(|note| Extra::of(note).stamp(record.index, note.time.0));
            out.push(Decision { place: (record.lsn, record.index), of, time: record.time.0, stamp });
        }
    }
    Ok(())
}

/// The decisions about an experiment, with their stamps, in the order of the log.
#[derive(Debug)]
struct Line {
    /// Where the log was read to.
    up_to: Lsn,
    stamps: Vec<(Place, i64)>,
}

impl Line {
    fn read(snapshot: &Snapshot, experiment: ExperimentId) -> Result<Self> {
        let mut line = Self { up_to: snapshot.position(), stamps: Vec::new() };
        let state = snapshot.experiment(experiment)?;
        // Most experiments are never deleted.
        if state.is_none_or(|state| state.lifecycle_lsn == state.created) {
            return Ok(line);
        }
        let mut all = Vec::new();
        decisions(snapshot, &EntityKey::Experiment(experiment), None, &mut all)?;
        // Stamps of other stores came with their decisions; only for its own must the runs be read.
        if all.iter().any(|decision| decision.stamp.is_none()) {
            for (run, _) in decided_runs(snapshot, experiment)? {
                decisions(snapshot, &EntityKey::Run(run), Some(run), &mut all)?;
            }
            all.sort_by_key(|decision| decision.place);
        }
        let mut of_runs: FxHashMap<RunId, i64> = FxHashMap::default();
        let mut latest: Option<i64> = None;
        for Decision { place, of, time, stamp } in all {
            let of_experiment = line.stamps.last().map(|(_, stamp)| *stamp);
            let before = match of {
                Some(run) => of_experiment.max(of_runs.get(&run).copied()),
                None => of_experiment.max(latest),
            };
            let stamp = stamp.unwrap_or_else(|| before.map_or(time, |before| time.max(before.saturating_add(1))));
            latest = latest.max(Some(stamp));
            match of {
                Some(run) => {
                    of_runs.insert(run, stamp);
                }
                None => line.stamps.push((place, stamp)),
            }
        }
        Ok(line)
    }

    /// The stamp of the decision at a place.
    fn at(&self, place: Place) -> i64 {
        self.stamps.iter().find(|(at, _)| *at == place).map_or(i64::MIN, |(_, stamp)| *stamp)
    }

    /// The stamp of the last decision before a place.
    fn before(&self, place: Place) -> Option<i64> {
        self.stamps.iter().take_while(|(at, _)| *at < place).last().map(|(_, stamp)| *stamp)
    }
}

/// Cache of lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    known: FxHashMap<ExperimentId, Line>,
}

impl Lines {
    /// The least stamp of a store's own event at a place in its log, because of what it replaces on other entities.
    pub(super) fn least(&mut self, snapshot: &Snapshot, event: &Event, place: Place) -> Result<i64> {
        let run = match event {
            Event::ExperimentDeleted(event) => {
                return self.of(snapshot, event.experiment, place).map(|line| line.at(place));
            }
            Event::ExperimentRestored(event) => {
                return self.of(snapshot, event.experiment, place).map(|line| line.at(place));
            }
            Event::RunDeleted(event) => event.run,
            Event::RunRestored(event) => event.run,
            _ => return Ok(i64::MIN),
        };
        let Some(state) = snapshot.run(run)? else { return Ok(i64::MIN) };
        let before = self.of(snapshot, state.experiment, place)?.before(place);
        Ok(before.map_or(i64::MIN, |before| before.saturating_add(1)))
    }

    fn of(&mut self, snapshot: &Snapshot, experiment: ExperimentId, place: Place) -> Result<&Line> {
        if self.known.get(&experiment).is_none_or(|line| line.up_to < place.0) {
            self.known.insert(experiment, Line::read(snapshot, experiment)?);
        }
        Ok(self.known.entry(experiment).or_insert(Line { up_to: Lsn::ZERO, stamps: Vec::new() }))
    }
}
