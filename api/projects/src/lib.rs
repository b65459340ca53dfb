//! MLflow Projects: what an MLproject file says, and the command that a launch runs.
//!
//! ```text
//! launcher      a whole launch, recorded before it starts
//!   source    a folder, a zip file or a git repository, at a version; nothing of the user's is changed
//!     git     the user's git, asked for commits and differences
//!   file      MLproject: entry points, parameters, environment (file, line and key in every refusal)
//!     (YAML is read by the crate `runlode_yaml`)
//!   command   an entry point's command with the values put in, quoted for the shell
//!   environment  by venv, uv or conda: what its file asks for, made once, with a list of what is installed
//!   container    docker, podman or buildah, for a project that names an image
//!   kubernetes   a Job made from the user's template, submitted by kubectl
//!   launch    the child: its output, its end, the signals that it is given
//! rerun         a recorded launch, and the launch that repeats it
//! ```
//!
//! Where MLflow crashes on a file, or lets a value be executed, this crate refuses it before a run is made.
//!
//! Source: <https://mlflow.org/docs/latest/ml/projects/>, measured on MLflow 3.17.2.

pub mod command;
pub mod container;
pub mod environment;
pub mod error;
pub mod file;
pub mod git;
pub mod kubernetes;
pub mod launch;
pub mod launcher;
pub mod quote;
pub mod rerun;
pub mod source;
mod tool;

pub use error::{ProjectError, Result};
pub use file::{Docker, EntryPoint, Environment, Parameter, Project};
pub use runlode_client::local;
