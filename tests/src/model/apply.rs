//! What events make of the entities.

use super::*;

fn put(list: &mut Vec<KeyValue>, pairs: &[KeyValue], last_wins: bool) {
    let mut map: BTreeMap<String, String> = list.drain(..).collect();
    for (key, value) in pairs {
        if last_wins || !map.contains_key(key) {
            map.insert(key.clone(), value.clone());
        }
    }
    list.extend(map);
}

fn remove(list: &mut Vec<KeyValue>, key: &str) {
    list.retain(|(have, _)| have != key);
}

const RUN_NAME: &str = "mlflow.runName";

fn put_run_tags(run: &mut RunState, tags: &[KeyValue]) {
    let tags: Vec<KeyValue> =
        tags.iter().filter(|(key, value)| key != RUN_NAME || !value.is_empty()).cloned().collect();
    if let Some((_, name)) = tags.iter().rev().find(|(key, _)| key == RUN_NAME) {
        run.name = name.clone();
    }
    put(&mut run.tags, &tags, true);
}

fn name_run(run: &mut RunState, name: &str) {
    if !name.is_empty() {
        run.name = name.into();
        put(&mut run.tags, &[(RUN_NAME.into(), name.into())], true);
    }
}

fn empty_run(experiment: ExperimentId, lsn: Lsn) -> RunState {
    RunState {
        experiment,
        name: String::new(),
        user_id: String::new(),
        status: RunStatus::Running,
        start_time_ms: 0,
        end_time_ms: None,
        artifact_location: None,
        lifecycle: Lifecycle::Active,
        lifecycle_lsn: lsn,
        deleted_time_ms: None,
        params: Vec::new(),
        tags: Vec::new(),
        datasets: Vec::new(),
        model_inputs: Vec::new(),
        model_outputs: Vec::new(),
        artifacts: Vec::new(),
        launches: 0,
        rewinds: Vec::new(),
        forked: None,
        lease: None,
        created: lsn,
        last: lsn,
    }
}

impl Model {
    fn run_mut(&mut self, id: RunId, lsn: Lsn) -> &mut RunState {
        let run = self.runs.get_mut(&id).unwrap();
        run.last = lsn;
        run
    }

    fn version_mut(&mut self, id: RegisteredModelId, version: u32, lsn: Lsn) -> &mut ModelVersionState {
        self.registered.get_mut(&id).unwrap().last = lsn;
        let state = self.versions.get_mut(&(id, version)).unwrap();
        state.last = lsn;
        state
    }

    fn model_mut(&mut self, id: RegisteredModelId, lsn: Lsn) -> &mut RegisteredModelState {
        let model = self.registered.get_mut(&id).unwrap();
        model.last = lsn;
        model
    }

    pub(super) fn apply_event(&mut self, event: &Event, lsn: Lsn) {
        use Event as E;
        match event {
            E::ExperimentCreated(e) => {
                let mut tags = Vec::new();
                put(&mut tags, &e.tags, true);
                let state = ExperimentState {
                    name: e.name.clone(),
                    artifact_location: e.artifact_location.clone(),
                    lifecycle: Lifecycle::Active,
                    lifecycle_lsn: lsn,
                    creation_time_ms: e.creation_time_ms,
                    last_update_time_ms: e.last_update_time_ms,
                    tags,
                    created: lsn,
                    last: lsn,
                };
                self.experiments.insert(e.experiment, state);
            }
            E::ExperimentRenamed(e) => {
                let state = self.experiments.get_mut(&e.experiment).unwrap();
                state.name = e.name.clone();
                state.last_update_time_ms = e.at_ms;
                state.last = lsn;
            }
            E::ExperimentTagsSet(e) => {
                let state = self.experiments.get_mut(&e.experiment).unwrap();
                put(&mut state.tags, &e.tags, true);
                state.last = lsn;
            }
            E::ExperimentTagDeleted(e) => {
                let state = self.experiments.get_mut(&e.experiment).unwrap();
                remove(&mut state.tags, &e.key);
                state.last = lsn;
            }
            E::ExperimentDeleted(e) => self.turn(e.experiment, Lifecycle::Deleted, e.at_ms, lsn),
            E::ExperimentRestored(e) => self.turn(e.experiment, Lifecycle::Active, e.at_ms, lsn),
            E::RunCreated(e) => {
                let mut run = empty_run(e.experiment, lsn);
                run.name = e.name.clone();
                run.user_id = e.user_id.clone();
                run.status = e.status;
                run.start_time_ms = e.start_time_ms;
                run.artifact_location = e.artifact_location.clone();
                put_run_tags(&mut run, &e.tags);
                if get(&run.tags, RUN_NAME).is_none() {
                    name_run(&mut run, &e.name);
                }
                self.runs.insert(e.run, run);
            }
            E::RunUpdated(e) => {
                let run = self.run_mut(e.run, lsn);
                run.status = e.status.unwrap_or(run.status);
                run.end_time_ms = e.end_time_ms.or(run.end_time_ms);
                name_run(run, e.name.as_deref().unwrap_or(""));
            }
            E::RunDeleted(e) => {
                let run = self.run_mut(e.run, lsn);
                (run.lifecycle, run.lifecycle_lsn, run.deleted_time_ms) = (Lifecycle::Deleted, lsn, Some(e.at_ms));
            }
            E::RunRestored(e) => {
                let run = self.run_mut(e.run, lsn);
                (run.lifecycle, run.lifecycle_lsn, run.deleted_time_ms) = (Lifecycle::Active, lsn, None);
            }
            E::RunPurged(e) => {
                let run = self.runs.get_mut(&e.run).unwrap();
                if run.lifecycle != Lifecycle::Purged {
                    let mut stub = empty_run(run.experiment, lsn);
                    (stub.lifecycle, stub.created, stub.status) = (Lifecycle::Purged, run.created, RunStatus::Killed);
                    *run = stub;
                }
            }
            E::ParamsLogged(e) => put(&mut self.run_mut(e.run, lsn).params, &e.params, false),
            E::RunTagsSet(e) => put_run_tags(self.run_mut(e.run, lsn), &e.tags),
            E::RunTagDeleted(e) => remove(&mut self.run_mut(e.run, lsn).tags, &e.key),
            E::RunInputsLogged(e) => {
                let run = self.run_mut(e.run, lsn);
                for input in &e.datasets {
                    if !run.datasets.iter().any(|d| d.name == input.name && d.digest == input.digest) {
                        run.datasets.push(DatasetRef::from(input));
                    }
                }
                for model in &e.models {
                    if !run.model_inputs.contains(model) {
                        run.model_inputs.push(model.clone());
                    }
                }
                let experiment = run.experiment;
                for input in &e.datasets {
                    let key = (experiment, input.name.clone(), input.digest.clone());
                    self.datasets.entry(key).or_insert_with(|| DatasetState {
                        source_type: input.source_type.clone(),
                        source: input.source.clone(),
                        schema: input.schema.clone(),
                        profile: input.profile.clone(),
                        last: lsn,
                    });
                }
            }
            E::RunOutputsLogged(e) => self.run_mut(e.run, lsn).model_outputs.extend(e.models.iter().cloned()),
            E::ArtifactLogged(e) => {
                let run = self.run_mut(e.run, lsn);
                run.artifacts.retain(|(path, _)| *path != e.path);
                run.artifacts.push((e.path.clone(), e.size_bytes));
                run.artifacts.sort();
            }
            E::ProjectLaunched(e) => self.run_mut(e.run, lsn).launches += 1,
            E::RunRewound(e) => {
                let rewind = Rewind { from: e.from, to_step: e.to_step, lsn, at_ms: e.at_ms };
                self.run_mut(e.run, lsn).rewinds.push(rewind);
                let shown = self.points.iter().filter(|((run, _), _)| *run == e.run);
                let shown = shown.map(|((_, key), points)| (key.clone(), points.clone())).collect();
                self.dead.insert((e.run, e.from), shown);
                self.points.retain(|(run, _), points| {
                    if *run == e.run {
                        points.retain(|logged| logged.point.step <= e.to_step);
                    }
                    !points.is_empty()
                });
            }
            E::RunLeased(e) => {
                let (host, boot_id) = (e.host.clone(), e.boot_id.clone());
                let lease = Lease { host, pid: e.pid, process_start: e.process_start, boot_id, at_ms: e.at_ms };
                self.run_mut(e.run, lsn).lease = Some(lease);
            }
            E::LoggedModelCreated(e) => {
                let (mut params, mut tags) = (Vec::new(), Vec::new());
                put(&mut params, &e.params, false);
                put(&mut tags, &e.tags, true);
                let state = LoggedModelState {
                    experiment: e.experiment,
                    name: e.name.clone(),
                    model_type: e.model_type.clone(),
                    source_run: e.source_run.clone(),
                    artifact_location: e.artifact_location.clone(),
                    status: e.status,
                    status_message: e.status_message.clone(),
                    lifecycle: Lifecycle::Active,
                    creation_time_ms: e.creation_time_ms,
                    last_updated_time_ms: e.last_updated_time_ms,
                    params,
                    tags,
                    metric_series: Vec::new(),
                    shared_points: Vec::new(),
                    created: lsn,
                    last: lsn,
                };
                self.logged_models.insert(e.model, state);
            }
            E::LoggedModelFinalized(e) => {
                let model = self.logged_models.get_mut(&e.model).unwrap();
                (model.status, model.last_updated_time_ms, model.last) = (e.status, e.at_ms, lsn);
            }
            E::LoggedModelTagsSet(e) => {
                let model = self.logged_models.get_mut(&e.model).unwrap();
                put(&mut model.tags, &e.tags, true);
                model.last = lsn;
            }
            E::LoggedModelTagDeleted(e) => {
                let model = self.logged_models.get_mut(&e.model).unwrap();
                remove(&mut model.tags, &e.key);
                model.last = lsn;
            }
            E::LoggedModelParamsLogged(e) => {
                let model = self.logged_models.get_mut(&e.model).unwrap();
                put(&mut model.params, &e.params, false);
                model.last = lsn;
            }
            E::LoggedModelDeleted(e) => {
                let model = self.logged_models.get_mut(&e.model).unwrap();
                (model.lifecycle, model.last_updated_time_ms, model.last) = (Lifecycle::Deleted, e.at_ms, lsn);
            }
            E::LoggedModelMetricsLogged(e) => {
                let model = self.logged_models.get_mut(&e.model).unwrap();
                model.metric_series.extend(e.keys.iter().map(|key| (e.run, key.clone())));
                model.metric_series.sort();
                model.metric_series.dedup();
                model.last = lsn;
            }
            E::LoggedModelPointShared(e) => {
                let model = self.logged_models.get_mut(&e.model).unwrap();
                model.shared_points.push(SharedPoint {
                    run: e.run,
                    key: e.key.clone(),
                    step: e.step,
                    time_ms: e.time_ms,
                    value_bits: e.value_bits,
                    dataset_name: e.dataset_name.clone(),
                    dataset_digest: e.dataset_digest.clone(),
                });
                model.shared_points.sort();
                model.shared_points.dedup();
                model.last = lsn;
            }
            E::RegisteredModelCreated(e) => {
                let mut tags = Vec::new();
                put(&mut tags, &e.tags, true);
                let state = RegisteredModelState {
                    name: e.name.clone(),
                    description: e.description.clone(),
                    creation_time_ms: e.creation_time_ms,
                    last_updated_time_ms: e.last_updated_time_ms,
                    tags,
                    aliases: Vec::new(),
                    version_last: 0,
                    versions: Vec::new(),
                    deleted: false,
                    created: lsn,
                    last: lsn,
                };
                self.registered.insert(e.model, state);
            }
            E::RegisteredModelUpdated(e) => {
                let model = self.model_mut(e.model, lsn);
                (model.description, model.last_updated_time_ms) = (e.description.clone(), e.at_ms);
            }
            E::RegisteredModelRenamed(e) => {
                let model = self.model_mut(e.model, lsn);
                (model.name, model.last_updated_time_ms) = (e.name.clone(), e.at_ms);
                for version in model.versions.clone() {
                    self.version_mut(e.model, version, lsn).last_updated_time_ms = e.at_ms;
                }
            }
            E::RegisteredModelTagsSet(e) => put(&mut self.model_mut(e.model, lsn).tags, &e.tags, true),
            E::RegisteredModelTagDeleted(e) => remove(&mut self.model_mut(e.model, lsn).tags, &e.key),
            E::RegisteredModelDeleted(e) => {
                let model = self.model_mut(e.model, lsn);
                model.deleted = true;
                model.aliases.clear();
                for version in std::mem::take(&mut model.versions) {
                    self.version_mut(e.model, version, lsn).deleted = true;
                }
            }
            E::AliasSet(e) => {
                let model = self.model_mut(e.model, lsn);
                model.aliases.retain(|(alias, _)| *alias != e.alias);
                model.aliases.push((e.alias.clone(), e.version));
                model.aliases.sort();
            }
            E::AliasDeleted(e) => self.model_mut(e.model, lsn).aliases.retain(|(alias, _)| *alias != e.alias),
            E::ModelVersionCreated(e) => {
                let model = self.model_mut(e.model, lsn);
                model.versions.push(e.version);
                model.version_last = e.version;
                model.last_updated_time_ms = e.creation_time_ms;
                let mut tags = Vec::new();
                put(&mut tags, &e.tags, true);
                let state = ModelVersionState {
                    source: e.source.clone(),
                    storage_location: e.storage_location.clone(),
                    run_id: e.run_id.clone(),
                    run_link: e.run_link.clone(),
                    model_id: e.model_id.clone(),
                    user_id: e.user_id.clone(),
                    description: e.description.clone(),
                    stage: e.stage,
                    status: e.status,
                    status_message: e.status_message.clone(),
                    creation_time_ms: e.creation_time_ms,
                    last_updated_time_ms: e.last_updated_time_ms,
                    tags,
                    deleted: false,
                    created: lsn,
                    last: lsn,
                };
                self.versions.insert((e.model, e.version), state);
            }
            E::ModelVersionUpdated(e) => {
                let version = self.version_mut(e.model, e.version, lsn);
                (version.description, version.last_updated_time_ms) = (e.description.clone(), e.at_ms);
            }
            E::ModelVersionStageChanged(e) => {
                let version = self.version_mut(e.model, e.version, lsn);
                (version.stage, version.last_updated_time_ms) = (e.stage, e.at_ms);
                self.model_mut(e.model, lsn).last_updated_time_ms = e.at_ms;
            }
            E::ModelVersionTagsSet(e) => put(&mut self.version_mut(e.model, e.version, lsn).tags, &e.tags, true),
            E::ModelVersionTagDeleted(e) => remove(&mut self.version_mut(e.model, e.version, lsn).tags, &e.key),
            E::ModelVersionDeleted(e) => {
                let version = self.version_mut(e.model, e.version, lsn);
                (version.deleted, version.last_updated_time_ms) = (true, e.at_ms);
                let model = self.model_mut(e.model, lsn);
                model.last_updated_time_ms = e.at_ms;
                model.versions.retain(|version| *version != e.version);
                model.aliases.retain(|(_, version)| *version != e.version);
            }
            other => panic!("the generator makes no {}", other.name()),
        }
    }

    fn turn(&mut self, id: ExperimentId, lifecycle: Lifecycle, at_ms: i64, lsn: Lsn) {
        let state = self.experiments.get_mut(&id).unwrap();
        (state.lifecycle, state.lifecycle_lsn) = (lifecycle, lsn);
        (state.last_update_time_ms, state.last) = (at_ms, lsn);
    }
}
