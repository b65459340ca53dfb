//! Resolves arguments: a run by id, prefix of the id, or name; a model by `models:/NAME`.

use std::path::PathBuf;

use runlode::{ExperimentId, RunId, Snapshot};

use crate::error::{Error, Result};

/// Shortest prefix of an id that is accepted.
const PREFIX_MIN: usize = 4;

/// What `show` and `history` take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A run: its id, a prefix of it, or its name.
    Run(String),
    /// An experiment, by name or id.
    Experiment(String),
    /// A registered model.
    Model(String),
    /// One of its versions.
    Version(String, u32),
}

impl Target {
    /// Reads `RUN`, `experiment:NAME`, `models:/NAME`, `models:/NAME/VERSION`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if let Some(name) = text.strip_prefix("experiment:") {
            return Ok(Self::Experiment(name.to_owned()));
        }
        let Some(model) = text.strip_prefix("models:/") else {
            return Ok(Self::Run(text.to_owned()));
        };
        match model.split_once('/') {
            None if !model.is_empty() => Ok(Self::Model(model.to_owned())),
            Some((name, version)) if !name.is_empty() => match version.parse() {
                Ok(version) => Ok(Self::Version(name.to_owned(), version)),
                Err(_) => Err(Error::usage(format!("`{version}` is not a version number; write models:/{name}/1"))),
            },
            _ => {
                Err(Error::usage(format!("`{text}` does not name a model; write models:/NAME or models:/NAME/VERSION")))
            }
        }
    }
}

/// The folder of a store from an argument: a path, or `runlode:///path`.
pub(crate) fn store_path(text: &str) -> Result<PathBuf, String> {
    match text.strip_prefix("runlode://") {
        Some(path) if path.starts_with('/') => Ok(PathBuf::from(path)),
        Some(_) => Err(format!("`{text}` needs three slashes: runlode:///path")),
        None if text.is_empty() => Err("give the folder of a store".to_owned()),
        None => Ok(PathBuf::from(text)),
    }
}

/// The run that an argument names.
pub(crate) fn run(snapshot: &Snapshot, text: &str) -> Result<RunId> {
    if let Ok(id) = text.parse::<RunId>() {
        return match snapshot.run(id)? {
            Some(_) => Ok(id),
            None => Err(Error::usage(format!("there is no run {id}; `runlode runs STORE` lists them"))),
        };
    }
    let hex = text.len() >= PREFIX_MIN && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let (mut by_id, mut by_name) = (Vec::new(), Vec::new());
    for (experiment, _) in snapshot.experiments()? {
        for id in snapshot.runs_of(experiment)? {
            if hex && id.to_string().starts_with(text) {
                by_id.push(id);
            }
            if snapshot.run(id)?.is_some_and(|state| state.name == text) {
                by_name.push(id);
            }
        }
    }
    let found = if by_name.is_empty() { by_id } else { by_name };
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(Error::usage(format!("there is no run `{text}`; `runlode runs STORE` lists them"))),
        many => {
            let ids: Vec<String> = many.iter().take(5).map(ToString::to_string).collect();
            Err(Error::usage(format!("`{text}` names {} runs; give the id: {}", many.len(), ids.join(", "))))
        }
    }
}

/// The experiment that an argument names: by name, else by id.
pub(crate) fn experiment(snapshot: &Snapshot, text: &str) -> Result<ExperimentId> {
    if let Some((id, _)) = snapshot.experiment_by_name(text)? {
        return Ok(id);
    }
    if let Ok(id) = text.parse::<ExperimentId>()
        && snapshot.experiment(id)?.is_some()
    {
        return Ok(id);
    }
    let names: Vec<String> = snapshot.experiments()?.iter().take(10).map(|(_, state)| state.name.clone()).collect();
    Err(Error::usage(format!("there is no experiment `{text}`; there are {}", names.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_parsed() {
        assert_eq!(Target::parse("models:/fraud").unwrap(), Target::Model("fraud".into()));
        assert_eq!(Target::parse("models:/fraud/7").unwrap(), Target::Version("fraud".into(), 7));
        assert_eq!(Target::parse("mlp-16").unwrap(), Target::Run("mlp-16".into()));
        assert!(Target::parse("models:/").is_err());
        assert!(Target::parse("models:/fraud/x").is_err());
    }
}
