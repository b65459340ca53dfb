//! New ids: from the operating system's randomness, decided before the append.

use runlode_engine::{Error, ModelId, RegisteredModelId, Result, RunId};

pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::Internal(format!("the operating system gave no random bytes ({error})")))?;
    Ok(bytes)
}

/// First id that is not given by counting: random ids have 18 digits.
pub(crate) const SEQUENTIAL_END: u64 = 100_000_000_000_000_000;

/// A fresh run id: 128 random bits.
///
/// ```
/// let id = runlode::new_run_id()?;
/// assert_eq!(id.to_string().len(), 32);
/// # Ok::<(), runlode::Error>(())
/// ```
pub fn new_run_id() -> Result<RunId> {
    random_bytes().map(RunId)
}

/// A fresh logged model id: 128 random bits.
///
/// ```
/// assert!(runlode::new_model_id()?.to_string().starts_with("m-"));
/// # Ok::<(), runlode::Error>(())
/// ```
pub fn new_model_id() -> Result<ModelId> {
    random_bytes().map(ModelId)
}

/// A fresh number for a registered model. Its name may change, this never does.
///
/// ```
/// assert_ne!(runlode::new_registered_model_id()?, runlode::new_registered_model_id()?);
/// # Ok::<(), runlode::Error>(())
/// ```
pub fn new_registered_model_id() -> Result<RegisteredModelId> {
    random_bytes().map(u64::from_le_bytes).map(RegisteredModelId)
}
