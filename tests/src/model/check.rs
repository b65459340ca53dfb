//! Which events may happen.

use std::collections::BTreeMap;

use runlode_engine::entity::*;
use runlode_engine::event::Event;

use super::{Class, Model, get};

impl Model {
    /// Whether an event may happen now.
    pub(super) fn check(&self, event: &Event) -> Result<(), Class> {
        use Event as E;
        match event {
            E::ExperimentCreated(e) => {
                if self.experiments.contains_key(&e.experiment) {
                    return Err("already exists");
                }
                self.experiment_name_free(&e.name, e.experiment)
            }
            E::ExperimentRenamed(e) => {
                self.active_experiment(e.experiment)?;
                self.experiment_name_free(&e.name, e.experiment)
            }
            E::ExperimentTagsSet(e) => self.active_experiment(e.experiment),
            E::ExperimentTagDeleted(e) => {
                self.active_experiment(e.experiment)?;
                get(&self.experiments[&e.experiment].tags, &e.key).map(drop).ok_or("not found")
            }
            E::ExperimentDeleted(e) => match self.experiments.get(&e.experiment) {
                Some(state) if state.lifecycle == Lifecycle::Active => Ok(()),
                _ => Err("not found"),
            },
            E::ExperimentRestored(e) => match self.experiments.get(&e.experiment) {
                Some(state) if state.lifecycle == Lifecycle::Deleted => Ok(()),
                _ => Err("not found"),
            },
            E::RunCreated(e) => match self.runs.get(&e.run) {
                None => self.active_experiment(e.experiment),
                Some(run) if run.lifecycle == Lifecycle::Purged => Err("purged"),
                Some(_) => Err("already exists"),
            },
            E::RunDeleted(e) => self.there(e.run).map(drop),
            E::RunRestored(e) => self.there(e.run).map(drop),
            E::RunPurged(e) => match self.runs.get(&e.run).map(|run| self.lifecycle(run)) {
                None => Err("not found"),
                Some(Lifecycle::Active) => Err("invalid"),
                Some(_) => Ok(()),
            },
            E::ParamsLogged(e) => {
                let run = self.active_run(e.run)?;
                let mut seen: BTreeMap<&str, &str> = run.params.iter().map(|(k, v)| (&**k, &**v)).collect();
                for (key, value) in &e.params {
                    if *seen.entry(key).or_insert(value) != value {
                        return Err("param changed");
                    }
                }
                Ok(())
            }
            E::RunTagDeleted(e) => get(&self.active_run(e.run)?.tags, &e.key).map(drop).ok_or("not found"),
            E::RunUpdated(e) => self.active_run(e.run).map(drop),
            E::RunTagsSet(e) => self.active_run(e.run).map(drop),
            E::RunInputsLogged(e) => self.active_run(e.run).map(drop),
            E::RunOutputsLogged(e) => self.active_run(e.run).map(drop),
            E::ArtifactLogged(e) => self.active_run(e.run).map(drop),
            E::ProjectLaunched(e) => self.active_run(e.run).map(drop),
            E::RunLeased(e) => self.active_run(e.run).map(drop),
            E::LoggedModelCreated(e) => {
                if self.logged_models.contains_key(&e.model) {
                    return Err("already exists");
                }
                self.active_experiment(e.experiment)
            }
            E::LoggedModelFinalized(e) => self.logged(e.model).map(drop),
            E::LoggedModelTagsSet(e) => self.logged(e.model).map(drop),
            E::LoggedModelTagDeleted(e) => get(&self.logged(e.model)?.tags, &e.key).map(drop).ok_or("not found"),
            E::LoggedModelParamsLogged(e) => {
                let mut all = self.logged(e.model)?.params.clone();
                for (key, value) in &e.params {
                    if get(&all, key).is_some() {
                        return Err("already exists");
                    }
                    all.push((key.clone(), value.clone()));
                }
                Ok(())
            }
            E::LoggedModelDeleted(e) => self.logged(e.model).map(drop),
            E::LoggedModelMetricsLogged(e) => {
                self.logged(e.model)?;
                self.runs.get(&e.run).map(drop).ok_or("not found")
            }
            E::LoggedModelPointShared(e) => {
                self.logged(e.model)?;
                self.runs.get(&e.run).map(drop).ok_or("not found")
            }
            E::RegisteredModelCreated(e) => {
                if self.registered.contains_key(&e.model) {
                    return Err("already exists");
                }
                self.model_name_free(&e.name, e.model)
            }
            E::RegisteredModelRenamed(e) => {
                self.live_model(e.model)?;
                self.model_name_free(&e.name, e.model)
            }
            E::RegisteredModelUpdated(e) => self.live_model(e.model).map(drop),
            E::RegisteredModelTagsSet(e) => self.live_model(e.model).map(drop),
            E::RegisteredModelTagDeleted(e) => self.live_model(e.model).map(drop),
            E::RegisteredModelDeleted(e) => self.live_model(e.model).map(drop),
            E::AliasSet(e) => self.live_version(e.model, e.version),
            E::AliasDeleted(e) => self.live_model(e.model).map(drop),
            E::ModelVersionCreated(e) => {
                let model = self.live_model(e.model)?;
                match e.version {
                    0 => Err("invalid"),
                    version if version <= model.version_last => Err("already exists"),
                    _ => Ok(()),
                }
            }
            E::ModelVersionUpdated(e) => self.live_version(e.model, e.version),
            E::ModelVersionStageChanged(e) => self.live_version(e.model, e.version),
            E::ModelVersionTagsSet(e) => self.live_version(e.model, e.version),
            E::ModelVersionTagDeleted(e) => self.live_version(e.model, e.version),
            E::ModelVersionDeleted(e) => self.live_version(e.model, e.version),
            other => panic!("the generator makes no {}", other.name()),
        }
    }
}
