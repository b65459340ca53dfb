//! The search of experiments.

use std::cmp::Ordering;

use super::{RUNS_PAGE_MAX, directed, limit, page, passing};
use crate::mlflow::Mlflow;
use crate::mlflow::entity::{Experiment, Paged, View};
use crate::mlflow::error::ApiResult;
use crate::mlflow::filter::experiments::{Field, order, parse};

impl Mlflow {
    /// Experiments that match a filter, in an order, a page at a time; by default the newest first.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE`.
    pub fn search_experiments(
        &self,
        view: View,
        max_results: i64,
        filter: &str,
        order_by: &[String],
        page_token: Option<&str>,
    ) -> ApiResult<Paged<Experiment>> {
        let limit = limit(max_results, RUNS_PAGE_MAX)?;
        let filter = parse(filter)?;
        let mut keys = order(order_by)?;
        if keys.is_empty() {
            keys = vec![(Field::CreationTime, false), (Field::Id, true)];
        }
        let mut found = passing(self.entities()?.experiments()?, |(id, state)| {
            self.check_waiting()?;
            Ok(view.shows(state.lifecycle) && filter.holds(&mut |term| term.matches(*id, state)))
        })?;
        found.sort_by(|(a_id, a), (b_id, b)| {
            let by_key = keys.iter().map(|(field, ascending)| {
                let order = match field {
                    Field::Name => a.name.cmp(&b.name),
                    Field::Id => a_id.cmp(b_id),
                    Field::CreationTime => a.creation_time_ms.cmp(&b.creation_time_ms),
                    Field::LastUpdateTime => a.last_update_time_ms.cmp(&b.last_update_time_ms),
                    Field::Tag(_) => Ordering::Equal,
                };
                directed(order, *ascending)
            });
            by_key.fold(Ordering::Equal, Ordering::then).then(b_id.cmp(a_id))
        });
        page(found, page_token, limit, |(id, state)| Ok(self.experiment_entity(id, &state)))
    }
}
