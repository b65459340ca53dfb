//! Changes of the registry that are decided inside the store: a promotion on condition, and a rollback.

use super::error::ApiResult;
use super::{Mlflow, names};
use crate::{AsOf, Promotion, Rollback};

impl Mlflow {
    /// Moves an alias to a version, if the alias is where `expected` says: at that version, or unset for 0; `None` moves
    /// it wherever it is. The reason becomes a tag of the version, `runlode.promote.ALIAS`. One atomic step.
    ///
    /// # Errors
    /// `INVALID_PARAMETER_VALUE` for an invalid or reserved alias; `RESOURCE_DOES_NOT_EXIST`.
    ///
    /// ```
    /// use runlode::mlflow::{Mlflow, NewModelVersion, Settings};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let mlflow = Mlflow::new(store.clone(), Settings::in_process(&store));
    /// mlflow.create_registered_model("fraud", &[], None)?;
    /// mlflow.create_model_version("fraud", &NewModelVersion { source: "s3://models/a", ..Default::default() })?;
    /// assert!(mlflow.promote("fraud", "1", "champion", Some(0), Some("CR-1182"))?.met);
    /// assert!(!mlflow.promote("fraud", "1", "champion", Some(6), None)?.met, "it is at version 1");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn promote(
        &self,
        name: &str,
        version: &str,
        alias: &str,
        expected: Option<u64>,
        reason: Option<&str>,
    ) -> ApiResult<Promotion> {
        names::alias(alias)?;
        let mut done = Promotion { met: false, before: None, now: None };
        self.on_version(name, version, |store, version| {
            done = store.promote_if(name, version, alias, expected, reason)?;
            Ok(())
        })?;
        Ok(done)
    }

    /// Gives a model the aliases and stages that it had at a moment; with `plan` nothing is changed. See
    /// [`RegisteredModel::roll_back`](crate::RegisteredModel::roll_back).
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST` if there is or was no such model; `INVALID_PARAMETER_VALUE` if an alias named a version
    /// that was deleted since.
    ///
    /// ```
    /// use runlode::AsOf;
    /// use runlode::mlflow::{Mlflow, NewModelVersion, Settings};
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let store = runlode::LocalStore::open(dir.path().join("exp"))?;
    /// # let mlflow = Mlflow::new(store.clone(), Settings::in_process(&store));
    /// mlflow.create_registered_model("fraud", &[], None)?;
    /// mlflow.create_model_version("fraud", &NewModelVersion { source: "s3://models/a", ..Default::default() })?;
    /// let before = mlflow.positions()?.published;
    /// mlflow.promote("fraud", "1", "champion", None, None)?;
    /// assert_eq!(mlflow.roll_back("fraud", AsOf::Position(before), None, false)?.changes.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn roll_back(&self, name: &str, to: AsOf, reason: Option<&str>, plan: bool) -> ApiResult<Rollback> {
        names::registered_model_name("name", name)?;
        Ok(self.store().roll_back(name, to, reason, plan)?)
    }
}
