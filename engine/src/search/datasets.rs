//! Packs the data sets of a run into one text, and unpacks them.

use super::row::DATASET_CONTEXT_TAG;
use crate::entity::DatasetRef;

/// Packs a run's data sets into one text, so that runs with the same ones share a code: for each its name, digest and
/// context, each as `length:text`, `-` for no context.
pub(super) fn pack_datasets(datasets: &[DatasetRef]) -> String {
    let mut out = String::new();
    let mut put = |text: Option<&str>| match text {
        Some(text) => {
            out.push_str(&text.len().to_string());
            out.push(':');
            out.push_str(text);
        }
        None => out.push('-'),
    };
    for dataset in datasets {
        put(Some(&dataset.name));
        put(Some(&dataset.digest));
        put(dataset.tags.iter().find(|tag| tag.0 == DATASET_CONTEXT_TAG).map(|tag| tag.1.as_str()));
    }
    out
}

/// Calls `visit` with every text of one field (0 name, 1 digest, 2 context) of packed data sets; stops at damage.
pub(super) fn each_dataset_field<'t>(packed: &'t str, field: usize, mut visit: impl FnMut(&'t str)) {
    let mut rest = packed;
    for i in 0.. {
        if rest.is_empty() {
            return;
        }
        let text = if let Some(tail) = rest.strip_prefix('-') {
            rest = tail;
            None
        } else {
            let Some((length, tail)) = rest.split_once(':') else { return };
            let Some((text, tail)) = length.parse().ok().and_then(|length| tail.split_at_checked(length)) else {
                return;
            };
            rest = tail;
            Some(text)
        };
        if i % 3 == field {
            text.into_iter().for_each(&mut visit);
        }
    }
}
