//! The program that runs containers.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Mounts, PROJECT_DIR};
use crate::error::{ProjectError, Result};
use crate::launch::Stop;
use crate::tool::{self, call, io_error};

/// Names the program instead of the first one that works.
const CHOICE: &str = "RUNLODE_CONTAINER_ENGINE";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Docker,
    Podman,
    Buildah,
}

/// A container engine that answers.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    program: PathBuf,
    kind: Kind,
}

/// An image that is there.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// Its name, as it is run.
    pub(crate) name: String,
    /// Digest of its content, if the engine tells it.
    pub(crate) id: Option<String>,
}

/// A command in a container.
pub(crate) struct Call<'a> {
    /// Name of the image.
    pub(crate) image: &'a str,
    /// The user's own options, without dashes.
    pub(crate) options: &'a [(String, Option<String>)],
    /// Folders and variables.
    pub(crate) mounts: &'a Mounts,
    /// The command.
    pub(crate) words: &'a [String],
}

/// A container that is about to run, and is removed afterwards.
pub(crate) struct Running {
    program: PathBuf,
    arguments: Vec<String>,
    holder: Holder,
}

enum Holder {
    /// The engine removes it at its end, and writes its id into a file, by which what is left of it can be removed.
    File(tempfile::TempDir),
    /// A working container of this name.
    Working(String),
}

impl Engine {
    /// The first of docker, podman and buildah that answers; `what` is what needs it, in words.
    pub(crate) fn find(what: &str) -> Result<Self> {
        let all = [("docker", Kind::Docker), ("podman", Kind::Podman), ("buildah", Kind::Buildah)];
        let asked = std::env::var(CHOICE).ok().filter(|name| !name.is_empty());
        if let Some(asked) = asked.as_deref().filter(|asked| !all.iter().any(|(name, _)| name == asked)) {
            let reason = format!("{CHOICE} is {asked:?}; set it to docker, podman or buildah");
            return Err(ProjectError::Environment(reason));
        }
        let mut refusals = Vec::new();
        for (name, kind) in all.into_iter().filter(|(name, _)| asked.as_deref().is_none_or(|asked| asked == *name)) {
            let Some(program) = tool::find(name) else { continue };
            let question = if kind == Kind::Buildah { "version" } else { "info" };
            match Command::new(&program).arg(question).output() {
                Ok(output) if output.status.success() => return Ok(Self { program, kind }),
                Ok(output) => {
                    let said = String::from_utf8_lossy(&output.stderr);
                    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no word why");
                    refusals.push(format!("{name} says: {}", last.trim()));
                }
                Err(error) => refusals.push(format!("{name}: {error}")),
            }
        }
        let names = asked.unwrap_or_else(|| "docker, podman or buildah".to_owned());
        let why = match refusals.as_slice() {
            [] => format!("install {names}"),
            refusals => refusals.join("; "),
        };
        Err(ProjectError::Environment(format!("{what}, and there is no {names} that works: {why}")))
    }

    /// The engine's program.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments);
        command
    }

    /// The digest of an image of this machine.
    fn id(&self, image: &str, stop: &mut Stop) -> Result<Option<String>> {
        let arguments: &[&str] = match self.kind {
            Kind::Buildah => &["inspect", "--type", "image", "--format", "{{.FromImageID}}", image],
            _ => &["image", "inspect", "--format", "{{.Id}}", image],
        };
        match call(&mut self.command(arguments), stop) {
            Ok(said) => Ok(said.lines().next().map(|line| line.trim().to_owned()).filter(|id| !id.is_empty())),
            Err(interrupted @ ProjectError::Interrupted { .. }) => Err(interrupted),
            // It is not there.
            Err(_) => Ok(None),
        }
    }

    /// An image by its name, pulled if it is not there.
    pub(crate) fn image(&self, name: &str, stop: &mut Stop, say: &dyn Fn(&str)) -> Result<Image> {
        if let Some(id) = self.id(name, stop)? {
            return Ok(Image { name: name.to_owned(), id: Some(id) });
        }
        say(&format!("pulling the image {name}"));
        call(&mut self.command(&["pull", name]), stop)?;
        Ok(Image { name: name.to_owned(), id: self.id(name, stop)? })
    }

    /// Builds an image of the project on its base image.
    pub(crate) fn build(
        &self,
        base: &str,
        tag: &str,
        project: &Path,
        stop: &mut Stop,
        say: &dyn Fn(&str),
    ) -> Result<Image> {
        say(&format!("building the image {tag}"));
        // Outside the project, in which nothing is written.
        let folder = tempfile::tempdir().map_err(|source| io_error(project, source))?;
        let file = folder.path().join("Dockerfile");
        let text = format!("FROM {base}\nCOPY . {PROJECT_DIR}\nWORKDIR {PROJECT_DIR}\n");
        std::fs::write(&file, text).map_err(|source| io_error(&file, source))?;
        let mut command = self.command(&["build", "-t", tag, "-f"]);
        call(command.arg(&file).arg(project), stop)?;
        Ok(Image { name: tag.to_owned(), id: self.id(tag, stop)? })
    }

    /// Pushes an image to its registry; its digest there.
    pub(crate) fn push(&self, image: &str, stop: &mut Stop, say: &dyn Fn(&str)) -> Result<String> {
        say(&format!("pushing the image {image}"));
        if self.kind == Kind::Docker {
            call(&mut self.command(&["push", image]), stop)?;
            return match self.pushed(image, stop)? {
                Some(digest) => Ok(digest),
                None => Err(ProjectError::Environment(format!("docker names no digest of {image} after its push"))),
            };
        }
        let file = tempfile::NamedTempFile::new().map_err(|source| io_error(&std::env::temp_dir(), source))?;
        call(self.command(&["push", "--digestfile"]).arg(file.path()).arg(image), stop)?;
        let digest = std::fs::read_to_string(file.path()).map_err(|source| io_error(file.path(), source))?;
        Ok(digest.trim().to_owned())
    }

    /// The digest of an image in the registry that it came from or went to.
    pub(crate) fn pushed(&self, image: &str, stop: &mut Stop) -> Result<Option<String>> {
        if self.kind == Kind::Buildah {
            return Ok(None);
        }
        let asked = ["image", "inspect", "--format", "{{range .RepoDigests}}{{println .}}{{end}}", image];
        let said = call(&mut self.command(&asked), stop)?;
        let (name, _) = without_tag(image);
        let known: Vec<_> = said.lines().filter_map(|line| line.trim().split_once('@')).collect();
        let own = known.iter().find(|(of, _)| *of == name || of.ends_with(&format!("/{name}"))).or(known.first());
        Ok(own.map(|(_, digest)| (*digest).to_owned()))
    }

    /// Makes a container ready to run.
    pub(crate) fn start(&self, call_: &Call<'_>, stop: &mut Stop) -> Result<Running> {
        let mut arguments = vec!["run".to_owned()];
        let holder = match self.kind {
            Kind::Buildah => {
                let name = call(&mut self.command(&["from", call_.image]), stop)?;
                Holder::Working(name.trim().to_owned())
            }
            _ => {
                let folder = tempfile::tempdir().map_err(|source| io_error(&std::env::temp_dir(), source))?;
                arguments.extend(["--rm".to_owned(), "--cidfile".to_owned(), id_file(&folder).display().to_string()]);
                Holder::File(folder)
            }
        };
        for (name, value) in call_.options {
            let dashes = if name.chars().count() == 1 { "-" } else { "--" };
            arguments.push(format!("{dashes}{name}"));
            arguments.extend(value.clone());
        }
        for volume in &call_.mounts.volumes {
            arguments.extend(["-v".to_owned(), volume.clone()]);
        }
        for (name, value) in &call_.mounts.variables {
            arguments.extend(["-e".to_owned(), format!("{name}={value}")]);
        }
        match &holder {
            Holder::Working(name) => arguments.extend([name.clone(), "--".to_owned()]),
            Holder::File(_) => arguments.push(call_.image.to_owned()),
        }
        arguments.extend(call_.words.iter().cloned());
        Ok(Running { program: self.program.clone(), arguments, holder })
    }
}

fn id_file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("id")
}

/// An image's name, and its tag if it has one. A colon before a slash is a port.
fn without_tag(image: &str) -> (&str, Option<&str>) {
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (image, None),
    }
}

impl Running {
    /// The program that runs it.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        command
    }

    /// Removes what is left of it. A container that did not end by itself outlives a program that was killed.
    pub(crate) fn remove(self, has_ended: bool, say: &dyn Fn(&str)) {
        let mut command = Command::new(&self.program);
        match &self.holder {
            Holder::Working(name) => command.args(["rm", name]),
            Holder::File(_) if has_ended => return,
            Holder::File(folder) => match std::fs::read_to_string(id_file(folder)) {
                Ok(id) if !id.trim().is_empty() => command.args(["rm", "--force", id.trim()]),
                // It was not made.
                _ => return,
            },
        };
        match command.output() {
            // One that has ended is gone already, which some engines report as an error.
            Ok(output) if output.status.success() || matches!(self.holder, Holder::File(_)) => {}
            Ok(output) => say(&format!("the container is left: {}", String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => say(&format!("the container is left: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_tag() {
        assert_eq!(without_tag("a/b:1"), ("a/b", Some("1")));
        assert_eq!(without_tag("host:5000/a"), ("host:5000/a", None));
    }
}
