//! The login of MLflow's clients: `MLFLOW_TRACKING_TOKEN`, or `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`.

use std::env::VarError;

use base64::Engine as _;

use crate::error::CallError;

/// The value of the header `Authorization`.
pub(crate) fn login() -> Result<Option<String>, CallError> {
    let variable = |name: &'static str| match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(CallError::Login(name)),
    };
    if let Some(token) = variable("MLFLOW_TRACKING_TOKEN")? {
        return Ok(Some(format!("Bearer {token}")));
    }
    let Some(user) = variable("MLFLOW_TRACKING_USERNAME")? else { return Ok(None) };
    let password = variable("MLFLOW_TRACKING_PASSWORD")?.unwrap_or_default();
    Ok(Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))))
}
