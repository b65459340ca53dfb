//! `runlode models generate-dockerfile` and `runlode models build-docker`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::{Args, ValueEnum};
use runlode_models::file::ModelFile;
use runlode_projects::container::container_program;
use serde_json::json;

use crate::Answer;
use crate::commands::models::image::{Image, Inside};
use crate::commands::models::source::StoreOption;
use crate::error::{Error, Result};
use crate::output::{Output, note};

/// What predicts in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// Python with all that the model requires
    Python,
    /// ONNX Runtime, in a Python that has nothing else
    Onnxruntime,
    /// This program alone, if it is built with the feature `tract`
    Tract,
}

/// What both commands take.
#[derive(Debug, Args)]
struct Wanted {
    /// The model: a folder, models:/NAME/VERSION, models:/NAME@ALIAS, models:/m-..., runs:/RUN/PATH
    #[arg(long, short, value_name = "URI")]
    model_uri: String,
    #[command(flatten)]
    store: StoreOption,
    /// What predicts [default: onnxruntime for ONNX models, python for others]
    #[arg(long, value_enum)]
    engine: Option<Engine>,
    /// The image to build on [default: python:VERSION-slim, or scratch for the engine tract]
    #[arg(long, value_name = "IMAGE")]
    base_image: Option<String>,
}

/// Arguments of `models generate-dockerfile`.
#[derive(Debug, Args)]
pub struct GenerateDockerfile {
    #[command(flatten)]
    wanted: Wanted,
    /// Folder to write; it must not have anything in it
    #[arg(long, short = 'd', value_name = "DIR", default_value = "mlflow-dockerfile")]
    output_directory: PathBuf,
}

/// Arguments of `models build-docker`.
#[derive(Debug, Args)]
pub struct BuildDocker {
    #[command(flatten)]
    wanted: Wanted,
    /// Name of the image
    #[arg(long, short, default_value = "mlflow-pyfunc-servable")]
    name: String,
    /// Program that builds it [default: the first of docker, podman and buildah that works]
    #[arg(long, value_name = "PROGRAM")]
    builder: Option<String>,
}

impl GenerateDockerfile {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let folder = &self.output_directory;
        let is_used = std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some());
        if is_used {
            return Err(Error::usage(format!("{} has files already; name an empty folder with -d", folder.display())));
        }
        self.wanted.image(output)?.write(folder)?;
        let dockerfile = folder.join("Dockerfile");
        if output.is_json() {
            output.document(&json!({ "dockerfile": dockerfile }))?;
        } else {
            output.line(dockerfile.display())?;
        }
        Ok(Answer::Yes)
    }
}

impl BuildDocker {
    pub(crate) fn run(self, output: &mut Output) -> Result<Answer> {
        let builder = match self.builder {
            Some(builder) => builder,
            None => container_program().map_err(|error| Error::usage(error.to_string()))?.display().to_string(),
        };
        let folder = tempfile::tempdir().map_err(|error| Error::io("cannot make a folder to build in", error))?;
        self.wanted.image(output)?.write(folder.path())?;
        note(format!("{builder} builds the image {}", self.name));
        // What it prints is no data.
        let status = Command::new(&builder)
            .args(["build", "--tag", &self.name, "."])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .status()
            .map_err(|error| Error::io(format!("cannot run {builder}"), error))?;
        if !status.success() {
            return Err(Error::usage(format!("{builder} build ended with {status}")));
        }
        if output.is_json() {
            output.document(&json!({ "image": self.name }))?;
        } else {
            output.line(&self.name)?;
        }
        Ok(Answer::Yes)
    }
}

impl Wanted {
    fn image(&self, output: &mut Output) -> Result<Image> {
        let folder = self.store.folder(&self.model_uri, output)?;
        let model = folder.canonicalize();
        let model = model.map_err(|error| Error::io(format!("cannot open {}", folder.display()), error))?;
        let file = ModelFile::read(&model).map_err(|error| Error::usage(format!("{}: {error}", model.display())))?;
        let fit = if file.onnx.is_some() { Engine::Onnxruntime } else { Engine::Python };
        let engine = self.engine.unwrap_or(fit);
        if file.onnx.is_none() && engine != Engine::Python {
            return Err(Error::usage(format!(
                "{} is no ONNX model; only --engine python can serve it",
                model.display()
            )));
        }
        let version = || -> Result<String> {
            let said = file.python_function.as_ref().and_then(|flavor| flavor.python_version.clone());
            let is_version = |text: &String| text.split('.').all(|part| part.parse::<u32>().is_ok());
            match (said.filter(is_version), &self.base_image) {
                (Some(version), _) => Ok(version),
                // The base image brings its own.
                (None, Some(_)) => Ok(String::new()),
                (None, None) => Err(Error::usage(format!(
                    "{} does not say the version of its Python; name an image with --base-image",
                    model.display()
                ))),
            }
        };
        let inside = match engine {
            Engine::Python => {
                if !model.join("requirements.txt").is_file() {
                    return Err(Error::usage(format!("{} has no requirements.txt to install", model.display())));
                }
                Inside::Python { version: version()? }
            }
            Engine::Onnxruntime => Inside::OnnxRuntime { version: version()?, requirement: onnxruntime(&model) },
            Engine::Tract => {
                if !cfg!(feature = "tract") {
                    return Err(Error::usage(
                        "this runlode is built without tract; build it with `cargo build --release -p runlode-cli \
                         --features tract`",
                    ));
                }
                Inside::Tract
            }
        };
        let name = model.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Image { inside, model, name, base: self.base_image.clone() })
    }
}

/// The requirement of ONNX Runtime in the model's own list, else any version.
fn onnxruntime(model: &Path) -> String {
    let list = std::fs::read_to_string(model.join("requirements.txt")).unwrap_or_default();
    let is_plain = |line: &&str| line.chars().all(|c| c.is_ascii_alphanumeric() || "=.<>!~-_,".contains(c));
    let line = list.lines().map(str::trim).find(|line| line.starts_with("onnxruntime"));
    line.filter(is_plain).unwrap_or("onnxruntime").to_owned()
}
