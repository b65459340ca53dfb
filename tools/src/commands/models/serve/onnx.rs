//! An ONNX model in this process.

use std::path::Path;
use std::sync::Arc;

use runlode_models::file::Onnx;
use runlode_serving::Engine;
use runlode_serving::onnx::{Choice, Search, load};

use super::environment::{Environment, Kind};
use crate::error::{Error, Result};
use crate::output::note;

const CPU: &str = "CPUExecutionProvider";

/// Loads the model of a folder.
pub(super) fn engine(
    folder: &Path,
    flavor: &Onnx,
    environment: &Environment,
    threads: Option<usize>,
) -> Result<Arc<dyn Engine>> {
    let choice = match environment.engine {
        Some(Kind::Onnxruntime) => Choice::Runtime,
        Some(Kind::Tract) => Choice::Tract,
        _ => Choice::Any,
    };
    let names: Vec<&str> = flavor.providers.iter().map(|provider| provider.name.as_str()).collect();
    // Models that MLflow saves name CUDA before the CPU by default, so these are no news.
    if !names.is_empty() && !names.contains(&CPU) {
        note(format!("the model asks for {}; it runs on the CPU", names.join(", ")));
    }
    let search = Search::from_env(environment.python.clone());
    let engine = load(folder, flavor, choice, threads, &search);
    engine.map(Arc::from).map_err(|error| Error::usage(error.to_string()))
}
