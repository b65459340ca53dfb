//! The servers as child processes, the data that both begin with, and the end of both.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server that ends with this value.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
}

impl Server {
    /// Resident memory, and what of it is the process's own, in MiB.
    pub(crate) fn memory_mib(&self) -> Result<(f64, f64), String> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let read = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
            kib.map(|kib| kib / 1024.0).ok_or_else(|| format!("{path} has no {name}"))
        };
        Ok((read("VmRSS")?, read("RssAnon")?))
    }

    /// Resident memory of its process and of all below it, in MiB.
    pub(crate) fn tree_memory_mib(&self) -> Result<f64, String> {
        crate::processes::tree_mib(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // MLflow's workers are children of its process: the whole group that it leads ends.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

/// A folder beside the build that ends with this value.
pub(crate) struct WorkDir(PathBuf);

impl WorkDir {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn work_dir() -> Result<WorkDir, String> {
    let beside = std::env::current_exe().map_err(|error| error.to_string())?;
    let dir = beside.with_file_name(format!("compare-{}", std::process::id()));
    std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    Ok(WorkDir(dir))
}

fn run(command: &mut Command) -> Result<(), String> {
    let status = command.stdout(Stdio::null()).status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}")) }
}

pub(crate) fn prefill(python: &Path, script: &Path, database: &Path, runs: usize) -> Result<(), String> {
    eprintln!("making an MLflow store of {runs} runs");
    run(Command::new(python).arg(script).arg(database).arg(runs.to_string()).stderr(Stdio::null()))
}

pub(crate) fn import(runlode: &Path, database: &Path, store: &Path) -> Result<(), String> {
    eprintln!("importing it");
    run(Command::new(runlode).arg("import").arg(format!("sqlite:///{}", database.display())).arg(store))
}

fn grouped(command: &mut Command) -> &mut Command {
    use std::os::unix::process::CommandExt;
    command.process_group(0)
}

/// A server that prints `{"address": ...}` when it listens.
fn announced(command: &mut Command) -> Result<Server, String> {
    let mut child = grouped(command).stdout(Stdio::piped()).spawn().map_err(|error| format!("{command:?}: {error}"))?;
    let stdout = child.stdout.take().ok_or("no stdout")?;
    let mut server = Server { child, address: String::new() };
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).map_err(|error| error.to_string())?;
    let said: serde_json::Value = serde_json::from_str(&line).map_err(|error| format!("{line:?}: {error}"))?;
    server.address = said["address"].as_str().ok_or("no address")?.to_owned();
    Ok(server)
}

pub(crate) fn runlode(runlode: &Path, store: &Path) -> Result<Server, String> {
    announced(Command::new(runlode).arg("serve").arg(store).args(["--port", "0", "--json"]))
}

pub(crate) fn bare() -> Result<Server, String> {
    announced(Command::new(std::env::current_exe().map_err(|error| error.to_string())?).arg("bare"))
}

/// A model by `runlode models serve`.
pub(crate) fn runlode_model(runlode: &Path, python: &Path, model: &Path, more: &[&str]) -> Result<Server, String> {
    let mut command = Command::new(runlode);
    command.args(["models", "serve"]).arg(model).args(["--env-manager", "local", "--python"]).arg(python);
    announced(command.args(["-p", "0", "--json"]).args(more))
}

/// A model by `mlflow models serve`.
pub(crate) fn mlflow_model(python: &Path, model: &Path, work: &Path) -> Result<Server, String> {
    eprintln!("starting mlflow models serve");
    let mut command = Command::new(python);
    command.args(["-m", "mlflow", "models", "serve", "--env-manager", "local", "-m"]).arg(model);
    // MLflow starts the server by name.
    let folder = python.parent().unwrap_or(Path::new(""));
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", folder.display()));
    listening(&mut command, "/ping", work)
}

pub(crate) fn mlflow(python: &Path, database: &Path, work: &Path) -> Result<Server, String> {
    eprintln!("starting mlflow server");
    let mut command = Command::new(python);
    command.args(["-m", "mlflow", "server", "--backend-store-uri"]).arg(format!("sqlite:///{}", database.display()));
    listening(&mut command, "/health", work)
}

/// A server of MLflow, once it answers. `command` lacks the address.
fn listening(command: &mut Command, path: &str, work: &Path) -> Result<Server, String> {
    // Some port is free now; MLflow cannot choose one itself.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = port.map_err(|error| error.to_string())?.port();
    let address = format!("127.0.0.1:{port}");
    let log = std::fs::File::create(work.join("mlflow.log")).map_err(|error| error.to_string())?;
    command.args(["--host", "127.0.0.1", "--port", &port.to_string()]).current_dir(work);
    command.stdout(Stdio::null()).stderr(log);
    let child = grouped(command).spawn().map_err(|error| format!("{command:?}: {error}"))?;
    let server = Server { child, address };
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(120) {
        if TcpStream::connect(&server.address).is_ok() {
            // The port opens before the workers have loaded MLflow.
            let mut client = crate::client::Client::connect(&server.address)?;
            if client.call("GET", path, b"").is_ok() {
                return Ok(server);
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("MLflow's server did not start; see {}", work.join("mlflow.log").display()))
}
