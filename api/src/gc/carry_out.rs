//! Carries a plan out: what it says, and what a plan made now still says.

use std::path::Path;

use rustc_hash::{FxHashMap, FxHashSet};

use super::plan::{DEFAULT_EXPERIMENT, Judge, Judged};
use super::{GcItem, GcKept, GcKind, GcPlan, GcReport, folders, receipt, uses};
use crate::engine::event::{ExperimentPurged, GarbageCollected, LoggedModelDeleted, RunPurged};
use crate::{
    Batch, CompactOptions, Durability, EntityKey, Error, ExperimentId, Lifecycle, LocalStore, ModelId, Result, RunId,
    Snapshot,
};

/// Things in one batch, and in one receipt.
const ITEMS_AT_ONCE: usize = 500;
/// How often to look again because something else was registered meanwhile.
const LOOKS_MAX: usize = 20;
/// Why something stays that was deleted when the plan was made.
const RESTORED: &str = "it was restored since the plan";

impl LocalStore {
    /// Removes what a plan says: see [`Store::gc`](crate::Store::gc).
    ///
    /// # Errors
    /// As there.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use runlode::{GcOptions, LocalStore, RunSpec};
    ///
    /// let store = LocalStore::open(dir.path().join("exp"))?;
    /// let run = store.create_run(store.get_or_create_experiment("digits")?, RunSpec::new())?;
    /// store.delete_run(run.id())?;
    /// let report = store.gc(&store.plan_gc(&GcOptions::deleted_before(i64::MAX))?)?;
    /// assert_eq!((report.runs_count, report.receipts.len()), (1, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn gc(&self, plan: &GcPlan) -> Result<GcReport> {
        let fresh = self.plan_gc(&plan.options)?;
        let mut report = GcReport { bytes_before: self.disk_bytes(plan)?, ..GcReport::default() };
        let now: FxHashMap<(GcKind, &str), &GcItem> =
            fresh.items.iter().map(|item| ((item.kind, item.id.as_str()), item)).collect();
        let mut going = Vec::new();
        for item in &plan.items {
            match now.get(&(item.kind, item.id.as_str())) {
                Some(now) if now.folder == item.folder => going.push((*now).clone()),
                _ => report.skipped.push(why_not(item, &fresh)),
            }
        }
        let mut gone = FxHashSet::default();
        for items in going.chunks(ITEMS_AT_ONCE) {
            self.collect(plan, items, &mut gone, &mut report)?;
        }
        if report.runs_count > 0 {
            let compacted = self.compact(&CompactOptions::default())?;
            report.pinned_bytes = compacted.pinned_bytes;
        }
        report.bytes_after = self.disk_bytes(plan)?;
        Ok(report)
    }

    /// Removes some things, after their receipt.
    fn collect(
        &self,
        plan: &GcPlan,
        items: &[GcItem],
        gone: &mut FxHashSet<RunId>,
        report: &mut GcReport,
    ) -> Result<()> {
        let snapshot = self.snapshot()?;
        let mut receipts = Vec::with_capacity(items.len());
        for item in items {
            receipts.push(receipt::of(item, &snapshot)?);
        }
        let mut looks = 0;
        let (going, skipped, lsn, file_bytes) = loop {
            // Hashing took its time: look once more. The batch is refused if anything begins to use something after this
            // look, so the look and the purge are one decision.
            looks += 1;
            let snapshot = self.snapshot()?;
            let judged = Judge { snapshot: &snapshot, options: &plan.options, gone: &*gone }.judge()?;
            let (mut batch, mut removed, mut going, mut skipped) = (Batch::new(), Vec::new(), Vec::new(), Vec::new());
            for (item, receipt) in items.iter().zip(&receipts) {
                let why = why_stays(item, &judged)?;
                if !why.is_empty() || !self.add_events(&snapshot, item, &going, &mut batch)? {
                    let why = if why.is_empty() { vec![RESTORED.to_owned()] } else { why };
                    let (id, name) = (item.id.clone(), item.name.clone());
                    skipped.push(GcKept { kind: item.kind, id, name, why });
                    continue;
                }
                removed.push(receipt.clone());
                going.push(item);
            }
            if going.is_empty() {
                report.skipped.extend(skipped);
                return Ok(());
            }
            let (at_ms, deleted_before_ms) = (self.now().0, plan.options.deleted_before_ms);
            let file_bytes: u64 = removed.iter().map(|removed| removed.artifact_bytes).sum();
            batch.push_event(GarbageCollected { at_ms, deleted_before_ms, removed });
            match self.append_part(batch.expect_no(snapshot.position(), uses::may_begin), Durability::Sync) {
                Ok(receipt) => break (going, skipped, receipt.lsn, file_bytes),
                Err(Error::Conflict { .. }) if looks < LOOKS_MAX => {}
                Err(error) => return Err(error),
            }
        };
        report.skipped.extend(skipped);
        report.receipts.push(lsn);
        // From here on the files are nobody's.
        for item in &going {
            if let (GcKind::Run, Ok(run)) = (item.kind, item.id.parse()) {
                gone.insert(run);
            }
            if let Some(folder) = &item.folder {
                folders::remove(folder.as_ref())?;
            }
        }
        report.file_bytes += file_bytes;
        report.removed_count += going.len() as u64;
        report.runs_count += going.iter().filter(|item| item.kind == GcKind::Run).count() as u64;
        Ok(())
    }

    /// The events of a thing that goes with `others`, on the condition that nobody touches it before. `false`: it was
    /// restored.
    fn add_events(&self, snapshot: &Snapshot, item: &GcItem, others: &[&GcItem], batch: &mut Batch) -> Result<bool> {
        match item.kind {
            GcKind::Run => {
                let run: RunId = item.id.parse().map_err(|_| receipt::no_id(item))?;
                let Some(state) = snapshot.run(run)? else { return Ok(false) };
                if snapshot.lifecycle(&state)? != Lifecycle::Deleted {
                    return Ok(false);
                }
                batch.push_event(RunPurged { run });
                *batch = std::mem::take(batch).expect(EntityKey::Run(run), state.last);
            }
            GcKind::LoggedModel => {
                let model: ModelId = item.id.parse().map_err(|_| receipt::no_id(item))?;
                let Some(state) = snapshot.logged_model(model)? else { return Ok(false) };
                if state.lifecycle == Lifecycle::Active {
                    batch.push_event(LoggedModelDeleted { model, at_ms: self.now().0 });
                }
            }
            GcKind::Experiment => {
                let experiment: ExperimentId = item.id.parse().map_err(|_| receipt::no_id(item))?;
                let Some(state) = snapshot.experiment(experiment)? else { return Ok(false) };
                let goes =
                    |run: &RunId| others.iter().any(|other| other.kind == GcKind::Run && other.id == run.to_string());
                if state.lifecycle != Lifecycle::Deleted || !snapshot.runs_of(experiment)?.iter().all(goes) {
                    return Ok(false);
                }
                if experiment != DEFAULT_EXPERIMENT && !state.is_purged() {
                    batch.push_event(ExperimentPurged { experiment, at_ms: self.now().0 });
                    *batch = std::mem::take(batch).expect(EntityKey::Experiment(experiment), state.last);
                }
            }
            GcKind::Orphan | GcKind::File => {}
        }
        Ok(true)
    }

    /// Bytes on the disk, artifacts included, wherever they are.
    fn disk_bytes(&self, plan: &GcPlan) -> Result<u64> {
        let elsewhere = match &plan.options.artifact_root {
            Some(root) if !Path::new(root).starts_with(self.path()) => folders::disk_bytes(root.as_ref())?,
            _ => 0,
        };
        Ok(folders::disk_bytes(self.path())? + elsewhere)
    }
}

/// Why a thing stays after all; empty if it goes.
fn why_stays(item: &GcItem, judged: &Judged) -> Result<Vec<String>> {
    let restored = || vec![RESTORED.to_owned()];
    Ok(match item.kind {
        GcKind::Run => {
            let run = item.id.parse().map_err(|_| receipt::no_id(item))?;
            judged.runs.get(&run).cloned().unwrap_or_else(restored)
        }
        GcKind::LoggedModel => {
            let model = item.id.parse().map_err(|_| receipt::no_id(item))?;
            judged.models.get(&model).cloned().unwrap_or_else(restored)
        }
        // The folder's name is the id.
        GcKind::Orphan => judged.needed.of(item.id.rsplit('/').next().unwrap_or_default()).to_vec(),
        GcKind::Experiment | GcKind::File => Vec::new(),
    })
}

/// Why a thing of a plan is not in a plan that was made now.
fn why_not(item: &GcItem, fresh: &GcPlan) -> GcKept {
    let kept = fresh.kept.iter().find(|kept| kept.kind == item.kind && kept.id == item.id);
    kept.cloned().unwrap_or_else(|| GcKept {
        kind: item.kind,
        id: item.id.clone(),
        name: item.name.clone(),
        why: vec!["it was restored, or has gone, since the plan".to_owned()],
    })
}
