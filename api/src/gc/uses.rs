//! Who still needs a deleted run or a logged model.
//!
//! | kept | because |
//! |---|---|
//! | run | a model version comes from it, or has its source in its artifacts |
//! | run | a logged model that stays was made by it, or has metrics in it |
//! | run | a run that stays names it as its parent, or was forked from it and shows its points |
//! | run, logged model | it has the tag `runlode.pin` |
//! | logged model | a model version is made of it |
//! | logged model | a run that stays has it as an input |
//! | folder without a run or model | a model version has its source in it |
//!
//! A version that was deleted needs nothing. Sources are texts that anybody may have written, so every id in one counts.

use rustc_hash::FxHashMap;

use crate::engine::event::Event;
use crate::{ModelId, PIN_TAG, Result, RunId, Snapshot};

/// The tag that names a run's parent.
const PARENT_TAG: &str = "mlflow.parentRunId";

/// What the registry needs, by the ids in its texts.
#[derive(Debug, Default)]
pub(super) struct Needed {
    by_id: FxHashMap<String, Vec<String>>,
}

impl Needed {
    /// Of all versions that exist.
    pub(super) fn by_versions(snapshot: &Snapshot) -> Result<Self> {
        let mut needed = Self::default();
        for (number, model) in snapshot.registered_models()? {
            for version in &model.versions {
                let Some(state) = snapshot.model_version(number, *version)?.filter(|state| !state.deleted) else {
                    continue;
                };
                let aliases: Vec<&str> =
                    model.aliases.iter().filter(|(_, of)| of == version).map(|(alias, _)| alias.as_str()).collect();
                let mut why = format!("version {version} of registered model `{}` comes from it", model.name);
                if !aliases.is_empty() {
                    why = format!("{why} (alias {})", aliases.join(", "));
                }
                if state.tags.iter().any(|(key, _)| key == PIN_TAG) {
                    why = format!("{why} (pinned)");
                }
                let texts = [Some(&state.source), state.storage_location.as_ref(), state.run_id.as_ref()];
                let texts = texts.into_iter().chain([state.run_link.as_ref(), state.model_id.as_ref()]).flatten();
                for id in texts.flat_map(|text| ids_in(text)) {
                    let list = needed.by_id.entry(id).or_default();
                    if !list.contains(&why) {
                        list.push(why.clone());
                    }
                }
            }
        }
        Ok(needed)
    }

    /// Why the registry needs a run or model with this id.
    pub(super) fn of(&self, id: &str) -> &[String] {
        // Logged models are found by the digits of their id too: one rule for both.
        self.by_id.get(id.strip_prefix("m-").unwrap_or(id)).map_or(&[], Vec::as_slice)
    }
}

/// Every id of a run or model in a text: 32 lower-case hexadecimal digits that no such digit precedes or follows.
fn ids_in(text: &str) -> Vec<String> {
    let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    let runs = text.as_bytes().chunk_by(|a, b| is_digit(a) == is_digit(b));
    let ids = runs.filter(|run| run.len() == 32 && run.first().is_some_and(is_digit));
    ids.map(|id| String::from_utf8_lossy(id).into_owned()).collect()
}

/// Whether an event may begin a use of something that was not used before.
pub(super) fn may_begin(event: &Event) -> bool {
    use Event as E;
    let names_another = |tags: &[(String, String)]| tags.iter().any(|(key, _)| key == PARENT_TAG || key == PIN_TAG);
    match event {
        E::RunCreated(created) => names_another(&created.tags),
        E::RunTagsSet(set) => names_another(&set.tags),
        E::ParamsLogged(_) | E::RunUpdated(_) | E::RunTagDeleted(_) | E::RunLeased(_) | E::ArtifactLogged(_) => false,
        E::RunDeleted(_) | E::RunPurged(_) | E::GarbageCollected(_) => false,
        E::ExperimentCreated(_) | E::ExperimentRenamed(_) | E::ExperimentTagsSet(_) | E::ExperimentTagDeleted(_) => {
            false
        }
        // Also whatever later versions add.
        _ => true,
    }
}

/// A run that may go, or that may need others.
#[derive(Debug)]
pub(super) struct RunNode {
    pub(super) id: RunId,
    /// Runs that it needs, and what it is to them.
    pub(super) needs: Vec<(RunId, &'static str)>,
    pub(super) model_inputs: Vec<ModelId>,
}

impl RunNode {
    /// Of a run's state.
    pub(super) fn of(id: RunId, state: &crate::RunState) -> Self {
        let parent = state.tags.iter().find(|(key, _)| key == PARENT_TAG).and_then(|(_, value)| value.parse().ok());
        let parent = parent.map(|parent| (parent, "is a child of it"));
        // The first points of a fork are those of the other run.
        let forked_from = state.forked.as_ref().map(|forked| (forked.run, "is a fork of it"));
        let needs = parent.into_iter().chain(forked_from).collect();
        let model_inputs = state.model_inputs.iter().filter_map(|model| model.parse().ok()).collect();
        Self { id, needs, model_inputs }
    }
}

/// A logged model, and the runs that it needs.
#[derive(Debug)]
pub(super) struct ModelNode {
    pub(super) id: ModelId,
    /// The run that made it, and those that hold its metrics.
    pub(super) runs: Vec<RunId>,
    /// Whether it may go at all: its files, or with its run.
    pub(super) may_go: bool,
    /// Whether it was deleted: then it needs no run.
    pub(super) is_deleted: bool,
}

/// What stays though it could go: the least set that is closed under the needs of what stays.
///
/// `runs_going` and `models_going` hold the candidates, with reasons why they stay; a candidate without a reason goes.
pub(super) fn settle(
    runs: &[RunNode],
    models: &[ModelNode],
    runs_going: &mut FxHashMap<RunId, Vec<String>>,
    models_going: &mut FxHashMap<ModelId, Vec<String>>,
) {
    let stays_run = |going: &FxHashMap<RunId, Vec<String>>, id| going.get(&id).is_none_or(|why| !why.is_empty());
    loop {
        let mut changed = false;
        for model in models {
            let goes = model.may_go && models_going.get(&model.id).is_some_and(Vec::is_empty);
            if goes || model.is_deleted {
                continue;
            }
            for run in &model.runs {
                let why = format!("logged model {} needs it", model.id);
                changed |= note(runs_going.get_mut(run), why);
            }
        }
        for run in runs.iter().filter(|run| stays_run(runs_going, run.id)).collect::<Vec<_>>() {
            for model in &run.model_inputs {
                changed |= note(models_going.get_mut(model), format!("run {} has it as an input", run.id));
            }
            for (needed, what) in &run.needs {
                changed |= note(runs_going.get_mut(needed), format!("run {} {what}", run.id));
            }
        }
        if !changed {
            return;
        }
    }
}

/// Most reasons that are told of one thing.
const REASONS_MAX: usize = 5;

/// Adds a reason; whether it is the first one, so that others may follow from it.
fn note(reasons: Option<&mut Vec<String>>, why: String) -> bool {
    let Some(reasons) = reasons else { return false };
    if reasons.len() < REASONS_MAX && !reasons.contains(&why) {
        reasons.push(why);
        return reasons.len() == 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(number: u8, parent: Option<u8>, inputs: &[u8]) -> RunNode {
        RunNode {
            id: RunId([number; 16]),
            needs: parent.map(|parent| (RunId([parent; 16]), "is a child of it")).into_iter().collect(),
            model_inputs: inputs.iter().map(|model| ModelId([*model; 16])).collect(),
        }
    }

    fn kept(runs: &[RunNode], models: &[ModelNode], going: &[u8], pinned: &[u8], models_going: &[u8]) -> Vec<u8> {
        let reasons = |number: &u8| if pinned.contains(number) { vec!["it is pinned".to_owned()] } else { vec![] };
        let mut going: FxHashMap<_, _> = going.iter().map(|run| (RunId([*run; 16]), reasons(run))).collect();
        let mut of_models: FxHashMap<_, _> = models_going.iter().map(|model| (ModelId([*model; 16]), vec![])).collect();
        settle(runs, models, &mut going, &mut of_models);
        let mut kept: Vec<u8> = going.iter().filter(|(_, why)| !why.is_empty()).map(|(run, _)| run.0[0]).collect();
        kept.extend(of_models.iter().filter(|(_, why)| !why.is_empty()).map(|(model, _)| model.0[0]));
        kept.sort_unstable();
        kept
    }

    #[test]
    fn what_stays_keeps_its_parents_its_inputs_and_their_runs() {
        let family = [run(1, None, &[]), run(2, Some(1), &[]), run(3, Some(2), &[]), run(4, None, &[])];
        let none: &[ModelNode] = &[];
        assert_eq!(kept(&family, none, &[1, 2, 3, 4], &[], &[]), [] as [u8; 0]);
        assert_eq!(kept(&family, none, &[1, 2, 4], &[], &[]), [1, 2], "run 3 is active");
        assert_eq!(kept(&family, none, &[1, 2, 3, 4], &[3], &[]), [1, 2, 3]);
        assert_eq!(kept(&family, none, &[1, 3, 4], &[], &[]), [1], "run 2 is active");
        let fork = RunNode { needs: vec![(RunId([1; 16]), "is a fork of it")], ..run(5, None, &[]) };
        assert_eq!(kept(&[run(1, None, &[]), fork], none, &[1], &[], &[]), [1], "run 5 shows its points");
        // Model 9 was made by run 1, and run 4 takes it.
        let model =
            |may_go, is_deleted| [ModelNode { id: ModelId([9; 16]), runs: vec![RunId([1; 16])], may_go, is_deleted }];
        let users = [run(1, None, &[]), run(4, None, &[9])];
        assert_eq!(kept(&users, &model(true, false), &[1, 4], &[], &[9]), [] as [u8; 0]);
        assert_eq!(kept(&users, &model(true, false), &[1], &[], &[9]), [1, 9], "run 4 is active");
        assert_eq!(kept(&users, &model(false, false), &[1, 4], &[], &[]), [1]);
        assert_eq!(kept(&users, &model(true, true), &[1], &[], &[9]), [9], "a deleted model needs no run");
    }

    #[test]
    fn ids_are_found_in_any_text() {
        let (run, model) = ("0123456789abcdef0123456789abcdef", "ffffffffffffffffffffffffffffffff");
        for text in [run.to_owned(), format!("runs:/{run}/model"), format!("/a/3/{run}/artifacts"), format!("x{run}")] {
            assert_eq!(ids_in(&text), [run], "{text}");
        }
        assert_eq!(ids_in(&format!("models:/m-{model} {run}")), [model, run]);
        for text in ["", "models:/fraud/3", &run[1..], &format!("0{run}"), &run.to_uppercase()] {
            assert!(ids_in(text).is_empty(), "{text}");
        }
    }
}
