//! Data sets and models that a run reads, and models that it produces.

use runlode_engine::event::{DatasetInput, RunInputsLogged, RunOutputsLogged};
use runlode_engine::{Batch, Durability, Lsn, Result, RunId};
use rustc_hash::FxHashSet;

use crate::LocalStore;

/// Most entries of one event. The engine's own limit is higher.
const EVENT_ENTRIES_MAX: usize = 50_000;
/// Bytes of the data sets in one event, about; a single one may have more. A batch may have 64 MiB.
const EVENT_BYTES: usize = 32 << 20;

impl LocalStore {
    /// Logs any number of data sets and models that a run reads. A model is logged once, however often it is named.
    ///
    /// Inputs that do not fit one batch take several. A call that fails between them has logged some; made again, it
    /// logs the rest, because inputs that a run already has stay as they are.
    pub(crate) fn log_run_inputs(&self, run: RunId, datasets: &[DatasetInput], models: &[String]) -> Result<Lsn> {
        let mut seen = FxHashSet::default();
        let models: Vec<&String> = models.iter().filter(|model| seen.insert(model.as_str())).collect();
        let mut groups = groups(datasets).peekable();
        let mut models = models.chunks(EVENT_ENTRIES_MAX).peekable();
        loop {
            let datasets = groups.next().unwrap_or_default().to_vec();
            let models_here = models.next().unwrap_or_default().iter().copied().cloned().collect();
            let batch = Batch::new().event(RunInputsLogged { run, datasets, models: models_here });
            if groups.peek().is_none() && models.peek().is_none() {
                return Ok(self.append(batch, Durability::Sync)?.lsn);
            }
            self.append_part(batch, Durability::Buffered)?;
        }
    }

    /// Logs the models that a run produced, by their ids, each with its step. Equal ones are kept.
    pub(crate) fn log_run_outputs(&self, run: RunId, models: &[(String, i64)]) -> Result<Lsn> {
        let mut batch = Batch::new();
        for models in models.chunks(EVENT_ENTRIES_MAX) {
            batch.push_event(RunOutputsLogged { run, models: models.to_vec() });
        }
        Ok(self.append(batch, Durability::Sync)?.lsn)
    }
}

/// Data sets in groups that each fit one event.
fn groups(datasets: &[DatasetInput]) -> impl Iterator<Item = &[DatasetInput]> {
    let mut rest = datasets;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |input: &&DatasetInput| {
            bytes += bytes_of(input);
            bytes <= EVENT_BYTES
        };
        let count = rest.iter().take(EVENT_ENTRIES_MAX).take_while(fits).count().max(1);
        let (group, more) = rest.split_at_checked(count)?;
        rest = more;
        Some(group)
    })
}

fn bytes_of(input: &DatasetInput) -> usize {
    let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let tags: usize = input.tags.iter().map(|(key, value)| key.len() + value.len()).sum();
    let texts = [&input.name, &input.digest, &input.source_type, &input.source];
    texts.into_iter().map(String::len).sum::<usize>() + optional(&input.schema) + optional(&input.profile) + tags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunSpec;

    fn dataset(name: String, profile_bytes: usize) -> DatasetInput {
        DatasetInput {
            name,
            digest: "d".to_owned(),
            source_type: "local".to_owned(),
            source: "s".to_owned(),
            schema: None,
            profile: Some("p".repeat(profile_bytes)),
            tags: Vec::new(),
        }
    }

    #[test]
    fn any_number_of_inputs_is_one_call_and_a_model_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(dir.path().join("store")).unwrap();
        let run = store.create_run(store.get_or_create_experiment("e").unwrap(), RunSpec::new()).unwrap().id();
        let many: Vec<DatasetInput> = (0..EVENT_ENTRIES_MAX + 10).map(|i| dataset(format!("d{i}"), 0)).collect();
        let models: Vec<String> = (0..2 * EVENT_ENTRIES_MAX + 2).map(|i| format!("m-{}", i / 2)).collect();
        store.log_run_inputs(run, &many, &models).unwrap();
        let state = store.snapshot().unwrap().run(run).unwrap().unwrap();
        assert_eq!((state.datasets.len(), state.model_inputs.len()), (many.len(), models.len() / 2));
        let first = models[..1].to_vec();
        store.log_run_inputs(run, &[], &vec![first[0].clone(); 3 * EVENT_ENTRIES_MAX]).unwrap();
        store.log_run_outputs(run, &vec![(first[0].clone(), 1); 3 * EVENT_ENTRIES_MAX]).unwrap();
        let state = store.snapshot().unwrap().run(run).unwrap().unwrap();
        assert_eq!(state.model_inputs.len(), models.len() / 2);
        assert_eq!(state.model_outputs.len(), 3 * EVENT_ENTRIES_MAX);
    }

    #[test]
    fn inputs_that_are_too_long_for_one_batch_take_several() {
        let large: Vec<DatasetInput> = (0..5).map(|i| dataset(format!("d{i}"), 15 << 20)).collect();
        assert_eq!(groups(&large).map(<[_]>::len).collect::<Vec<_>>(), [2, 2, 1]);
        assert_eq!(groups(&[dataset("d".to_owned(), 40 << 20)]).count(), 1);
        assert_eq!(groups(&[]).count(), 0);
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open(dir.path().join("store")).unwrap();
        let run = store.create_run(store.get_or_create_experiment("e").unwrap(), RunSpec::new()).unwrap().id();
        store.log_run_inputs(run, &large, &[]).unwrap();
        assert_eq!(store.snapshot().unwrap().run(run).unwrap().unwrap().datasets.len(), 5);
    }
}
