//! MLflow's web pages, from the user's installed mlflow.
//!
//! They are a folder of static files (`mlflow/server/js/build`): `index.html` at `/`, everything else below
//! `/static-files/` with its version in its name. The folder is searched when the first page is requested, so that it
//! does not delay the start. If there is none, a page says how to install mlflow, and the next request searches again.

mod find;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

/// Checks that a folder has web pages, as `--ui` names one.
///
/// # Errors
/// A sentence that says what it lacks.
pub fn check_pages(folder: &Path) -> Result<(), String> {
    find::named(folder).map(drop)
}

/// The location of the pages.
#[derive(Debug)]
pub(crate) struct Pages {
    /// `--ui`.
    asked: Option<PathBuf>,
    found: Mutex<Option<Arc<Path>>>,
    /// When a search found none.
    missed: Mutex<Option<Instant>>,
}

/// How long nobody searches again who only wants to know whether there are pages: a search runs programs.
const MISSED: Duration = Duration::from_secs(60);

impl Pages {
    pub(crate) fn new(asked: Option<PathBuf>) -> Self {
        Self { asked, found: Mutex::new(None), missed: Mutex::new(None) }
    }

    /// The folder of the pages, or why there is none.
    pub(crate) async fn folder(&self) -> Result<Arc<Path>, String> {
        let mut found = self.found.lock().await;
        if let Some(folder) = &*found {
            return Ok(folder.clone());
        }
        let asked = self.asked.clone();
        let looked = tokio::task::spawn_blocking(move || find::pages(asked.as_deref())).await;
        let folder: Arc<Path> = looked.unwrap_or_else(|error| Err(error.to_string()))?.into();
        *found = Some(folder.clone());
        Ok(folder)
    }

    /// Whether there are pages, as far as a search of the last minute says.
    pub(crate) async fn are_there(&self) -> bool {
        let mut missed = self.missed.lock().await;
        if missed.is_some_and(|at| at.elapsed() < MISSED) {
            return self.found.lock().await.is_some();
        }
        let are_there = self.folder().await.is_ok();
        *missed = (!are_there).then(Instant::now);
        are_there
    }

    /// The next request looks for the folder again.
    pub(crate) async fn forget(&self) {
        *self.found.lock().await = None;
    }
}
