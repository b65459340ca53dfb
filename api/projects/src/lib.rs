//! MLflow Projects: what an MLproject file says, and the command that a launch runs.
//!
//! ```text
//! launch of a folder
//!   file      MLproject: entry points, parameters, environment (file, line and key in every refusal)
//!     yaml    YAML 1.1 as PyYAML's safe loader reads it; values as Python's text
//!   command   an entry point's command with the values put in, quoted for the shell
//! ```
//!
//! Where MLflow crashes on a file, or lets a value be executed, this crate refuses it before a run is made.
//!
//! Source: <https://mlflow.org/docs/latest/ml/projects/>, measured on MLflow 3.17.2.

pub mod command;
pub mod error;
pub mod file;
pub mod quote;
pub mod yaml;

pub use error::{ProjectError, Result};
pub use file::{Docker, EntryPoint, Environment, Parameter, Project};
