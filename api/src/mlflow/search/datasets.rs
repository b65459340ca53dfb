//! The data sets of experiments, once for each context they were used in.

use std::collections::BTreeSet;

use crate::engine::search::{SearchQuery, TextKey};
use crate::mlflow::Mlflow;
use crate::mlflow::entity::{DatasetSummary, View};
use crate::mlflow::error::{ApiError, ApiResult};
use crate::mlflow::filter::clause::value_of;

/// Maximum number of experiments of a call.
const EXPERIMENTS_MAX: usize = 20;
/// Maximum number of summaries of an answer.
const SUMMARIES_MAX: usize = 1000;
/// Tag of a run's input that says what the data set was used for.
const TAG_CONTEXT: &str = "mlflow.data.context";

impl Mlflow {
    /// Data sets that runs of some experiments read, deleted runs included; at most 1,000, sorted.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` unless 1 to 20 experiments are named.
    pub fn search_datasets(&self, experiment_ids: &[String]) -> ApiResult<Vec<DatasetSummary>> {
        if experiment_ids.is_empty() {
            return Err(ApiError::invalid("SearchDatasets request must specify at least one experiment_id."));
        }
        if experiment_ids.len() > EXPERIMENTS_MAX {
            return Err(ApiError::invalid(format!(
                "SearchDatasets request cannot specify more than {EXPERIMENTS_MAX} experiment_ids. Received {} \
                 experiment_ids.",
                experiment_ids.len()
            )));
        }
        let snapshot = self.snapshot()?;
        let experiments = self.searched_experiments(experiment_ids)?;
        let filter = Some(TextKey::DatasetName.is_not_null());
        let query =
            SearchQuery { experiments, filter, order: Vec::new(), view: View::All, limit: usize::MAX, after: None };
        let mut summaries = BTreeSet::new();
        for run in snapshot.search(&query)?.runs {
            self.check_waiting()?;
            let Some(state) = snapshot.run(run)? else { continue };
            for input in &state.datasets {
                summaries.insert(DatasetSummary {
                    experiment_id: state.experiment.to_string(),
                    name: input.name.clone(),
                    digest: input.digest.clone(),
                    context: value_of(&input.tags, TAG_CONTEXT).map(str::to_owned),
                });
            }
            if summaries.len() >= SUMMARIES_MAX {
                break;
            }
        }
        Ok(summaries.into_iter().take(SUMMARIES_MAX).collect())
    }
}
