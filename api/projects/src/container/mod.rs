//! Containers of this machine: `docker`, `podman` or `buildah`, whichever is there.
//!
//! Each is used by its program, so that its settings and credentials are the user's own.

mod engine;

pub(crate) use engine::{Call, Engine, Image};

use crate::git::Checkout;

/// The program that builds images here: the one that `RUNLODE_CONTAINER_ENGINE` names, else the first of `docker`, `podman`
/// and `buildah` that answers.
///
/// # Errors
/// [`ProjectError::Environment`](crate::ProjectError::Environment): none does, and what each of them said.
pub fn container_program() -> crate::Result<std::path::PathBuf> {
    Engine::find("an image is built by a container engine").map(|engine| engine.program().to_owned())
}

/// Where a built image has the project.
pub(crate) const PROJECT_DIR: &str = "/mlflow/projects/code/";

/// Folders and variables that a container is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mounts {
    /// Each for an option `-v`.
    pub volumes: Vec<String>,
    /// Names and values, each for an option `-e`.
    pub variables: Vec<(String, String)>,
}

impl Mounts {
    /// Gives a variable its value, in place of an earlier one.
    pub fn set(&mut self, name: &str, value: &str) {
        match self.variables.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => value.clone_into(known),
            None => self.variables.push((name.to_owned(), value.to_owned())),
        }
    }

    /// What a container needs to write artifacts to a place: a folder of this machine as it is, and the credentials of
    /// object stores.
    pub fn add_artifacts(&mut self, place: &str) {
        let (scheme, path) = place.split_once(':').unwrap_or(("", place));
        let names: &[&str] = match scheme {
            "" | "file" => {
                let path = path.strip_prefix("//").unwrap_or(path);
                self.volumes.push(format!("{path}:{path}"));
                &[]
            }
            "s3" => {
                let home = std::env::var_os("HOME").map(|home| std::path::PathBuf::from(home).join(".aws"));
                if let Some(folder) = home.filter(|folder| folder.exists()) {
                    self.volumes.push(format!("{}:/.aws", folder.display()));
                }
                &["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "MLFLOW_S3_ENDPOINT_URL", "MLFLOW_S3_IGNORE_TLS"]
            }
            "wasbs" => &["AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCESS_KEY"],
            "gs" => {
                if let Ok(file) = std::env::var("GOOGLE_APPLICATION_CREDENTIALS") {
                    self.volumes.push(format!("{file}:/.gcs"));
                    self.set("GOOGLE_APPLICATION_CREDENTIALS", "/.gcs");
                }
                &[]
            }
            "hdfs" | "viewfs" => {
                if let Ok(cache) = std::env::var("MLFLOW_KERBEROS_TICKET_CACHE") {
                    self.volumes.push(format!("{cache}:{cache}"));
                }
                &["MLFLOW_KERBEROS_TICKET_CACHE", "MLFLOW_KERBEROS_USER", "MLFLOW_PYARROW_EXTRA_CONF"]
            }
            _ => &[],
        };
        for name in names {
            if let Ok(value) = std::env::var(name) {
                self.set(name, &value);
            }
        }
    }
}

/// The tag of a project's image: its name, and the commit that it is of. An image of changed files is none of the commit.
pub(crate) fn tag_of(name: &str, checkout: Option<&Checkout>) -> String {
    match checkout {
        None => name.to_owned(),
        Some(Checkout { commit, is_dirty, .. }) => {
            let short: String = commit.chars().take(7).collect();
            format!("{name}:{short}{}", if *is_dirty { "-dirty" } else { "" })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn images_of_changed_files_are_not_tagged_as_their_commit() {
        let mut checkout =
            Checkout { root: PathBuf::from("/p"), commit: "0123456789".to_owned(), is_dirty: false, url: None };
        assert_eq!(tag_of("demo", None), "demo");
        assert_eq!(tag_of("demo", Some(&checkout)), "demo:0123456");
        checkout.is_dirty = true;
        assert_eq!(tag_of("demo", Some(&checkout)), "demo:0123456-dirty");
    }

    #[test]
    fn local_artifacts_are_mounted_where_they_are() {
        for place in ["/data/a", "file:///data/a"] {
            let mut mounts = Mounts::default();
            mounts.add_artifacts(place);
            assert_eq!(mounts.volumes, ["/data/a:/data/a"]);
        }
        let mut mounts = Mounts::default();
        mounts.add_artifacts("mlflow-artifacts:/0/1");
        assert_eq!(mounts, Mounts::default());
    }
}
