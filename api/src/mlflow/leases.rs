//! Leases through MLflow's calls: see [`crate::lease`].

use super::{ApiResult, Mlflow};
use crate::RunId;
use crate::lease::{Liveness, Process, Watch, last_point_ms};

impl Mlflow {
    /// Records that this process logs to a run from now on; repeating it does nothing. An API whose clients are other
    /// processes never calls it.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`, `INVALID_PARAMETER_VALUE` for a deleted run.
    pub fn lease_run(&self, id: &str) -> ApiResult<()> {
        let run = self.run_id(id)?;
        // Nothing depends on it: if the system cannot tell processes apart, the run's liveness stays unknown.
        let Some(process) = Process::current() else { return Ok(()) };
        self.lease_run_for(run, process)
    }

    /// As [`Mlflow::lease_run`], for a client process of this one.
    ///
    /// # Errors
    /// As [`Mlflow::lease_run`].
    pub fn lease_run_for(&self, run: RunId, process: Process) -> ApiResult<()> {
        self.active_run(&self.entities()?, run)?;
        self.store().lease_run(run, process)?;
        Ok(())
    }

    /// Whether a run is still logged to.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`.
    pub fn run_liveness(&self, id: &str) -> ApiResult<Liveness> {
        self.run_liveness_by(id, &Watch::here(self.now_ms()))
    }

    /// Whether a run is still logged to, checked by this watch.
    ///
    /// # Errors
    /// `RESOURCE_DOES_NOT_EXIST`.
    pub fn run_liveness_by(&self, id: &str, watch: &Watch) -> ApiResult<Liveness> {
        let run = self.run_id(id)?;
        let snapshot = self.snapshot()?;
        let state = self.run_state(&snapshot, run)?;
        Ok(watch.look(&state, || last_point_ms(&snapshot, run))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::{SILENT_AFTER_MS, start_of};
    use crate::mlflow::{NewMetric, NewRun, Settings};
    use crate::{LocalStore, RunStatus};

    fn mlflow() -> (tempfile::TempDir, Mlflow, String) {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::options(dir.path().join("exp")).background(false).open().unwrap();
        let mlflow = Mlflow::new(store.clone(), Settings::in_process(&store));
        let run = mlflow.create_run(&NewRun::default()).unwrap().info.run_id;
        (dir, mlflow, run)
    }

    #[test]
    fn a_run_is_alive_with_its_process_and_lost_without_it() {
        let (_dir, mlflow, run) = mlflow();
        assert_eq!(mlflow.run_liveness(&run).unwrap(), Liveness::Unknown);
        mlflow.lease_run(&run).unwrap();
        let position = mlflow.store().positions().published;
        mlflow.lease_run(&run).unwrap();
        assert_eq!(mlflow.store().positions().published, position, "once is enough");
        let here = Process::current().unwrap();
        let alive = Liveness::Alive { host: here.host.clone(), pid: here.pid };
        assert_eq!(mlflow.run_liveness(&run).unwrap(), alive);

        // A process that has ended and was waited for.
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let process = Process { pid: child.id(), start: start_of(child.id()).unwrap().unwrap(), ..here.clone() };
        let id = run.parse().unwrap();
        mlflow.lease_run_for(id, process.clone()).unwrap();
        assert_eq!(mlflow.run_liveness(&run).unwrap(), Liveness::Alive { host: here.host.clone(), pid: child.id() });
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(mlflow.run_liveness(&run).unwrap().is_lost());
        mlflow.log_metric(&run, &NewMetric { key: "loss", timestamp: 4_321, ..NewMetric::default() }).unwrap();
        assert_eq!(mlflow.run_liveness(&run).unwrap(), Liveness::Lost { since_ms: 4_321 });
        // MLflow's answers do not show it.
        let answer = mlflow.run(&run).unwrap();
        assert_eq!((answer.info.status, answer.tags.len()), (RunStatus::Running, 1));

        // Resumed: a new lease, alive again; ended: finished.
        mlflow.lease_run(&run).unwrap();
        assert_eq!(mlflow.run_liveness(&run).unwrap(), alive);
        mlflow.update_run(&run, Some(RunStatus::Failed), Some(5), None).unwrap();
        assert_eq!(mlflow.run_liveness(&run).unwrap(), Liveness::Finished);
    }

    #[test]
    fn another_process_under_the_same_id_and_another_boot_are_gone_and_another_host_is_silent() {
        let (_dir, mlflow, run) = mlflow();
        let here = Process::current().unwrap();
        let id = run.parse().unwrap();
        let look = |process: Process, after_ms: i64| {
            mlflow.lease_run_for(id, process).unwrap();
            let now_ms = mlflow.now_ms() + after_ms;
            mlflow.run_liveness_by(&run, &Watch::here(now_ms)).unwrap()
        };
        assert!(look(Process { start: here.start + 1, ..here.clone() }, 0).is_lost());
        let space = here.boot_id.split_once(':').unwrap().1.to_owned();
        assert!(look(Process { boot_id: format!("other:{space}"), ..here.clone() }, 0).is_lost());
        // A container on the same machine: its processes cannot be seen from here.
        let boot = here.boot_id.split_once(':').unwrap().0.to_owned();
        let beside = Process { boot_id: format!("{boot}:1"), ..here.clone() };
        assert_eq!(look(beside, 0), Liveness::Unknown);
        let there = Process { host: "elsewhere".into(), ..here };
        assert_eq!(look(there.clone(), SILENT_AFTER_MS / 2), Liveness::Unknown);
        assert!(matches!(look(there, SILENT_AFTER_MS + 60_000), Liveness::Silent { .. }));
    }
}
