//! Enforcement of signatures: what a request holds becomes what `predict` is handed, or is refused as MLflow refuses it.
//!
//! Two stages, each as strict as MLflow's:
//!
//! ```text
//!                stage 1: read and cast by the schema               stage 2: enforce
//! JSON body   -> json_request -> records, split   (as pandas)    \
//!                             -> inputs, instances (as numpy)      > Input -> enforce() -> Input for predict
//! CSV         -> csv                                              /
//! Arrow       -> frame_of_batches                                /
//!                params ------------------------------------------> params()
//! ```
//!
//! Stage 1 casts (`"7"` becomes 7 for an integer), stage 2 only widens (int32 to int64, float32 to float64). A library
//! call sees stage 2 alone. Without a schema, stage 1 infers types as pandas and numpy do, and stage 2 lets all pass.
//!
//! Where MLflow damages a value (`["a", null]` for an array of strings becomes `["a", "n"]`), it is kept.

mod astype;
mod csv;
mod error;
mod frame;
mod inputs;
mod iso;
mod moment;
mod nested;
mod numpy;
mod params;
mod records;
mod request;
mod scalar;
mod series;
mod split;
mod stage;
mod tensor;
mod upcast;

pub use self::csv::csv;
pub use self::error::{EnforceError, Refusal};
pub use self::frame::frame_of_batches;
pub use self::inputs::{json_inputs, json_instances};
pub use self::params::{check_param, params};
pub use self::records::json_records;
pub use self::request::{Request, json_request};
pub use self::split::json_split;
pub use self::stage::enforce;
