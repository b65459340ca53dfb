//! A model's folder as something that predicts: ONNX models in this process, others in a Python of their own.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use runlode_models::file::{ModelFile, Onnx};
use runlode_models::signature::Signature;
use runlode_serving::Engine;
use runlode_serving::onnx::{self, Choice, Search};

use crate::error::{Error, Result};
use crate::output::note;

/// What predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// ONNX Runtime in this process; tract where there is none and it is built in
    Onnx,
    /// ONNX Runtime in this process
    Onnxruntime,
    /// tract in this process, if it is built in
    Tract,
}

/// How a model is to be run.
#[derive(Debug, Clone, Args)]
pub(super) struct Wanted {
    /// What predicts [default: onnx for ONNX models, python for others]
    #[arg(long, value_enum)]
    engine: Option<Kind>,
    /// A Python whose package onnxruntime is used [default: that of the active environment, then python3]
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
}

/// A model that predicts.
pub(super) struct Loaded {
    pub(super) engine: Box<dyn Engine>,
    pub(super) signature: Option<Signature>,
    /// Whether predictions take this process's own processor time.
    pub(super) is_in_process: bool,
}

impl Wanted {
    /// Loads the model of a folder for so many predictions at the same time.
    pub(super) fn load(&self, uri: &str, workers: usize) -> Result<Loaded> {
        let folder = Path::new(uri);
        let refused = |error: &dyn std::fmt::Display| Error::usage(format!("{uri}: {error}"));
        let file = ModelFile::read(folder).map_err(|error| refused(&error))?;
        match &file.onnx {
            Some(flavor) => {
                let engine = self.onnx(folder, flavor, workers)?;
                Ok(Loaded { engine, signature: file.signature, is_in_process: true })
            }
            None => Err(refused(&"it has no flavor onnx")),
        }
    }

    fn onnx(&self, folder: &Path, flavor: &Onnx, workers: usize) -> Result<Box<dyn Engine>> {
        let choice = match self.engine {
            None | Some(Kind::Onnx) => Choice::Any,
            Some(Kind::Onnxruntime) => Choice::Runtime,
            Some(Kind::Tract) => Choice::Tract,
        };
        let others: Vec<&str> = flavor
            .providers
            .iter()
            .map(|provider| provider.name.as_str())
            .filter(|name| *name != "CPUExecutionProvider")
            .collect();
        // Models that MLflow saves name CUDA by default, so this is no warning.
        if flavor.providers.len() == others.len() && !others.is_empty() {
            note(format!("the model asks for {}; it runs on the CPU", others.join(", ")));
        }
        // Several predictions at the same time share the cores already.
        let threads = if workers > 1 { Some(1) } else { None };
        onnx::load(folder, flavor, choice, threads, &Search::from_env(self.python.clone()))
            .map_err(|error| Error::usage(error.to_string()))
    }
}
