//! What an import did: what was imported, what was left out and why, and where the source contradicts itself.

use std::collections::BTreeMap;

use serde::Serialize;

/// Notes and differences kept in full; further ones are only counted.
const NOTES_MAX: usize = 50;

/// Entities of the source that are in the store now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Experiments, deleted ones among them.
    pub experiments: u64,
    /// Runs, deleted ones among them.
    pub runs: u64,
    /// Params of runs.
    pub params: u64,
    /// Tags of runs.
    pub tags: u64,
    /// Metric points, rows of the source.
    pub points: u64,
    /// Data sets as inputs of runs.
    pub dataset_inputs: u64,
    /// Models as inputs and outputs of runs.
    pub model_links: u64,
    /// Logged models.
    pub logged_models: u64,
    /// Metric rows of logged models, attached to their points.
    pub model_points: u64,
    /// Registered models.
    pub registered_models: u64,
    /// Versions, without deleted ones.
    pub model_versions: u64,
    /// Aliases.
    pub aliases: u64,
    /// Artifact files.
    pub artifact_files: u64,
    /// Their bytes.
    pub artifact_bytes: u64,
}

/// What an import did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// The source: a database, folder or server.
    pub source: String,
    /// What it is, if it is no SQLite database of MLflow.
    pub kind: String,
    /// Version of its schema.
    pub schema: Option<String>,
    /// Entities of the source that are in the store now, from this import or an earlier one.
    pub imported: Imported,
    /// Batches that this import added to the store. 0: nothing changed.
    pub batches_new: u64,
    /// Batches that the store had from an earlier import.
    pub batches_known: u64,
    /// Artifact files that this import copied.
    pub artifact_files_new: u64,
    /// Points at +-1.797e308, MLflow's encoding of infinities.
    pub infinities: u64,
    /// Whether these were turned back into infinities.
    pub infinities_restored: bool,
    /// NaN points.
    pub nan_points: u64,
    /// Numbers of deleted model versions that stay used.
    pub version_numbers_kept: u64,
    /// The store's id for the database. A copy of the database, or a later state of it, has the same id.
    pub source_id: String,
    /// Whether all of the database is in the store. If not, `problems` and the counts of what was left out say why.
    pub complete: bool,
    /// Rows left out, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// What was left out, got another name or number, or differs in the store: a sentence each; at most 50.
    pub problems: Vec<String>,
    /// Problems beyond these.
    pub problems_more: u64,
    /// Values that the store keeps, by kind. The database's value was imported before.
    pub kept: BTreeMap<String, u64>,
    /// Artifact places that were not read, such as those on other machines or in object stores: kept as they are.
    pub artifact_places_elsewhere: u64,
    /// Tables left out because Runlode does not track such things, with their rows.
    pub tables_left_out: BTreeMap<String, u64>,
    /// Workspaces left out, with their experiments.
    pub workspaces_left_out: BTreeMap<String, u64>,
    /// Remarks, one sentence each; at most 50.
    pub notes: Vec<String>,
    /// Notes beyond these.
    pub notes_more: u64,
    /// Where the source's table of latest values contradicts its points; at most 50. The points decide.
    pub differences: Vec<String>,
    /// Differences beyond these.
    pub differences_more: u64,
}

impl Report {
    /// An empty one. `kind` is what the source is, if it is no SQLite database of MLflow.
    pub(super) fn new(source: &str, kind: Option<&str>, schema: Option<String>) -> Self {
        Self { source: source.to_owned(), kind: kind.unwrap_or_default().to_owned(), schema, ..Self::default() }
    }

    /// Adds what was found while the source was read.
    pub(super) fn absorb(&mut self, found: Self) {
        for (reason, rows) in found.skipped {
            self.skip(&reason, rows);
        }
        for (table, rows) in found.tables_left_out {
            *self.tables_left_out.entry(table).or_default() += rows;
        }
        self.workspaces_left_out.extend(found.workspaces_left_out);
        found.problems.into_iter().for_each(|problem| self.problem(problem));
        found.notes.into_iter().for_each(|note| self.note(note));
        self.problems_more += found.problems_more;
        self.notes_more += found.notes_more;
    }

    /// Counts rows of a kind that is not imported.
    pub(super) fn leave_out(&mut self, table: &str, rows: u64) {
        if rows > 0 {
            *self.tables_left_out.entry(table.to_owned()).or_default() += rows;
        }
    }

    /// Adds a sentence.
    pub(super) fn note(&mut self, text: impl Into<String>) {
        push_bounded(&mut self.notes, &mut self.notes_more, text.into());
    }

    /// Adds a sentence about something that is not in the store as the database has it.
    pub(super) fn problem(&mut self, text: impl Into<String>) {
        push_bounded(&mut self.problems, &mut self.problems_more, text.into());
    }

    /// Counts what stays as the store has it.
    pub(super) fn keep(&mut self, kind: &str, count: u64) {
        *self.kept.entry(kind.to_owned()).or_default() += count;
    }

    /// Adds a contradiction of the source.
    pub(super) fn difference(&mut self, text: impl Into<String>) {
        push_bounded(&mut self.differences, &mut self.differences_more, text.into());
    }

    /// Counts rows that were left out.
    pub(super) fn skip(&mut self, reason: &str, rows: u64) {
        if rows > 0 {
            *self.skipped.entry(reason.to_owned()).or_default() += rows;
        }
    }

    /// Adds the closing notes. `one_workspace`: the user asked for one, so leaving out the others is no problem.
    pub(super) fn finish(&mut self, one_workspace: bool) {
        self.complete = self.skipped.is_empty()
            && self.problems.is_empty()
            && self.tables_left_out.is_empty()
            && (one_workspace || self.workspaces_left_out.is_empty());
        if self.infinities > 0 && !self.infinities_restored {
            let count = self.infinities;
            self.note(format!(
                "{count} points are +-1.797e308, MLflow's way to store infinities; --restore-infinities turns them back"
            ));
        }
        let others: Vec<&str> = self.workspaces_left_out.keys().map(String::as_str).collect();
        if !others.is_empty() {
            let others = others.join(", ");
            self.note(format!(
                "other workspaces were left out: {others}; import each with --workspace into its own store"
            ));
        }
    }
}

fn push_bounded(list: &mut Vec<String>, more: &mut u64, text: String) {
    if list.len() < NOTES_MAX {
        list.push(text);
    } else {
        *more += 1;
    }
}

/// An address without its login, for reports and errors.
pub(super) fn without_login(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => match rest.split_once('@') {
            Some((_, rest)) => format!("{scheme}://{rest}"),
            None => url.to_owned(),
        },
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_not_shown() {
        assert_eq!(without_login("postgresql://me:secret@db:5432/mlflow"), "postgresql://db:5432/mlflow");
        assert_eq!(without_login("http://tracking:5000"), "http://tracking:5000");
    }
}
