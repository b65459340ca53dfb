//! MLflow Projects: what an MLproject file says, and the command that a launch runs.
//!
//! ```text
//! launcher      a whole launch, recorded before it starts
//!   source    a folder, a zip file or a git repository, at a version; nothing of the user's is changed
//!     git     the user's git, asked for commits and differences
//!   file      MLproject: entry points, parameters, environment (file, line and key in every refusal)
//!     (YAML is read by the crate `runlode_yaml`)
//!   command   an entry point's command with the values put in, quoted for the shell
//!   environment  the Python environment: what its file asks for, made once, with a list of what is installed
//!   launch    the child: its output, its end, the signals that it is given
//! ```
//!
//! Where MLflow crashes on a file, or lets a value be executed, this crate refuses it before a run is made.
//!
//! Source: <https://mlflow.org/docs/latest/ml/projects/>, measured on MLflow 3.17.2.

pub mod command;
pub mod environment;
pub mod error;
pub mod file;
pub mod git;
pub mod launch;
pub mod launcher;
pub mod quote;
pub mod source;

pub use error::{ProjectError, Result};
pub use file::{Docker, EntryPoint, Environment, Parameter, Project};
