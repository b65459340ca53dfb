//! Where a model is: URIs, what a store says of them, and the files on this machine.
//!
//! ```text
//! models:/m-<32 hex>                          logged model
//! models:/name/7  /latest  /Stage  name@alias registered version
//! runs:/run/path                              files of a run, and the logged model that the path's first part names
//! path, file:, mlflow-artifacts:, http:       folder with an MLmodel file
//!
//! text -> ModelUri -> locate(store) -> Located -> fetch(cache) -> folder
//! ```

mod cache;
mod http;
mod name;
mod store;

pub use self::cache::{Cache, Fetched};
pub use self::http::{HttpStore, Method};
pub use self::name::{ModelUri, UriError, Which};
pub use self::store::{Listed, LocalOnly, Located, LoggedModel, ModelStore, Owner, Place, Version, locate};
