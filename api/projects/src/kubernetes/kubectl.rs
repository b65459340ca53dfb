//! The user's `kubectl`, with its configuration and credentials.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::error::{ProjectError, Result};
use crate::tool;

/// Lines of the Job's output that are fetched at its end.
const LOG_LINES_MAX: u32 = 100_000;

/// kubectl, for one namespace.
#[derive(Debug, Clone)]
pub(crate) struct Kubectl {
    program: PathBuf,
    context: Option<String>,
    namespace: String,
}

/// How far a Job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JobState {
    /// It has not begun.
    Waiting,
    Started,
    /// The Job has ended. `message` is the cluster's reason.
    Ended {
        is_success: bool,
        message: String,
    },
}

impl Kubectl {
    pub(crate) fn find(context: Option<&str>, namespace: &str) -> Result<Self> {
        let Some(program) = tool::find("kubectl") else {
            return Err(ProjectError::Environment(
                "kubectl is not installed; it submits Jobs (Debian: kubernetes-client)".to_owned(),
            ));
        };
        Ok(Self { program, context: context.map(str::to_owned), namespace: namespace.to_owned() })
    }

    /// Runs it with a text as its input; its output.
    fn call(&self, arguments: &[&str], input: &str) -> Result<String> {
        let refused = |what: String| ProjectError::Environment(format!("kubectl {}: {what}", arguments.join(" ")));
        let mut command = Command::new(&self.program);
        if let Some(context) = &self.context {
            command.arg("--context").arg(context);
        }
        command.args(["--namespace", &self.namespace]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| refused(error.to_string()))?;
        if let Some(mut stdin) = child.stdin.take()
            && let Err(error) = stdin.write_all(input.as_bytes())
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            return Err(refused(error.to_string()));
        }
        let output = child.wait_with_output().map_err(|error| refused(error.to_string()))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(refused(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
        }
    }

    /// Submits a Job.
    pub(crate) fn create(&self, job: &Value) -> Result<()> {
        self.call(&["create", "-f", "-"], &job.to_string()).map(drop)
    }

    pub(crate) fn state(&self, job: &str) -> Result<JobState> {
        let said = self.call(&["get", "job", job, "-o", "json"], "")?;
        let found: Value = serde_json::from_str(&said)
            .map_err(|error| ProjectError::Environment(format!("kubectl get job {job}: no JSON: {error}")))?;
        Ok(state_of(&found["status"]))
    }

    /// What the Job's container wrote.
    pub(crate) fn log(&self, job: &str) -> Result<String> {
        self.call(&["logs", &format!("job/{job}"), &format!("--tail={LOG_LINES_MAX}")], "")
    }

    /// Deletes a Job, and with it its pods.
    pub(crate) fn delete(&self, job: &str) -> Result<()> {
        self.call(&["delete", "job", job, "--wait=false", "--ignore-not-found"], "").map(drop)
    }
}

fn state_of(status: &Value) -> JobState {
    let conditions = status["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    for condition in conditions.iter().filter(|condition| condition["status"] == "True") {
        let is_success = match condition["type"].as_str() {
            Some("Complete") => true,
            Some("Failed") => false,
            _ => continue,
        };
        let text = |key: &str| condition[key].as_str().unwrap_or_default();
        let message = [text("reason"), text("message")].join(" ").trim().to_owned();
        return JobState::Ended { is_success, message };
    }
    match status["startTime"].is_string() {
        true => JobState::Started,
        false => JobState::Waiting,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_decide() {
        assert_eq!(state_of(&json!({})), JobState::Waiting);
        assert_eq!(state_of(&json!({"startTime": "2026-01-01T00:00:00Z", "conditions": null})), JobState::Started);
        let ended = |kind: &str, status: &str| {
            state_of(&json!({"startTime": "x", "conditions": [
            {"type": "SuccessCriteriaMet", "status": "True"}, {"type": kind, "status": status, "reason": "R", "message": "m"}]}))
        };
        assert_eq!(ended("Complete", "True"), JobState::Ended { is_success: true, message: "R m".to_owned() });
        assert_eq!(ended("Failed", "True"), JobState::Ended { is_success: false, message: "R m".to_owned() });
        assert_eq!(ended("Failed", "False"), JobState::Started);
    }
}
