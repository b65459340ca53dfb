//! A command in a container of this machine.

use std::path::Path;

use super::{Prepared, Record, Request, Say, interrupted, io_error, refused};
use crate::command::container_words;
use crate::container::{Call, Engine, Image, tag_of};
use crate::error::{ProjectError, Result};
use crate::file::{Docker, Project};
use crate::launch::{self, Ended, Stop};

/// Why an engine is needed.
pub(super) const NEED: &str = "the project runs in a container (docker_env)";

/// What a container of a project needs.
pub(super) struct Contained {
    engine: Engine,
    docker: Docker,
    /// Name of the project.
    name: String,
    /// Variables of the project's file, with their values.
    variables: Vec<(String, String)>,
}

impl Contained {
    pub(super) fn new(docker: &Docker, project: &Project) -> Result<Self> {
        let name = project_name(project)?;
        let variables = variables(docker)?;
        Ok(Self { engine: Engine::find(NEED)?, docker: docker.clone(), name, variables })
    }

    pub(super) fn run<R: Record>(
        &self,
        request: &Request,
        prepared: &Prepared,
        record: &mut R,
        mut stop: Stop,
        say: Say<'_>,
    ) -> Result<Ended> {
        let image = match request.builds_image {
            false => self.engine.image(&self.docker.image, &mut stop, say)?,
            true => {
                let tag = tag_of(&self.name, prepared.source.checkout.as_ref());
                self.engine.build(&self.docker.image, &tag, &prepared.project.root, &mut stop, say)?
            }
        };
        tag_image(record, &image)?;
        record.tag("mlflow.project.backend", request.backend.name()).map_err(refused)?;
        let mut mounts = record.container(request.is_in_host_network()).map_err(refused)?;
        mounts.volumes.extend(self.docker.volumes.iter().cloned());
        for (name, value) in &self.variables {
            mounts.set(name, value);
        }
        interrupted(&mut stop)?;
        let call = Call {
            image: &image.name,
            options: &request.container_options,
            mounts: &mounts,
            words: &container_words(&prepared.command.line),
        };
        let running = self.engine.start(&call, &mut stop)?;
        let mut command = running.command();
        command.current_dir(&prepared.project.root);
        let program = Path::new(command.get_program()).to_owned();
        let ended = launch::run_program(&mut command, stop).map_err(|source| io_error(&program, source));
        running.remove(ended.as_ref().is_ok_and(|ended| ended.interrupted_by.is_none()), say);
        // What is measured here is the engine's program, not the command.
        ended.map(|ended| Ended { peak_memory_bytes: None, ..ended })
    }
}

/// Records which image the command runs in.
pub(super) fn tag_image<R: Record>(record: &mut R, image: &Image) -> Result<()> {
    record.tag("mlflow.docker.image.uri", &image.name).map_err(refused)?;
    match &image.id {
        Some(id) => record.tag("mlflow.docker.image.id", id).map_err(refused),
        None => Ok(()),
    }
}

pub(super) fn project_name(project: &Project) -> Result<String> {
    match project.name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => Ok(name.to_owned()),
        None => Err(crate::file::file_error(
            &project.place(),
            1,
            &["name"],
            "missing; a project with docker_env needs a name, by which its image is tagged",
        )),
    }
}

/// The variables of the project's file; those without a value are this process's.
pub(super) fn variables(docker: &Docker) -> Result<Vec<(String, String)>> {
    let mut missing = Vec::new();
    let mut out = Vec::new();
    for (name, value) in &docker.variables {
        match value.clone().or_else(|| std::env::var(name).ok()) {
            Some(value) => out.push((name.clone(), value)),
            None => missing.push(name.as_str()),
        }
    }
    match missing.as_slice() {
        [] => Ok(out),
        names => Err(ProjectError::Environment(format!(
            "the project's container takes variables of this shell that are not set: {}",
            names.join(", ")
        ))),
    }
}
