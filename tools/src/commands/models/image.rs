//! The folder that an image of a model is built from: this program, the model, and a Dockerfile.
//!
//! ```text
//! Dockerfile
//! runlode                 this program
//! model_dir/NAME/         the model
//! root/lib...             for an image from nothing: the libraries that this program is linked to
//! ```
//! The image listens on 8080 as the user 1000, and `docker stop` lets it answer what it has begun. Nothing is fetched while
//! it runs.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// Where the model lies in an image, as in those of MLflow.
const MODEL_FOLDER: &str = "/opt/ml/model";
/// Port of the server in an image, as in those of MLflow.
const PORT: u16 = 8080;
/// The user of the server: nobody who owns a file of the image.
const USER: u32 = 1000;

/// What predicts in an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Inside {
    /// The model's own Python with all that it requires.
    Python {
        /// `3.11.7`
        version: String,
    },
    /// Python with nothing but ONNX Runtime.
    OnnxRuntime {
        /// `3.11.7`
        version: String,
        /// What pip is asked for: `onnxruntime==1.32.0`.
        requirement: String,
    },
    /// This program alone.
    Tract,
}

/// An image to build.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) inside: Inside,
    /// The model's folder on this machine.
    pub(super) model: PathBuf,
    /// Name of the model's folder in the build folder.
    pub(super) name: String,
    /// The base image; none is the one that fits.
    pub(super) base: Option<String>,
}

impl Image {
    /// Fills a folder with what the image is built from.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let cannot = |what: &Path, error| Error::io(format!("cannot write {}", what.display()), error);
        fs::create_dir_all(folder).map_err(|error| cannot(folder, error))?;
        let program = std::env::current_exe().map_err(|error| Error::io("cannot find this program", error))?;
        copy_program(&program, &folder.join("runlode"))?;
        copy_tree(&self.model, &folder.join("model_dir").join(&self.name))?;
        let is_alone = self.inside == Inside::Tract;
        if is_alone {
            for library in libraries(&program)? {
                let below = library.strip_prefix("/").unwrap_or(&library);
                copy_program(&library, &folder.join("root").join(below))?;
            }
            // An image from nothing has no folder for what is written for a moment.
            let temporary = folder.join("root/tmp");
            fs::create_dir_all(&temporary).map_err(|error| cannot(&temporary, error))?;
        }
        let path = folder.join("Dockerfile");
        fs::write(&path, self.dockerfile()).map_err(|error| cannot(&path, error))
    }

    /// The text of the Dockerfile.
    fn dockerfile(&self) -> String {
        let mut text = String::from("# An image that answers MLflow's scoring requests with one model.\n");
        let slim = |version: &str| format!("python:{version}-slim");
        let fit = match &self.inside {
            Inside::Python { version } | Inside::OnnxRuntime { version, .. } => slim(version),
            Inside::Tract => "scratch".to_owned(),
        };
        let _ = writeln!(text, "FROM {}\n", self.base.as_deref().unwrap_or(&fit));
        match &self.inside {
            Inside::Tract => text.push_str("COPY root/ /\n"),
            Inside::Python { .. } => {
                // Its own layer: it is built again only if the requirements change.
                let requirements = format!("model_dir/{}/requirements.txt", self.name);
                let _ = writeln!(text, "{}", copy(&requirements, "/tmp/requirements.txt"));
                text.push_str("RUN pip install --no-cache-dir -r /tmp/requirements.txt\n");
            }
            Inside::OnnxRuntime { requirement, .. } => {
                let _ = writeln!(text, "RUN pip install --no-cache-dir '{requirement}'");
            }
        }
        text.push_str("COPY runlode /usr/local/bin/runlode\n");
        let _ = writeln!(text, "{}\n", copy(&format!("model_dir/{}", self.name), MODEL_FOLDER));
        let _ = writeln!(text, "USER {USER}\nEXPOSE {PORT}\nSTOPSIGNAL SIGTERM");
        let mut command =
            vec!["/usr/local/bin/runlode", "models", "serve", MODEL_FOLDER, "--host", "0.0.0.0", "--port"];
        let port = PORT.to_string();
        command.extend([port.as_str(), "--env-manager", "local"]);
        let command: Vec<String> = command.into_iter().map(|word| format!("\"{word}\"")).collect();
        let _ = writeln!(text, "ENTRYPOINT [{}]", command.join(", "));
        text
    }
}

/// The instruction in the form that takes any path.
fn copy(from: &str, to: &str) -> String {
    format!("COPY {}", serde_json::json!([from, to]))
}

fn copy_program(from: &Path, to: &Path) -> Result<()> {
    let cannot = |error| Error::io(format!("cannot copy {} to {}", from.display(), to.display()), error);
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(cannot)?;
    }
    fs::copy(from, to).map_err(cannot)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).map_err(cannot)
}

/// Copies a model's folder. Links are refused: they could lead anywhere.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let cannot = |error| Error::io(format!("cannot copy {} to {}", from.display(), to.display()), error);
    fs::create_dir_all(to).map_err(cannot)?;
    for entry in fs::read_dir(from).map_err(cannot)? {
        let entry = entry.map_err(cannot)?;
        let kind = entry.file_type().map_err(cannot)?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy_tree(&from, &to)?;
        } else if kind.is_file() {
            fs::copy(&from, &to).map_err(cannot)?;
        } else {
            return Err(Error::usage(format!(
                "{} is neither a file nor a folder; a model has no links",
                from.display()
            )));
        }
    }
    Ok(())
}

/// The libraries that a program is linked to, with the one that loads them; none for a static program.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).stdin(Stdio::null()).output().map_err(|error| {
        Error::io("cannot run ldd, which names the libraries that this program is linked to", error)
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let told = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
    if told.contains("not a dynamic executable") || told.contains("statically linked") {
        return Ok(Vec::new());
    }
    if !output.status.success() {
        return Err(Error::usage(format!("ldd {}: {}", program.display(), told.trim())));
    }
    libraries_of(&text)
}

/// The paths in what `ldd` prints: `libm.so.6 => /lib/libm.so.6 (0x...)`, `/lib64/ld-linux-x86-64.so.2 (0x...)`.
fn libraries_of(text: &str) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.contains("not found") {
            return Err(Error::usage(format!("a library of this program is missing: {line}")));
        }
        let path = line.split("=>").last().unwrap_or_default().trim().split(" (").next().unwrap_or_default();
        if path.starts_with('/') {
            paths.push(PathBuf::from(path));
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(inside: Inside) -> Image {
        Image { inside, model: PathBuf::from("/m"), name: "my model".into(), base: None }
    }

    #[test]
    fn a_dockerfile_says_what_the_image_needs_and_no_more() {
        let edge = image(Inside::Tract).dockerfile();
        assert!(edge.contains("FROM scratch\n") && !edge.contains("RUN"), "{edge}");
        let onnx = Inside::OnnxRuntime { version: "3.11.7".into(), requirement: "onnxruntime==1.32.0".into() };
        let onnx = image(onnx).dockerfile();
        assert!(onnx.contains("FROM python:3.11.7-slim\n") && onnx.contains("'onnxruntime==1.32.0'"), "{onnx}");
        assert!(!onnx.contains("requirements.txt"), "{onnx}");
        let python = image(Inside::Python { version: "3.11.7".into() }).dockerfile();
        assert!(python.contains(r#"COPY ["model_dir/my model/requirements.txt","/tmp/requirements.txt"]"#), "{python}");
        for text in [edge, onnx, python] {
            assert!(text.contains("USER 1000\n"), "{text}");
            assert!(text.contains(r#"COPY ["model_dir/my model","/opt/ml/model"]"#), "{text}");
        }
    }

    #[test]
    fn libraries_are_read_from_ldd() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007f)\n\t\
                    /lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = ["/lib/x86_64-linux-gnu/libm.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(libraries_of(text).unwrap(), expected);
        assert!(libraries_of("\tlibx.so => not found\n").is_err());
    }
}
