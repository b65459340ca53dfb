//! What would go, and what stays: reads the store and its folders, changes nothing.

use std::path::{Path, PathBuf};

use rustc_hash::{FxHashMap, FxHashSet};

use super::folders::{self, Place};
use super::uses::{self, ModelNode, Needed, RunNode};
use super::{GcItem, GcKept, GcKind, GcOptions, GcPlan};
use crate::mlflow::Places;
use crate::uri::ARTIFACTS_DIR;
use crate::{
    Error, ExperimentId, ExperimentState, Lifecycle, LocalStore, LoggedModelState, ModelId, PIN_TAG, Result, RunId,
    RunState, Snapshot,
};

/// The experiment of runs that name none.
pub(super) const DEFAULT_EXPERIMENT: ExperimentId = ExperimentId(0);
/// A folder without a run or model is left alone this long: its run may be about to be made.
const ORPHAN_AGE_MS: i64 = 24 * 3_600 * 1_000;
/// Folders of the store that may hold replaced files.
const STORE_FOLDERS: [&str; 3] = ["", "log", "series"];

impl LocalStore {
    /// What a garbage collection would remove now, and what would stay and why. Changes nothing.
    ///
    /// # Errors
    /// [`Error::Io`] if a folder cannot be read; [`Error::Invalid`] for a relative or missing folder of artifacts; those of
    /// reading.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use runlode::{GcOptions, LocalStore, RunSpec};
    ///
    /// let store = LocalStore::open(dir.path().join("exp"))?;
    /// let run = store.create_run(store.get_or_create_experiment("digits")?, RunSpec::new())?;
    /// store.delete_run(run.id())?;
    /// let plan = store.plan_gc(&GcOptions::deleted_before(i64::MAX))?;
    /// assert_eq!(plan.items[0].id, run.id().to_string());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn plan_gc(&self, options: &GcOptions) -> Result<GcPlan> {
        let snapshot = self.snapshot()?;
        let folder = std::path::absolute(self.path()).map_err(|error| Error::io("find", self.path(), error))?;
        let root = match &options.artifact_root {
            None => folder.join(ARTIFACTS_DIR),
            Some(root) if Path::new(root).is_absolute() && Path::new(root).is_dir() => PathBuf::from(root),
            Some(root) => {
                let what = format!("folder of artifacts `{root}`");
                return Err(Error::invalid(what, "it is not the absolute path of a folder"));
            }
        };
        let planner = Planner {
            places: Places::new(root.to_string_lossy(), "/"),
            series_bytes: series_bytes(&snapshot)?,
            judge: Judge { snapshot: &snapshot, options, gone: &FxHashSet::default() },
            folder,
            root,
            now_ms: self.now().0,
        };
        planner.plan()
    }
}

/// Bytes in series files, by run.
fn series_bytes(snapshot: &Snapshot) -> Result<FxHashMap<RunId, u64>> {
    let mut bytes: FxHashMap<RunId, u64> = FxHashMap::default();
    for usage in snapshot.series_usage()? {
        *bytes.entry(usage.run).or_default() += usage.bytes;
    }
    Ok(bytes)
}

/// Decides what goes, by what the store says at one position; looks at no folder.
pub(super) struct Judge<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) options: &'a GcOptions,
    /// Runs that the collection has purged already.
    pub(super) gone: &'a FxHashSet<RunId>,
}

struct Planner<'a> {
    judge: Judge<'a>,
    places: Places,
    /// The store's folder, absolute.
    folder: PathBuf,
    /// The folder of artifacts.
    root: PathBuf,
    series_bytes: FxHashMap<RunId, u64>,
    now_ms: i64,
}

/// An experiment with its runs and models.
struct Family {
    id: ExperimentId,
    state: std::sync::Arc<ExperimentState>,
    runs: Vec<(RunId, std::sync::Arc<RunState>)>,
    models: Vec<(ModelId, std::sync::Arc<LoggedModelState>)>,
}

/// Candidates of a collection, with the reasons why they stay: none, if they go.
pub(super) struct Judged {
    pub(super) needed: Needed,
    pub(super) runs: FxHashMap<RunId, Vec<String>>,
    pub(super) models: FxHashMap<ModelId, Vec<String>>,
}

impl Judge<'_> {
    pub(super) fn judge(&self) -> Result<Judged> {
        let needed = Needed::by_versions(self.snapshot)?;
        let (runs, models) = self.decide(&self.families()?, &needed);
        Ok(Judged { needed, runs, models })
    }

    fn families(&self) -> Result<Vec<Family>> {
        let mut families = Vec::new();
        for (id, state) in self.snapshot.experiments_ever()? {
            let mut runs = Vec::new();
            for run in self.snapshot.runs_of(id)? {
                if let Some(state) = self.snapshot.run(run)?.filter(|state| state.lifecycle != Lifecycle::Purged) {
                    runs.push((run, state));
                }
            }
            families.push(Family { id, state, runs, models: self.snapshot.logged_models_of(id)? });
        }
        Ok(families)
    }

    /// Whether a thing was deleted long enough ago.
    fn is_old(&self, lifecycle: Lifecycle, deleted_ms: Option<i64>) -> bool {
        lifecycle == Lifecycle::Deleted && deleted_ms.unwrap_or(0) < self.options.deleted_before_ms
    }

    /// Every run and model that was deleted long enough ago, with the reasons why it stays: none, if it goes.
    fn decide(
        &self,
        families: &[Family],
        needed: &Needed,
    ) -> (FxHashMap<RunId, Vec<String>>, FxHashMap<ModelId, Vec<String>>) {
        let mut runs_going = FxHashMap::default();
        let (mut runs, mut models) = (Vec::new(), Vec::new());
        for family in families {
            for (id, state) in &family.runs {
                runs.push(RunNode::of(*id, state));
                if self.is_old(state.lifecycle_in(&family.state), deleted_ms(family, state)) {
                    let mut why = needed.of(&id.to_string()).to_vec();
                    why.extend(pinned(&state.tags));
                    runs_going.insert(*id, why);
                }
            }
        }
        let mut models_going = FxHashMap::default();
        for (id, state) in families.iter().flat_map(|family| &family.models) {
            let is_deleted = state.lifecycle == Lifecycle::Deleted;
            let maker: Option<RunId> = state.source_run.parse().ok();
            let of_gone_run = maker.is_some_and(|run| runs_going.contains_key(&run) || self.gone.contains(&run));
            let may_go = match is_deleted {
                true => self.is_old(state.lifecycle, Some(state.last_updated_time_ms)),
                false => self.options.with_models && of_gone_run,
            };
            if may_go {
                let mut why = needed.of(&id.to_string()).to_vec();
                why.extend(pinned(&state.tags));
                models_going.insert(*id, why);
            }
            let of_metrics = state.metric_series.iter().map(|(run, _)| *run);
            let runs_of: FxHashSet<RunId> = of_metrics.chain(maker).collect();
            models.push(ModelNode { id: *id, runs: runs_of.into_iter().collect(), may_go, is_deleted });
        }
        uses::settle(&runs, &models, &mut runs_going, &mut models_going);
        (runs_going, models_going)
    }
}

impl Planner<'_> {
    fn plan(&self) -> Result<GcPlan> {
        let needed = Needed::by_versions(self.judge.snapshot)?;
        let families = self.judge.families()?;
        let (runs_going, models_going) = self.judge.decide(&families, &needed);
        let mut plan = GcPlan {
            options: self.judge.options.clone(),
            position: self.judge.snapshot.position(),
            items: Vec::new(),
            kept: Vec::new(),
        };
        let mut empty = Vec::new();
        for family in &families {
            let mut left = false;
            for (id, state) in &family.runs {
                match runs_going.get(id) {
                    Some(why) if why.is_empty() => plan.items.push(self.run_item(family, *id, state)?),
                    Some(why) => {
                        plan.kept.push(kept(GcKind::Run, id.to_string(), &state.name, why));
                        left = true;
                    }
                    None => left = true,
                }
            }
            for (id, state) in &family.models {
                match models_going.get(id) {
                    Some(why) if why.is_empty() => {
                        let item = self.model_item(family, *id, state)?;
                        // Of a deleted model only files are left to go.
                        if state.lifecycle != Lifecycle::Deleted || item.folder.is_some() {
                            plan.items.push(item);
                        }
                    }
                    Some(why) => {
                        plan.kept.push(kept(GcKind::LoggedModel, id.to_string(), &state.name, why));
                        left = true;
                    }
                    None => left = true,
                }
            }
            if !left && self.judge.is_old(family.state.lifecycle, Some(family.state.last_update_time_ms)) {
                empty.push(family);
            }
        }
        let states: FxHashSet<String> = families
            .iter()
            .flat_map(|family| {
                let runs = family.runs.iter().map(|(id, _)| id.to_string());
                runs.chain(family.models.iter().map(|(id, _)| id.to_string()))
            })
            .collect();
        self.add_orphans(&states, &needed, &mut plan)?;
        for family in empty {
            plan.items.extend(self.experiment_item(family, &plan.items)?);
        }
        self.add_files(&mut plan.items)?;
        Ok(plan)
    }

    fn run_item(&self, family: &Family, id: RunId, state: &RunState) -> Result<GcItem> {
        let location = self.places.run(
            &family.id.to_string(),
            family.state.artifact_location.as_deref(),
            &id.to_string(),
            state.artifact_location.as_deref(),
        );
        let series_bytes = self.series_bytes.get(&id).copied().unwrap_or(0);
        let deleted_ms = deleted_ms(family, state);
        self.item(GcKind::Run, id.to_string(), &state.name, family.id, deleted_ms, &location, series_bytes)
    }

    fn model_item(&self, family: &Family, id: ModelId, state: &LoggedModelState) -> Result<GcItem> {
        let location = self.places.logged_model(
            &family.id.to_string(),
            family.state.artifact_location.as_deref(),
            &id.to_string(),
            state.artifact_location.as_deref(),
        );
        let deleted_ms = (state.lifecycle == Lifecycle::Deleted).then_some(state.last_updated_time_ms);
        self.item(GcKind::LoggedModel, id.to_string(), &state.name, family.id, deleted_ms, &location, 0)
    }

    #[allow(clippy::too_many_arguments)]
    fn item(
        &self,
        kind: GcKind,
        id: String,
        name: &str,
        experiment: ExperimentId,
        deleted_ms: Option<i64>,
        location: &str,
        series_bytes: u64,
    ) -> Result<GcItem> {
        let (mut folder, mut left_at, mut file_bytes) = (None, None, 0);
        match folders::place(&self.root, location, &id) {
            Place::Folder(path) if path.is_dir() => {
                file_bytes = folders::disk_bytes(&path)?;
                folder = Some(path.to_string_lossy().into_owned());
            }
            Place::Folder(_) => {}
            Place::Elsewhere(place) => left_at = Some(place),
        }
        let (name, experiment) = (name.to_owned(), Some(experiment));
        Ok(GcItem { kind, id, name, experiment, deleted_ms, folder, file_bytes, series_bytes, left_at })
    }

    /// An experiment that keeps nothing, and its folder without what goes with its runs and models. A folder in which there
    /// is something else stays. The default experiment is not purged: other calls rely on it.
    fn experiment_item(&self, family: &Family, items: &[GcItem]) -> Result<Option<GcItem>> {
        let id = family.id.to_string();
        let location = self.places.experiment(&id, family.state.artifact_location.as_deref());
        let deleted_ms = Some(family.state.last_update_time_ms);
        let mut item = self.item(GcKind::Experiment, id, &family.state.name, family.id, deleted_ms, &location, 0)?;
        let of_others = items.iter().filter(|other| other.experiment == Some(family.id));
        item.file_bytes = item.file_bytes.saturating_sub(of_others.map(|other| other.file_bytes).sum());
        let purges = family.id != DEFAULT_EXPERIMENT && !family.state.is_purged();
        let Some(folder) = item.folder.clone() else { return Ok(purges.then_some(item)) };
        // What nobody here knows was put there by somebody else.
        let goes: FxHashSet<&str> = items.iter().filter_map(|item| item.folder.as_deref()).collect();
        let is_known = |path: &PathBuf| {
            let name = file_name(path);
            name == "models" || goes.contains(&*path.to_string_lossy())
        };
        let folder = PathBuf::from(folder);
        let mut inside = folders::entries(&folder)?;
        inside.extend(folders::entries(&folder.join("models"))?);
        if inside.iter().all(is_known) {
            return Ok(Some(item));
        }
        (item.left_at, item.folder, item.file_bytes) = (item.folder.take(), None, 0);
        Ok(purges.then_some(item))
    }

    /// Folders of artifacts whose run or model is not there. One that a version names stays. Elsewhere than in the store,
    /// a folder may belong to another store that has the same experiments: only those of runs purged here go.
    fn add_orphans(&self, states: &FxHashSet<String>, needed: &Needed, plan: &mut GcPlan) -> Result<()> {
        let is_ours = self.root.starts_with(&self.folder);
        for experiment in folders::entries(&self.root)? {
            let name = file_name(&experiment);
            let Ok(id) = name.parse::<ExperimentId>() else { continue };
            let models = folders::entries(&experiment.join("models"))?;
            let candidates = folders::entries(&experiment)?.into_iter().chain(models);
            for folder in candidates {
                let name = file_name(&folder);
                let purged = match (name.parse::<RunId>(), name.parse::<ModelId>()) {
                    (Ok(run), _) => self.judge.snapshot.run(run)?.is_some(),
                    (_, Ok(_)) => false,
                    _ => continue,
                };
                if states.contains(&name) || !folder.is_dir() || folder.is_symlink() {
                    continue;
                }
                if !purged && !is_ours {
                    continue;
                }
                let below = folder.strip_prefix(&self.root).unwrap_or(&folder).to_string_lossy().into_owned();
                let why = needed.of(&name);
                if !why.is_empty() {
                    plan.kept.push(kept(GcKind::Orphan, below, "", why));
                    continue;
                }
                if !purged {
                    let before_ms = self.judge.options.deleted_before_ms.min(self.now_ms - ORPHAN_AGE_MS);
                    if folders::changed_ms(&folder)? >= before_ms {
                        continue;
                    }
                }
                plan.items.push(GcItem {
                    kind: GcKind::Orphan,
                    id: below,
                    name: String::new(),
                    experiment: Some(id),
                    deleted_ms: None,
                    file_bytes: folders::disk_bytes(&folder)?,
                    folder: Some(folder.to_string_lossy().into_owned()),
                    series_bytes: 0,
                    left_at: None,
                });
            }
        }
        Ok(())
    }

    /// Damaged files that a repair replaced and kept.
    fn add_files(&self, items: &mut Vec<GcItem>) -> Result<()> {
        for folder in STORE_FOLDERS {
            for file in folders::entries(&self.folder.join(folder))? {
                let is_old = file.extension().is_some_and(|extension| extension == "bad")
                    && file.is_file()
                    && !file.is_symlink()
                    && folders::changed_ms(&file)? < self.judge.options.deleted_before_ms;
                if is_old {
                    items.push(GcItem {
                        kind: GcKind::File,
                        id: file.strip_prefix(&self.folder).unwrap_or(&file).to_string_lossy().into_owned(),
                        name: String::new(),
                        experiment: None,
                        deleted_ms: None,
                        file_bytes: folders::disk_bytes(&file)?,
                        folder: Some(file.to_string_lossy().into_owned()),
                        series_bytes: 0,
                        left_at: None,
                    });
                }
            }
        }
        Ok(())
    }
}

/// When a run was deleted: by its own deletion, or by its experiment's, whichever counts.
fn deleted_ms(family: &Family, state: &RunState) -> Option<i64> {
    match state.lifecycle_lsn > family.state.lifecycle_lsn {
        true => state.deleted_time_ms,
        false => Some(family.state.last_update_time_ms),
    }
}

fn pinned(tags: &[(String, String)]) -> Option<String> {
    let (_, reason) = tags.iter().find(|(key, _)| key == PIN_TAG)?;
    Some(if reason.is_empty() { "it is pinned".to_owned() } else { format!("it is pinned: {reason}") })
}

fn kept(kind: GcKind, id: String, name: &str, why: &[String]) -> GcKept {
    GcKept { kind, id, name: name.to_owned(), why: why.to_vec() }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
