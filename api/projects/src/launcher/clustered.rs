//! A command as a Job of a Kubernetes cluster: submitted, followed, deleted when the launch is stopped.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::contained::{NEED, project_name, tag_image, variables};
use super::{Prepared, Record, Request, Say, interrupted, refused};
use crate::command::container_words;
use crate::container::{Engine, Image, tag_of};
use crate::error::{ProjectError, Result};
use crate::file::{Docker, Project};
use crate::kubernetes::{Config, Filling, JobState, Kubectl, Template, check_name, job_name};
use crate::launch::{Ended, Stop};
use crate::source::Source;

/// The time between two looks at a Job, at first and at most.
const LOOK_MIN: Duration = Duration::from_millis(250);
const LOOK_MAX: Duration = Duration::from_secs(5);
/// How often a signal is looked for.
const STOP_LOOK: Duration = Duration::from_millis(50);
/// Looks in a row that may fail.
const FAILURES_MAX: u32 = 12;
/// The end of a Job's output that is kept.
const OUTPUT_BYTES_MAX: usize = 2 << 20;

/// The URI of the record for the cluster, instead of this process's.
const TRACKING_URI: &str = "KUBE_MLFLOW_TRACKING_URI";

/// What a Job of a project needs.
pub(super) struct Clustered {
    config: Config,
    docker: Docker,
    name: String,
    template: Template,
    kubectl: Kubectl,
    /// Builds and pushes the image. Without one the image is taken as it is named.
    engine: Option<Engine>,
    variables: Vec<(String, String)>,
}

impl Clustered {
    pub(super) fn new(config: &Config, docker: &Docker, project: &Project, builds_image: bool) -> Result<Self> {
        let name = project_name(project)?;
        check_name(&name, &project.place())?;
        let template = Template::read(&config.template)?;
        let kubectl = Kubectl::find(config.context.as_deref(), template.namespace())?;
        let engine = match Engine::find(NEED) {
            Ok(engine) => Some(engine),
            Err(error) if builds_image => return Err(error),
            Err(_) => None,
        };
        let variables = variables(docker)?;
        Ok(Self { config: config.clone(), docker: docker.clone(), name, template, kubectl, engine, variables })
    }

    /// The URI under which pods find the record.
    pub(super) fn tracking_uri(&self, address: Option<&str>) -> Result<String> {
        let named = std::env::var(TRACKING_URI).ok().filter(|uri| !uri.is_empty());
        named.or_else(|| address.map(str::to_owned)).ok_or_else(|| {
            ProjectError::Environment(format!(
                "a cluster cannot reach a store of this machine; serve it (runlode serve) and set {TRACKING_URI} to its \
                 http:// URI, or record the launch there"
            ))
        })
    }

    fn tag(&self, source: &Source) -> String {
        tag_of(&self.config.repository, source.checkout.as_ref())
    }

    fn job(&self, name: &str, image: &str, line: &str, ids: &[(String, String)]) -> Value {
        let mut all = ids.to_vec();
        all.extend(self.variables.iter().cloned());
        let words = container_words(line);
        self.template.job(&Filling { job: name, project: &self.name, image, words: &words, variables: &all })
    }

    /// The Job as far as it is known before anything is recorded or built.
    pub(super) fn shown(&self, request: &Request, project: &Project, source: &Source, line: &str) -> Result<Value> {
        debug_assert!(project.name.as_deref() == Some(self.name.as_str()), "the place is the project's");
        let image = if request.builds_image { self.tag(source) } else { self.docker.image.clone() };
        let named = std::env::var(TRACKING_URI).unwrap_or_else(|_| "<tracking URI>".to_owned());
        let ids = [
            ("MLFLOW_RUN_ID".to_owned(), "<run id>".to_owned()),
            ("MLFLOW_TRACKING_URI".to_owned(), named),
            ("MLFLOW_EXPERIMENT_ID".to_owned(), "<experiment id>".to_owned()),
        ];
        Ok(self.job(&job_name(&self.name, &jiff::Zoned::now()), &image, line, &ids))
    }

    /// The image, and the name with its digest by which the cluster pulls it.
    fn image(&self, request: &Request, prepared: &Prepared, stop: &mut Stop, say: Say<'_>) -> Result<(Image, String)> {
        let named = |name: String, digest: Option<String>| {
            let pulled = digest.as_ref().map_or_else(|| name.clone(), |digest| format!("{name}@{digest}"));
            (Image { name, id: digest }, pulled)
        };
        let base = self.docker.image.clone();
        match &self.engine {
            Some(engine) if request.builds_image => {
                let tag = self.tag(&prepared.source);
                engine.build(&base, &tag, &prepared.project.root, stop, say)?;
                let digest = engine.push(&tag, stop, say)?;
                Ok(named(tag, Some(digest)))
            }
            Some(engine) => {
                engine.image(&base, stop, say)?;
                let digest = engine.pushed(&base, stop)?;
                Ok(named(base, digest))
            }
            None => Ok(named(base, None)),
        }
    }

    pub(super) fn run<R: Record>(
        &self,
        request: &Request,
        prepared: &Prepared,
        record: &mut R,
        mut stop: Stop,
        say: Say<'_>,
    ) -> Result<Ended> {
        record.tag("mlflow.project.backend", request.backend.name()).map_err(refused)?;
        let (image, pulled) = self.image(request, prepared, &mut stop, say)?;
        tag_image(record, &image)?;
        let (run, experiment) = record.ids().map_err(refused)?;
        let ids = [
            ("MLFLOW_RUN_ID".to_owned(), run),
            ("MLFLOW_TRACKING_URI".to_owned(), self.tracking_uri(record.address().as_deref())?),
            ("MLFLOW_EXPERIMENT_ID".to_owned(), experiment),
        ];
        let name = job_name(&self.name, &jiff::Zoned::now());
        let job = self.job(&name, &pulled, &prepared.command.line, &ids);
        record.keep("job.json", format!("{job:#}\n").as_bytes()).map_err(refused)?;
        interrupted(&mut stop)?;
        let started = Instant::now();
        self.kubectl.create(&job)?;
        say(&format!("submitted the Job {name} in {}", self.template.namespace()));
        let followed = self.follow(&name, &mut stop, say);
        let output = match &followed {
            Ok(Followed::Stopped(_)) => Vec::new(),
            _ => self.output(&name, say),
        };
        let (code, interrupted_by) = match followed {
            Ok(Followed::Ended(true)) => (Some(0), None),
            Ok(Followed::Ended(false)) => (None, None),
            Ok(Followed::Stopped(signal)) => {
                self.kubectl.delete(&name)?;
                say(&format!("deleted the Job {name}"));
                (None, Some(signal))
            }
            Err(error) => {
                say(&format!("the Job {name} may still run in {}", self.template.namespace()));
                return Err(error);
            }
        };
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Ended { code, signal: None, interrupted_by, duration_ms, peak_memory_bytes: None, output })
    }

    /// Looks at the Job until it has ended, or the launch is stopped.
    fn follow(&self, name: &str, stop: &mut Stop, say: Say<'_>) -> Result<Followed> {
        let mut pause = LOOK_MIN;
        let mut failures = 0;
        let mut has_started = false;
        loop {
            match self.kubectl.state(name) {
                Ok(JobState::Ended { is_success, message }) => {
                    say(&format!("the Job {}: {message}", if is_success { "succeeded" } else { "failed" }));
                    return Ok(Followed::Ended(is_success));
                }
                Ok(state) => {
                    failures = 0;
                    if state == JobState::Started && !has_started {
                        has_started = true;
                        say("the Job has started");
                    }
                }
                Err(error) if failures >= FAILURES_MAX => return Err(error),
                Err(error) => {
                    failures += 1;
                    say(&format!("{error}; looking again"));
                }
            }
            let until = Instant::now() + pause;
            while Instant::now() < until {
                if let Some(signal) = stop.came() {
                    return Ok(Followed::Stopped(signal));
                }
                std::thread::sleep(STOP_LOOK);
            }
            pause = (pause * 2).min(LOOK_MAX);
        }
    }

    /// Shows and returns what the Job wrote; a cluster may no longer have it.
    fn output(&self, name: &str, say: Say<'_>) -> Vec<u8> {
        match self.kubectl.log(name) {
            Ok(text) => {
                let mut out = std::io::stdout().lock();
                // If nobody reads our output any more, it is still kept.
                let _unread = out.write_all(text.as_bytes()).and_then(|()| out.flush());
                let bytes = text.into_bytes();
                bytes[bytes.len().saturating_sub(OUTPUT_BYTES_MAX)..].to_vec()
            }
            Err(error) => {
                say(&format!("the Job's output is not kept: {error}"));
                Vec::new()
            }
        }
    }
}

enum Followed {
    Ended(bool),
    /// By this signal.
    Stopped(i32),
}
