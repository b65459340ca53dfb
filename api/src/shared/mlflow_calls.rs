//! MLflow's calls on a store that several processes may have open: what they do beyond asking. The others are lines of
//! [`super::calls`].

use std::sync::Arc;

use super::caller::Caller;
use super::calls::{Asked, MlflowCalls};
use super::hidden::Metrics;
use super::logger::Logger;
use super::typed::Asks;
use super::{Shared, Status};
use crate::engine::KeyedPoint;
use crate::mlflow::entity::{Experiment, LoggedModel, ModelVersion, Run, Tag};
use crate::mlflow::runs::history_with;
use crate::mlflow::{
    ApiError, ApiResult, Call, ErrorCode, NewLoggedModel, NewMetric, NewModelVersion, NewRun, Settings, Waiting,
    client_gone, names,
};
use crate::{Ended, Error, LocalStore, RunId, RunStatus};

fn run_id(id: &str) -> ApiResult<RunId> {
    id.parse().map_err(|_| ApiError::absent(format!("Run with id={id} not found")))
}

impl MlflowCalls {
    /// Calls of this process itself.
    pub(crate) fn of(shared: Shared) -> Self {
        Self { shared, caller: Caller::default() }
    }

    /// MLflow's calls on an engine that this process opened, for this process alone: other processes do not reach it
    /// through these.
    ///
    /// ```
    /// use runlode::mlflow::Settings;
    /// use runlode::shared::MlflowCalls;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// let calls = MlflowCalls::alone(store.clone(), Settings::in_process(&store));
    /// let digits = calls.create_experiment("digits", None, &[])?;
    /// assert_eq!(store.get_or_create_experiment("digits")?.to_string(), digits);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn alone(store: LocalStore, settings: Settings) -> Self {
        Self::of(Shared::alone(store, settings))
    }

    /// The same calls for one call of a client, with its author and idempotency key.
    ///
    /// # Errors
    /// [`ApiError::repeated`] if the call was made before under its key: nothing needs to be done.
    pub fn for_call(&self, call: Call) -> ApiResult<Self> {
        if !call.idempotency_key.is_empty()
            && let Some(lsn) = self.call_made_before(&call.idempotency_key, call.request_hash)?
        {
            return Err(ApiError::repeated(lsn));
        }
        let caller = Caller { call: Some(Arc::new(call)), waiting: self.caller.waiting.clone() };
        Ok(Self { shared: self.shared.clone(), caller })
    }

    /// The same calls for a client that may go away: long reads then end in an error. Writes are not undone.
    #[must_use]
    pub fn for_waiting(&self, waiting: Arc<dyn Waiting>) -> Self {
        let caller = Caller { call: self.caller.call.clone(), waiting: Some(waiting) };
        Self { shared: self.shared.clone(), caller }
    }

    /// As [`crate::mlflow::Mlflow::check_waiting`].
    ///
    /// # Errors
    /// As there.
    pub fn check_waiting(&self) -> ApiResult<()> {
        if self.caller.is_waiting() { Ok(()) } else { Err(client_gone()) }
    }

    /// As [`crate::mlflow::Mlflow::check_room`].
    ///
    /// # Errors
    /// As there.
    pub fn check_room(&self, bytes: usize) -> ApiResult<()> {
        self.caller.waiting.as_ref().map_or(Ok(()), |waiting| waiting.make_room(bytes))
    }

    /// How these calls look at the store.
    pub fn settings(&self) -> &Settings {
        self.shared.settings()
    }

    /// As [`Store::holds`](crate::Store::holds).
    ///
    /// # Errors
    /// As there.
    pub fn holds(&self) -> ApiResult<bool> {
        Ok(self.shared.holds()?)
    }

    /// As [`Store::local`](crate::Store::local).
    ///
    /// # Errors
    /// As there.
    pub fn local(&self) -> ApiResult<LocalStore> {
        Ok(self.shared.local()?)
    }

    /// As [`Store::status`](crate::Store::status).
    ///
    /// # Errors
    /// As there.
    pub fn status(&self) -> ApiResult<Status> {
        Ok(self.shared.status()?)
    }

    /// As [`Store::flush`](crate::Store::flush).
    ///
    /// # Errors
    /// As there.
    pub fn flush(&self) -> ApiResult<()> {
        Ok(self.shared.flush()?)
    }

    /// As [`Store::close`](crate::Store::close).
    ///
    /// # Errors
    /// As there.
    pub fn close(self) -> ApiResult<()> {
        Ok(self.shared.close()?)
    }

    // ---- calls that do more than to ask ------------------------------------------------------------------------------

    /// As [`crate::mlflow::Mlflow::experiment_by_name`]. If this returns `None`, a
    /// [`create_experiment`](Self::create_experiment) within 60 s returns the winner's id if another caller got there
    /// first.
    ///
    /// # Errors
    /// As there; `TEMPORARILY_UNAVAILABLE` when the process that holds the store does not answer.
    pub fn experiment_by_name(&self, name: &str) -> ApiResult<Option<Experiment>> {
        let mut found = Asked(&self.shared, &self.caller).experiment_by_name(name)?;
        if found.is_none()
            && let Some(offline) = self.shared.seat()?.offline()?
        {
            found = offline.read_main(self.shared.settings(), |mlflow| mlflow.experiment_by_name(name))?;
        }
        if found.is_none() && !self.shared.serves_others() {
            self.shared.seat()?.node.creations.give_credit("", name);
        }
        Ok(found)
    }

    /// As [`crate::mlflow::Mlflow::create_experiment`], with one difference. If this process saw the name free within
    /// the last 60 s, and another caller has taken it since, the result is that experiment's id instead of a refusal.
    /// (MLflow's client asks, creates, and takes a refusal for a success: its runs would go to `Default`.)
    ///
    /// # Errors
    /// As there; `TEMPORARILY_UNAVAILABLE` when the process that holds the store does not answer.
    pub fn create_experiment(&self, name: &str, artifact_location: Option<&str>, tags: &[Tag]) -> ApiResult<String> {
        if let Some(offline) = self.shared.seat()?.offline()?
            && offline.adopt_name(name)?
        {
            return Err(Error::AlreadyExists { entity: crate::EntityKind::Experiment, id: name.to_owned() }.into());
        }
        let plain = artifact_location.is_none_or(str::is_empty) && tags.is_empty();
        let created = Asked(&self.shared, &self.caller).create_experiment(name, artifact_location, tags);
        let creations = &self.shared.seat()?.node.creations;
        match created {
            Err(error) if plain && error.code == ErrorCode::ResourceAlreadyExists => {
                if self.shared.serves_others() || !creations.use_credit("", name) {
                    return Err(error);
                }
                match Asked(&self.shared, &self.caller).experiment_by_name(name)? {
                    Some(experiment) if !experiment.deleted => Ok(experiment.experiment_id),
                    _ => Err(error),
                }
            }
            result => {
                let created = result?;
                // The answer that this create followed has had its use.
                creations.use_credit("", name);
                Ok(created)
            }
        }
    }

    /// As [`crate::mlflow::Mlflow::ensure_experiment`].
    ///
    /// # Errors
    /// As there; `TEMPORARILY_UNAVAILABLE` when the process that holds the store does not answer.
    pub fn ensure_experiment(&self, name: &str) -> ApiResult<String> {
        if let Some(offline) = self.shared.seat()?.offline()?
            && offline.adopt_name(name)?
        {
            return Err(Error::Deleted { entity: crate::EntityKind::Experiment, id: name.to_owned() }.into());
        }
        Asked(&self.shared, &self.caller).ensure_experiment(name)
    }

    /// As [`crate::mlflow::Mlflow::create_run`].
    ///
    /// # Errors
    /// As there; `TEMPORARILY_UNAVAILABLE` when the process that holds the store does not answer.
    pub fn create_run(&self, new: &NewRun<'_>) -> ApiResult<Run> {
        if let Some(offline) = self.shared.seat()?.offline()?
            && let Some(id) = new.experiment_id.filter(|id| !id.is_empty())
        {
            return Asked(&self.shared, &self.caller)
                .create_run(NewRun { experiment_id: Some(&offline.adopt(id)?), ..*new });
        }
        Asked(&self.shared, &self.caller).create_run(*new)
    }

    /// As [`crate::mlflow::Mlflow::create_logged_model`].
    ///
    /// # Errors
    /// As there; `TEMPORARILY_UNAVAILABLE` when the process that holds the store does not answer.
    pub fn create_logged_model(&self, new: &NewLoggedModel<'_>) -> ApiResult<LoggedModel> {
        if let Some(offline) = self.shared.seat()?.offline()? {
            let id = offline.adopt(new.experiment_id)?;
            return Asked(&self.shared, &self.caller)
                .create_logged_model(NewLoggedModel { experiment_id: &id, ..*new });
        }
        Asked(&self.shared, &self.caller).create_logged_model(*new)
    }

    /// As [`crate::mlflow::Mlflow::create_model_version`].
    ///
    /// # Errors
    /// As there; `TEMPORARILY_UNAVAILABLE` when the process that holds the store does not answer.
    pub fn create_model_version(&self, name: &str, new: &NewModelVersion<'_>) -> ApiResult<ModelVersion> {
        Asked(&self.shared, &self.caller).create_model_version(name, *new)
    }

    /// As [`crate::mlflow::Mlflow::record_logged_model`].
    ///
    /// # Errors
    /// As there; `TEMPORARILY_UNAVAILABLE` when the process that holds the store does not answer.
    pub fn record_logged_model(&self, id: &str, model_json: &str) -> ApiResult<()> {
        loop {
            let before = Asked(&self.shared, &self.caller).logged_model_history(id)?;
            let after = history_with(before.as_deref(), model_json)?;
            if Asked(&self.shared, &self.caller).swap_logged_model_history(id, before.as_deref(), &after)? {
                return Ok(());
            }
        }
    }

    // ---- points ------------------------------------------------------------------------------------------------------

    /// Whether a run can be made and be given these params, as far as that can be told beforehand.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub fn check_new_run(&self, new: &NewRun<'_>, params: &[Tag]) -> ApiResult<()> {
        new.check(params, self.shared.settings().long_values)
    }

    /// Creates a run with params: the run with all of them, or none. What can be refused is refused beforehand; a run
    /// whose params fail all the same (the disk is full, the holder of the store dies) is ended and deleted.
    ///
    /// # Errors
    /// As [`crate::mlflow::Mlflow::create_run`] and [`crate::mlflow::Mlflow::log_batch`].
    pub fn create_run_with(&self, new: &NewRun<'_>, params: &[Tag]) -> ApiResult<Run> {
        self.check_new_run(new, params)?;
        let run = self.create_run(new)?;
        let id = &run.info.run_id;
        let logged = params.chunks(names::BATCH_PARAMS_MAX).try_for_each(|part| self.log_batch(id, &[], part, &[]));
        if let Err(error) = logged {
            // Return the first error. If these calls fail too, the run counts as lost once this process ends.
            let _ = self.update_run(id, Some(RunStatus::Failed), Some(new.start_time), None);
            let _ = self.delete_run(id);
            return Err(error);
        }
        Ok(run)
    }

    /// Ends a run, unless it has ended. The status that it has then.
    ///
    /// # Errors
    /// As [`crate::mlflow::Mlflow::update_run`].
    ///
    /// ```
    /// use runlode::mlflow::{NewLoggedModel, NewMetric, NewModelVersion, NewRun};
    /// use runlode::RunStatus;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::Store::open(dir.path().join("exp"))?;
    /// # let run = store.experiment("digits")?.create_run(runlode::RunSpec::new())?;
    /// let calls = store.mlflow();
    /// assert!(calls.holds()? && calls.status()?.holds);
    /// assert_eq!(calls.local()?.path(), dir.path().join("exp"));
    /// assert!(calls.settings().places.root().ends_with("artifacts"));
    ///
    /// let mnist = calls.create_experiment("mnist", None, &[])?;
    /// assert_eq!(calls.ensure_experiment("mnist")?, mnist);
    /// assert!(calls.experiment_by_name("mnist")?.is_some());
    /// let new = NewRun { experiment_id: Some(&mnist), ..NewRun::default() };
    /// calls.check_new_run(&new, &[])?;
    /// let made = calls.create_run(&new)?;
    /// let id = &made.info.run_id;
    /// let loss = NewMetric { key: "loss", value: 2.3, timestamp: 1_700_000_000_000, ..NewMetric::default() };
    /// calls.log_metric(id, &loss)?;
    /// calls.log_batch(id, &[NewMetric { step: 1, ..loss }], &[], &[])?;
    /// calls.create_logged_model(&NewLoggedModel { experiment_id: &mnist, ..NewLoggedModel::default() })?;
    /// calls.record_logged_model(id, r#"{"artifact_path": "model"}"#)?;
    /// calls.create_registered_model("fraud", &[], None)?;
    /// calls.create_model_version("fraud", &NewModelVersion { source: "s3://models/a", ..NewModelVersion::default() })?;
    /// let tested = calls.create_run_with(&new, &[("lr".to_owned(), "0.1".to_owned())])?;
    /// assert_eq!(calls.run(&tested.info.run_id)?.params.len(), 1);
    /// assert_eq!(calls.end_run(id, RunStatus::Finished, 1_700_000_001_000)?, RunStatus::Finished);
    /// calls.flush()?;
    /// calls.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn end_run(&self, id: &str, status: RunStatus, end_time: i64) -> ApiResult<RunStatus> {
        let seat = self.shared.seat()?;
        let ended = Asks::end_run(&self.shared, run_id(id)?, status, Some(end_time));
        match ended.map_err(|error| seat.explained(error))? {
            Ended::Now(_) => Ok(status),
            Ended::Before(status) => Ok(status),
        }
    }

    /// As [`crate::mlflow::Mlflow::log_metric`]. A client needs nobody for a point of a run that it has logged to.
    ///
    /// # Errors
    /// As there; `TEMPORARILY_UNAVAILABLE` when the process that holds the store does not answer.
    pub fn log_metric(&self, id: &str, metric: &NewMetric<'_>) -> ApiResult<()> {
        let seat = self.shared.seat()?;
        loop {
            if let Some(mlflow) = seat.mlflow()? {
                return self.caller.on(mlflow).log_metric(id, metric).map_err(|error| seat.explained(error));
            }
            names::metric("", metric.key, metric.value, metric.timestamp)?;
            if metric.has_context() || self.caller.call.is_some() {
                return Asked(&self.shared, &self.caller).log_batch(
                    id,
                    Metrics(std::slice::from_ref(metric)),
                    &[],
                    &[],
                );
            }
            let durability = self.shared.settings().metric_durability;
            let logged = self.shared.with_inbox(seat, run_id(id)?, |run, inbox| {
                inbox.log_point(run, inbox.metric_key(metric.key)?, metric.point(), durability)
            })?;
            if logged.is_some() {
                return Ok(());
            }
        }
    }

    /// As [`crate::mlflow::Mlflow::log_batch`]. Points alone go the way of [`MlflowCalls::log_metric`].
    ///
    /// # Errors
    /// As there; `TEMPORARILY_UNAVAILABLE` when the process that holds the store does not answer.
    pub fn log_batch(&self, id: &str, metrics: &[NewMetric<'_>], params: &[Tag], tags: &[Tag]) -> ApiResult<()> {
        let seat = self.shared.seat()?;
        let alone = params.is_empty() && tags.is_empty() && !metrics.is_empty();
        // An inbox has neither authors nor keys of calls.
        let plain = alone && self.caller.call.is_none() && !metrics.iter().any(NewMetric::has_context);
        loop {
            if let Some(mlflow) = seat.mlflow()? {
                return self
                    .caller
                    .on(mlflow)
                    .log_batch(id, metrics, params, tags)
                    .map_err(|error| seat.explained(error));
            }
            if !plain {
                return Asked(&self.shared, &self.caller).log_batch(id, Metrics(metrics), params, tags);
            }
            names::run_id(id)?;
            crate::mlflow::check_points(metrics)?;
            names::batch_sizes(metrics.len(), 0, 0)?;
            let durability = self.shared.settings().metric_durability;
            let logged = self.shared.with_inbox(seat, run_id(id)?, |run, inbox| {
                let mut points = Vec::with_capacity(metrics.len());
                for metric in metrics {
                    points.push(KeyedPoint { key: inbox.metric_key(metric.key)?, point: metric.point() });
                }
                inbox.log_points(run, &points, durability)
            })?;
            if logged.is_some() {
                return Ok(());
            }
        }
    }

    /// A logger of metric points to a run: the hot path.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`, `INVALID_PARAMETER_VALUE` for a run that is deleted; `TEMPORARILY_UNAVAILABLE` when
    /// the process that holds the store does not answer.
    pub fn logger(&self, run: &str) -> ApiResult<Logger> {
        Logger::new(self.shared.clone(), run)
    }
}
