//! A store of its own for a launch in a container.
//!
//! ```text
//! STORE/inbox/launch-<16 hex digits>/    made with the run in it; the container has it at /mlflow/tmp/store
//!         | copied before the start and after the end, then removed
//! STORE
//! ```
//!
//! A container has other process ids and another host name, so it cannot share a store with processes of the host. What
//! a killed launcher leaves here, `runlode merge STORE` merges.

use std::path::{Path, PathBuf};

use runlode::{ExperimentId, ExperimentSpec, RunId, RunSpec, Store};

use crate::commands::sync;
use crate::error::{Error, Result};
use crate::output::note;

/// Where the container has it.
const PLACE: &str = "/mlflow/tmp/store";

pub(super) struct Apart {
    folder: PathBuf,
    experiment: ExperimentId,
}

impl Apart {
    /// Makes the store and the run.
    pub(super) fn begin(
        main: &Path,
        of: ExperimentId,
        experiment: ExperimentSpec,
        run: RunSpec,
    ) -> Result<(Self, RunId)> {
        let inbox = main.join("inbox");
        let io = |source| Error::io(format!("cannot make a store for the container in {}", inbox.display()), source);
        std::fs::create_dir_all(&inbox).map_err(io)?;
        let mut builder = tempfile::Builder::new();
        let folder = builder.prefix("launch-").rand_bytes(16).tempdir_in(&inbox).map_err(io)?.keep();
        // As readable as the main store, not for one user only.
        let mode = std::fs::metadata(main).map_err(io)?.permissions();
        std::fs::set_permissions(&folder, mode).map_err(io)?;
        let store = Store::options(&folder).offline(false).open()?;
        // The first experiment is the same in all stores.
        let experiment =
            if of == ExperimentId(0) { store.experiment_by_id(of)? } else { store.create_experiment(experiment)? };
        let run = experiment.create_run(run)?;
        let (id, experiment) = (run.id(), experiment.id());
        store.close()?;
        Ok((Self { folder, experiment }, id))
    }

    /// The option `-v`, and the tracking URI in the container.
    pub(super) fn mount(&self) -> (String, String) {
        (format!("{}:{PLACE}", self.folder.display()), format!("runlode://{PLACE}"))
    }

    pub(super) fn experiment(&self) -> String {
        self.experiment.0.to_string()
    }

    /// Copies what the main store lacks.
    pub(super) fn copy(&self, main: &Store, path: &Path) -> Result<()> {
        for problem in sync::copy(&self.folder, &main.mlflow(), path)? {
            note(problem);
        }
        Ok(())
    }

    /// Removes the store, once it was copied.
    pub(super) fn remove(self) -> Result<()> {
        std::fs::remove_dir_all(&self.folder)
            .map_err(|source| Error::io(format!("cannot remove {}", self.folder.display()), source))
    }
}
