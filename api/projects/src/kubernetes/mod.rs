//! Jobs of a Kubernetes cluster: the template of a Job filled in, and the user's `kubectl`, which submits and watches it.

mod kubectl;
mod template;

use std::path::PathBuf;

use serde_json::Value;

use crate::error::{ProjectError, Result};

pub(crate) use kubectl::{JobState, Kubectl};
pub(crate) use template::{Filling, Template, check_name, job_name};

/// What a launch in a cluster is configured by (`--backend-config`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The template of a Job, a YAML file.
    pub template: PathBuf,
    /// Where the project's image is kept: `registry/name`, without a tag.
    pub repository: String,
    /// The context that kubectl uses. Without one, kubectl takes its current context, or the pod's own account inside a
    /// cluster.
    pub context: Option<String>,
}

impl Config {
    /// Reads `kube-job-template-path`, `repository-uri` and `kube-context`.
    ///
    /// ```
    /// use runlode_projects::kubernetes::Config;
    ///
    /// let json = serde_json::json!({"kube-job-template-path": "job.yaml", "repository-uri": "registry/demo"});
    /// assert_eq!(Config::parse(&json).unwrap().repository, "registry/demo");
    /// assert!(Config::parse(&serde_json::json!({})).unwrap_err().to_string().contains("kube-job-template-path"));
    /// ```
    ///
    /// # Errors
    /// [`ProjectError::Environment`] for a key that is missing or no text.
    pub fn parse(json: &Value) -> Result<Self> {
        let refused = |what: String| ProjectError::Environment(format!("the backend's configuration {what}"));
        let Value::Object(entries) = json else { return Err(refused("is no JSON object".to_owned())) };
        let text = |key: &str| match entries.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(refused(format!("has a {key} that is no text"))),
        };
        let needed =
            |key: &str| text(key)?.filter(|text| !text.is_empty()).ok_or_else(|| refused(format!("lacks {key}")));
        Ok(Self {
            template: PathBuf::from(needed("kube-job-template-path")?),
            repository: needed("repository-uri")?,
            context: text("kube-context")?.filter(|context| !context.is_empty()),
        })
    }

    /// The configuration as [`Config::parse`] reads it.
    pub(crate) fn to_json(&self) -> Value {
        // Read again from another folder.
        let template = std::path::absolute(&self.template).unwrap_or_else(|_| self.template.clone());
        serde_json::json!({
            "kube-job-template-path": template.display().to_string(),
            "repository-uri": self.repository,
            "kube-context": self.context,
        })
    }
}
