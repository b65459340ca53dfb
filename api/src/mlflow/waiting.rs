//! Gives up work for a client that has gone.

use std::fmt::Debug;
use std::sync::Arc;

use super::Mlflow;
use super::error::{ApiError, ApiResult, ErrorCode};

/// Status of a call whose client has gone. Nobody reads it.
const CLIENT_GONE: u16 = 499;

/// The client that waits for the answer of a call.
///
/// ```
/// use std::sync::Arc;
/// use runlode::mlflow::{Mlflow, Settings, Waiting};
///
/// # let dir = tempfile::tempdir()?;
/// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
/// #[derive(Debug)]
/// struct Gone;
///
/// impl Waiting for Gone {
///     fn is_waiting(&self) -> bool {
///         false
///     }
/// }
///
/// let mlflow = Mlflow::new(store.clone(), Settings::in_process(&store)).for_waiting(Arc::new(Gone));
/// assert!(mlflow.check_waiting().is_err());
/// // It said nothing of room, so there is room for anything.
/// assert!(mlflow.check_room(1 << 30).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Waiting: Debug + Send + Sync {
    /// Whether the answer is still wanted. Called once for every few entities read.
    fn is_waiting(&self) -> bool;

    /// Makes room for what a read holds so far, in bytes: called while it grows. Default: there is room for anything.
    ///
    /// # Errors
    /// Whatever the call is to end with, where there is no room.
    fn make_room(&self, bytes: usize) -> ApiResult<()> {
        let _ = bytes;
        Ok(())
    }
}

impl Mlflow {
    /// The same stores for a client that may go away: long reads then end in an error. Writes are not undone.
    #[must_use]
    pub fn for_waiting(&self, waiting: Arc<dyn Waiting>) -> Self {
        Self { waiting: Some(waiting), ..self.clone() }
    }

    /// Call this in every loop whose length a client chooses.
    ///
    /// # Errors
    /// `BAD_REQUEST` if the client has gone.
    pub fn check_waiting(&self) -> ApiResult<()> {
        match &self.waiting {
            Some(waiting) if !waiting.is_waiting() => Err(client_gone()),
            _ => Ok(()),
        }
    }
}

impl Mlflow {
    /// Call this while an answer grows whose size a client chooses, with its bytes so far.
    ///
    /// # Errors
    /// Those of [`Waiting::make_room`].
    pub fn check_room(&self, bytes: usize) -> ApiResult<()> {
        self.waiting.as_ref().map_or(Ok(()), |waiting| waiting.make_room(bytes))
    }
}

/// The refusal of a call whose client has gone.
pub(crate) fn client_gone() -> ApiError {
    ApiError::new(ErrorCode::BadRequest, "The client has gone.").with_status(CLIENT_GONE)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::LocalStore;
    use crate::mlflow::{NewModelVersion, NewRun, Settings, entity::View};

    /// Waits for this many calls.
    #[derive(Debug)]
    struct Patience(AtomicUsize);

    impl Waiting for Patience {
        fn is_waiting(&self) -> bool {
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
        }
    }

    #[test]
    fn reads_end_when_nobody_waits() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(dir.path().join("store")).unwrap();
        let mlflow = Mlflow::new(store.clone(), Settings::in_process(&store));
        let runs: Vec<String> = (0..10).map(|_| mlflow.create_run(&NewRun::default()).unwrap().info.run_id).collect();
        for name in ["a", "b", "c"] {
            mlflow.create_experiment(name, None, &[]).unwrap();
            mlflow.create_registered_model(name, &[], None).unwrap();
            mlflow.create_model_version(name, &NewModelVersion { source: "x", ..Default::default() }).unwrap();
        }
        let experiments = ["0".to_owned()];
        type Read<'a> = &'a dyn Fn(&Mlflow) -> ApiResult<()>;
        let reads: [(&str, Read<'_>); 7] = [
            ("experiments", &|mlflow| mlflow.search_experiments(View::All, 100, "", &[], None).map(drop)),
            ("runs", &|mlflow| mlflow.search_runs(&experiments, "", View::All, 100, &[], None).map(drop)),
            ("versions", &|mlflow| mlflow.search_model_versions("", 100, &[], None).map(drop)),
            ("models", &|mlflow| mlflow.search_registered_models("", 100, &[], None).map(drop)),
            ("bulk", &|mlflow| mlflow.metric_history_bulk(&runs, "k", None).map(drop)),
            ("interval", &|mlflow| mlflow.metric_history_interval(&runs, "k", None, None).map(drop)),
            ("samples", &|mlflow| mlflow.metric_history_samples(&runs, "k", None, 10).map(drop)),
        ];
        for (name, read) in reads {
            read(&mlflow.for_waiting(Arc::new(Patience(AtomicUsize::new(usize::MAX))))).unwrap();
            let gone = read(&mlflow.for_waiting(Arc::new(Patience(AtomicUsize::new(2))))).unwrap_err();
            assert_eq!(gone.status(), CLIENT_GONE, "{name}");
        }
    }
}
