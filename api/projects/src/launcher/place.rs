//! Where the command of a launch runs: in a shell of this machine, in a container, in a cluster.

use std::path::Path;

use super::clustered::Clustered;
use super::contained::Contained;
use super::{Backend, Prepared, Reach, Record, Request, Say, interrupted, io_error, keep, recipe, refused};
use crate::environment::{self, Manager, Recipe};
use crate::error::{ProjectError, Result};
use crate::file::{Environment, Project};
use crate::launch::{self, Ended, Stop};

pub(super) enum Place {
    /// A shell, in an environment that is found or made.
    Shell {
        manager: Manager,
        recipe: Option<Recipe>,
    },
    Container(Contained),
    Cluster(Clustered),
}

impl Place {
    /// The place that the project and its launch ask for. What it needs is looked for, nothing is made.
    pub(super) fn of(request: &Request, project: &Project) -> Result<Self> {
        match (&request.backend, &project.environment) {
            (Backend::Kubernetes(config), Environment::Docker(docker)) => {
                Clustered::new(config, docker, project, request.builds_image).map(Self::Cluster)
            }
            (Backend::Kubernetes(_), _) => Err(ProjectError::Environment(
                "a launch in Kubernetes needs a project with docker_env, which names the image".to_owned(),
            )),
            (Backend::Local, Environment::Docker(docker)) => Contained::new(docker, project).map(Self::Container),
            (Backend::Local, _) => {
                let manager = Manager::of(project, request.manager)?;
                Ok(Self::Shell { manager, recipe: recipe(request, manager, project)? })
            }
        }
    }

    /// The tag `mlflow.project.env`.
    pub(super) fn tag(&self) -> Option<&'static str> {
        match self {
            Self::Shell { manager, .. } => manager.tag(),
            Self::Container(_) | Self::Cluster(_) => Some("docker"),
        }
    }

    /// The environment's kind, for people.
    pub(super) fn kind(&self) -> &'static str {
        self.tag().unwrap_or("local")
    }

    pub(super) fn reach(&self, request: &Request) -> Reach {
        match self {
            Self::Shell { .. } => Reach::Process,
            Self::Container(_) => Reach::Container { in_host_network: request.is_in_host_network() },
            Self::Cluster(_) => Reach::Cluster,
        }
    }

    /// Refuses a place from which the record cannot be reached.
    pub(super) fn check_reach(&self, address: Option<&str>) -> Result<()> {
        match self {
            Self::Cluster(cluster) => cluster.tracking_uri(address).map(drop),
            _ => Ok(()),
        }
    }
}

/// Runs the command by bash in the project's folder.
pub(super) fn shell<R: Record>(
    request: &Request,
    prepared: &Prepared,
    recipe: Option<&Recipe>,
    record: &mut R,
    mut stop: Stop,
    say: Say<'_>,
) -> Result<Ended> {
    let folder = &prepared.project.root;
    let made = match recipe {
        None => None,
        Some(recipe) => {
            let made = environment::make(recipe, folder, &environment::root(), &mut stop, say)?;
            keep(record, "environment.txt", made.lock.as_bytes())?;
            Some(made)
        }
    };
    record.tag("mlflow.project.backend", request.backend.name()).map_err(refused)?;
    let mut variables = record.variables(made.as_ref().map(|made| made.folder.as_path())).map_err(refused)?;
    if std::env::var_os("PYTHONUNBUFFERED").is_none() {
        // Otherwise Python keeps lines back, since its output is no terminal.
        variables.push(("PYTHONUNBUFFERED".to_owned(), "1".to_owned()));
    }
    let line = &prepared.command.line;
    let line = match &made {
        Some(made) => format!("{} && {line}", made.activate),
        None => line.clone(),
    };
    interrupted(&mut stop)?;
    launch::run(&line, folder, &variables, stop).map_err(|source| io_error(Path::new("bash"), source))
}
