//! Calls whose arguments are structs of borrowed parts, and steps of calls that take more than one: as the holder does
//! them. Each has its line in [`super::calls`].

use super::wire::{Arg, Lend, Put, Take};
use crate::engine::varint::Bytes;
use crate::mlflow::entity::{Experiment, LoggedModel, ModelVersion, Run, Tag};
use crate::mlflow::{ApiResult, Mlflow, NewLoggedModel, NewMetric, NewModelVersion, NewRun};

pub(super) fn create_experiment(
    mlflow: &Mlflow,
    name: &str,
    artifact_location: Option<&str>,
    tags: &[Tag],
) -> ApiResult<String> {
    mlflow.create_experiment(name, artifact_location, tags)
}

pub(super) fn experiment_by_name(mlflow: &Mlflow, name: &str) -> ApiResult<Option<Experiment>> {
    mlflow.experiment_by_name(name)
}

pub(super) fn ensure_experiment(mlflow: &Mlflow, name: &str) -> ApiResult<String> {
    mlflow.ensure_experiment(name)
}

pub(super) fn create_run(mlflow: &Mlflow, new: NewRun<'_>) -> ApiResult<Run> {
    mlflow.create_run(&new)
}

/// Checks that points may be logged to a run.
pub(super) fn check_run(mlflow: &Mlflow, id: &str) -> ApiResult<()> {
    mlflow.check_run(id)
}

pub(super) fn log_batch(
    mlflow: &Mlflow,
    id: &str,
    metrics: Metrics<'_>,
    params: &[Tag],
    tags: &[Tag],
) -> ApiResult<()> {
    mlflow.log_batch(id, metrics.0, params, tags)
}

pub(super) fn logged_model_history(mlflow: &Mlflow, id: &str) -> ApiResult<Option<String>> {
    mlflow.logged_model_history(id)
}

pub(super) fn swap_logged_model_history(
    mlflow: &Mlflow,
    id: &str,
    before: Option<&str>,
    after: &str,
) -> ApiResult<bool> {
    mlflow.swap_logged_model_history(id, before, after)
}

pub(super) fn create_logged_model(mlflow: &Mlflow, new: NewLoggedModel<'_>) -> ApiResult<LoggedModel> {
    mlflow.create_logged_model(&new)
}

pub(super) fn create_model_version(mlflow: &Mlflow, name: &str, new: NewModelVersion<'_>) -> ApiResult<ModelVersion> {
    mlflow.create_model_version(name, &new)
}

/// Points of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Metrics<'a>(pub(super) &'a [NewMetric<'a>]);

/// Points as they were received.
pub(crate) struct HeldMetrics<'a>(Vec<NewMetric<'a>>);

impl Put for Metrics<'_> {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
}

impl<'a> Take<'a> for HeldMetrics<'a> {
    fn take(from: &mut Bytes<'a>) -> Option<Self> {
        Take::take(from).map(Self)
    }
}

impl Arg for Metrics<'_> {
    type Held<'a> = HeldMetrics<'a>;
}

impl Lend for HeldMetrics<'_> {
    type Lent<'b>
        = Metrics<'b>
    where
        Self: 'b;

    fn lend(&self) -> Metrics<'_> {
        Metrics(&self.0)
    }
}

impl Put for NewMetric<'_> {
    fn put(&self, out: &mut Vec<u8>) {
        let Self { key, value, timestamp, step, model_id, dataset_name, dataset_digest } = self;
        key.put(out);
        value.put(out);
        timestamp.put(out);
        step.put(out);
        model_id.put(out);
        dataset_name.put(out);
        dataset_digest.put(out);
    }
}

impl<'a> Take<'a> for NewMetric<'a> {
    fn take(from: &mut Bytes<'a>) -> Option<Self> {
        Some(Self {
            key: Take::take(from)?,
            value: Take::take(from)?,
            timestamp: Take::take(from)?,
            step: Take::take(from)?,
            model_id: Take::take(from)?,
            dataset_name: Take::take(from)?,
            dataset_digest: Take::take(from)?,
        })
    }
}

/// A struct of borrowed parts: how it is sent, held with its lists after receipt, and lent to a call.
macro_rules! borrowed {
    ($name:ident as $held:ident { $($field:ident),* } and lists { $($list:ident),* }) => {
        /// As it was received.
        pub(crate) struct $held<'a> {
            new: $name<'a>,
            $($list: Vec<Tag>),*
        }

        impl Put for $name<'_> {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($field,)* $($list),* } = self;
                $($field.put(out);)*
                $($list.put(out);)*
            }
        }

        impl<'a> Take<'a> for $held<'a> {
            fn take(from: &mut Bytes<'a>) -> Option<Self> {
                let new = $name { $($field: Take::take(from)?,)* ..$name::default() };
                Some(Self { new, $($list: Take::take(from)?),* })
            }
        }

        impl Arg for $name<'_> {
            type Held<'a> = $held<'a>;
        }

        impl Lend for $held<'_> {
            type Lent<'b>
                = $name<'b>
            where
                Self: 'b;

            fn lend(&self) -> $name<'_> {
                $name { $($list: &self.$list,)* ..self.new }
            }
        }
    };
}

borrowed! {
    NewRun as HeldNewRun { experiment_id, user_id, start_time, run_name } and lists { tags }
}
borrowed! {
    NewLoggedModel as HeldNewLoggedModel { experiment_id, name, model_type, source_run_id } and lists { params, tags }
}
borrowed! {
    NewModelVersion as HeldNewModelVersion {
        source, run_id, run_link, description, model_id, storage_location, note_on_model
    } and lists { tags }
}
