//! Records a launch in a store of this machine, and lets the command reach it.

use std::io::Write;
use std::path::{Path, PathBuf};

use runlode::{Experiment, ExperimentSpec, RunSpec, RunStatus, Store};
use runlode_projects::container::Mounts;
use runlode_projects::launcher::{Dataset, Facts, Reach, Record};
use runlode_projects::local;

use super::Recording;
use super::apart::Apart;
use super::serving::Serving;
use crate::error::{Error, Result};
use crate::output::note;

/// Records a launch in a store.
pub(super) struct Recorder<'a> {
    store: &'a Store,
    /// Absolute.
    path: PathBuf,
    experiment: Experiment,
    run: Option<runlode::Run>,
    name: Option<String>,
    /// Serves the store to a command that has no wheel of ours.
    server: Option<Serving>,
    /// The store that a container is given.
    apart: Option<Apart>,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(store: &'a Store, path: &Path, asked: &Recording) -> Result<Self> {
        let path = std::path::absolute(path).map_err(|source| Error::io(path.display().to_string(), source))?;
        let run = match &asked.run_id {
            None => None,
            Some(run_id) => {
                let id = run_id.parse().map_err(|_| Error::usage(format!("{run_id:?} is no id of a run")))?;
                let run = store.run(id)?;
                run.info()?;
                Some(run)
            }
        };
        let experiment = match (&run, asked.experiment()) {
            (Some(run), _) => store.experiment_by_id(run.info()?.experiment)?,
            (None, Ok(name)) => store.experiment(&name)?,
            (None, Err(id)) => {
                let id = id.parse().map_err(|_| Error::usage(format!("{id:?} is no id of an experiment")))?;
                let experiment = store.experiment_by_id(runlode::ExperimentId(id))?;
                experiment.info()?;
                experiment
            }
        };
        Ok(Self { store, path, experiment, run, name: asked.run_name.clone(), server: None, apart: None })
    }

    /// Id of the run, once it was begun.
    pub(super) fn run_id(&self) -> Option<String> {
        self.run.as_ref().map(|run| run.id().to_string())
    }

    fn run(&self) -> Result<&runlode::Run> {
        self.run.as_ref().ok_or_else(|| Error::usage("no run was begun"))
    }

    fn serve(&mut self) -> Result<String> {
        if self.server.is_none() {
            self.server = Some(Serving::start(self.store)?);
        }
        self.server.as_ref().map(Serving::uri).ok_or_else(|| Error::usage("no server was started"))
    }

    fn spec(&self, facts: &Facts) -> RunSpec {
        let mut spec = self.name.as_deref().map_or_else(RunSpec::new, RunSpec::named);
        for (key, value) in &facts.tags {
            spec = spec.tag(key, value);
        }
        match facts.tags.iter().find(|(key, _)| key == "mlflow.user") {
            Some((_, user)) => spec.user(user),
            None => spec,
        }
    }

    /// Makes the run in a store of its own, which a container can be given whole, and copies it here.
    fn begin_apart(&mut self, facts: &Facts) -> Result<runlode::Run> {
        let info = self.experiment.info()?;
        let mut spec = ExperimentSpec::named(&info.name);
        if let Some(place) = &info.artifact_location {
            spec = spec.artifact_location(place);
        }
        let (apart, id) = Apart::begin(&self.path, self.experiment.id(), spec, self.spec(facts))?;
        let apart = self.apart.insert(apart);
        apart.copy(self.store, &self.path)?;
        Ok(self.store.run(id)?)
    }
}

impl Record for Recorder<'_> {
    type Error = Error;

    fn address(&self) -> Option<String> {
        None
    }

    fn begin(&mut self, facts: &Facts, reach: Reach) -> Result<()> {
        let is_apart = reach == Reach::Container { in_host_network: false };
        if let Some(run) = &self.run {
            if is_apart {
                return Err(Error::usage(
                    "a container cannot continue a run of a store; give it the host's network (-A network=host), or record \
                     the launch in a server",
                ));
            }
            run.set_status(RunStatus::Running)?;
            run.lease()?;
            return Ok(());
        }
        let run = match is_apart {
            true => self.begin_apart(facts)?,
            false => self.experiment.create_run(self.spec(facts))?,
        };
        let run = self.run.insert(run);
        let params: Vec<_> = facts.params.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        if !params.is_empty()
            && let Err(error) = run.log_params(&params)
        {
            run.end(RunStatus::Failed)?;
            return Err(error.into());
        }
        Ok(())
    }

    fn tag(&mut self, key: &str, value: &str) -> Result<()> {
        Ok(self.run()?.set_tags(&[(key, value)])?)
    }

    fn keep(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let place = self.run()?.artifact_place()?;
        match local::folder(&place).filter(|folder| folder.is_absolute()) {
            Some(folder) => write(&folder.join(super::LAUNCH_DIR), name, bytes),
            None => {
                note(format!("{name} is not kept: artifacts of the run are at {place}"));
                Ok(())
            }
        }
    }

    fn variables(&mut self, environment: Option<&Path>) -> Result<Vec<(String, String)>> {
        let uri = match super::serving::has_wheel(environment) {
            true => format!("runlode://{}", self.path.display()),
            false => self.serve()?,
        };
        let (run, experiment) = self.ids()?;
        Ok(super::variables(run, uri, experiment))
    }

    fn ids(&self) -> Result<(String, String)> {
        Ok((self.run()?.id().to_string(), self.experiment.id().0.to_string()))
    }

    fn container(&mut self, _in_host_network: bool) -> Result<Mounts> {
        let (run, experiment) = self.ids()?;
        let Some(apart) = &self.apart else {
            let uri = self.serve()?;
            let mut mounts = Mounts { volumes: Vec::new(), variables: super::variables(run, uri, experiment) };
            mounts.add_artifacts(&self.run()?.artifact_place()?);
            return Ok(mounts);
        };
        let (volume, uri) = apart.mount();
        let mut variables = super::variables(run, uri, apart.experiment());
        // The store is the container's own: nothing else holds it.
        variables.push(("RUNLODE_OFFLINE".to_owned(), "0".to_owned()));
        let mut mounts = Mounts { volumes: vec![volume], variables };
        if let Some(place) = &self.experiment.info()?.artifact_location {
            mounts.add_artifacts(place);
        }
        Ok(mounts)
    }

    fn datasets(&self) -> Result<Vec<Dataset>> {
        let inputs = self.store.mlflow().run(&self.run()?.id().to_string())?.dataset_inputs;
        let datasets = inputs.into_iter().map(|input| input.dataset);
        Ok(datasets.map(|set| Dataset { name: set.name, digest: set.digest, source: set.source }).collect())
    }

    fn end(&mut self, is_success: bool) -> Result<()> {
        if let Some(apart) = self.apart.take() {
            apart.copy(self.store, &self.path)?;
            apart.remove()?;
        }
        let status = if is_success { RunStatus::Finished } else { RunStatus::Failed };
        let run = self.run()?;
        // The command may have ended the run itself. How its process ended counts more, as with `mlflow run`.
        match run.end(status)? {
            runlode::Ended::Before(before) if before != status => run.set_status(status)?,
            _ => {}
        }
        Ok(())
    }
}

/// Writes a file whole or not at all.
pub(super) fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = folder.join(name);
    let io = |source| Error::io(format!("cannot write {}", path.display()), source);
    std::fs::create_dir_all(folder).map_err(io)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    file.persist(&path).map_err(|error| io(error.error))?;
    Ok(())
}
