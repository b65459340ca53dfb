"""Integrations with the frameworks themselves. Where one is not installed, its tests say so and are skipped."""

import pickle
import subprocess
import sys
import warnings

import pytest
import runlode


def test_a_framework_that_is_missing_is_named():
    script = (
        "import sys\n"
        "class Nothing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('lightning', 'pytorch_lightning', 'transformers'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Nothing())\n"
        "import runlode\n"
        "for name in ('lightning', 'transformers'):\n"
        "    try: __import__(f'runlode.{name}')\n"
        "    except ImportError as error: print(error)\n"
        "import runlode.optuna\n"
    )
    env = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "runlode.lightning needs lightning: `pip install lightning`",
        "runlode.transformers needs transformers: `pip install transformers`",
    ], done.stderr


class Tensor:
    def __init__(self, value, count=1):
        self.value, self.count = value, count

    def numel(self):
        return self.count

    def size(self):
        return self.count

    def item(self):
        return self.value


def test_what_counts_as_a_number():
    from runlode._frameworks import numbers

    np = pytest.importorskip("numpy")
    given = {
        "a": 1,
        "b": 0.5,
        "c": True,
        "d": "text",
        "e": None,
        "f": Tensor(2.5),
        "g": Tensor(0, 3),
        "h": np.float32(0.5),
        "i": np.array([1.0]),
        "j": np.zeros(2),
        "k%": 3,
        "l": [1],
        "m": {},
    }
    assert numbers(given, "x/") == {"x/a": 1, "x/b": 0.5, "x/c": True, "x/f": 2.5, "x/h": 0.5, "x/i": 1.0, "x/k_": 3}


def test_params_that_are_nested_long_odd_or_changed(run):
    from runlode._frameworks import log_params

    log_params(run, {"a": {"b": {"c": 1}, "d": []}, "long": "x" * 9000, "odd%$": 1, 3: None, "empty": {}})
    assert run.params["a/b/c"] == "1" and run.params["odd__"] == "1" and run.params["3"] == "None"
    assert len(run.params["long"]) == 6000 and run.params["long"].endswith("...")
    with pytest.warns(RuntimeWarning, match="keeps the first values of params that changed: a/b/c"):
        log_params(run, {"a": {"b": {"c": 2}}, "new": 1})
    assert (run.params["a/b/c"], run.params["new"]) == ("1", "1")


# ---- Optuna ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def optuna():
    optuna = pytest.importorskip("optuna", reason="optuna is not installed: its integration is not tested")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def test_a_study_becomes_runs(optuna, store):
    from runlode.optuna import RunlodeCallback

    callback = RunlodeCallback(store, tags={"mine": 1})

    def objective(trial):
        x = trial.suggest_float("x", -1, 1)
        trial.suggest_categorical("kind", ["a", "b"])
        trial.set_user_attr("note", f"n{trial.number}")
        for step in range(3):
            trial.report(x + step, step)
        if trial.number == 1:
            raise optuna.TrialPruned
        if trial.number == 2:
            raise ValueError("mine")
        return x**2

    study = optuna.create_study(study_name="parabola", direction="minimize")
    study.optimize(objective, n_trials=5, callbacks=[callback], catch=(ValueError,))
    table = store.search(experiments="parabola", order_by="attributes.start_time")
    runs = {int(row["tags.optuna.trial"]): row for row in table}
    assert len(table) == 5 and set(runs) == set(range(5))
    assert [runs[at]["status"] for at in range(5)] == ["FINISHED", "KILLED", "FAILED", "FINISHED", "FINISHED"]
    for trial in study.trials:
        row = runs[trial.number]
        assert row["run_name"] == f"trial-{trial.number}"
        assert row["params.x"] == str(trial.params["x"]) and row["params.kind"] == trial.params["kind"]
        assert row["metrics.value"] == trial.value or trial.number in (1, 2)
        assert row["tags.optuna.state"] == trial.state.name
        assert (row["tags.optuna.direction"], row["tags.mine"]) == ("MINIMIZE", "1")
        assert row["tags.optuna.user.note"] == f"n{trial.number}"
        curve = store.history(row["run_id"], "intermediate_value")
        assert curve.column("value") == [trial.params["x"] + step for step in range(3)]


def test_a_tracked_objective_logs_while_it_runs(optuna, store):
    from runlode.optuna import RunlodeCallback

    with store.run("search") as sweep:
        tracked = RunlodeCallback(store, parent=sweep, metric_names=["small", "large"])

        @tracked.track
        def objective(trial, run):
            """Its own words."""
            x = trial.suggest_int("x", 0, 9)
            assert run.status == "RUNNING"
            run.log({"loss": x})
            if trial.number == 3:
                raise ValueError("mine")
            return x, x + 100

        assert objective.__doc__ == "Its own words."
        study = optuna.create_study(directions=["minimize", "maximize"])
        study.optimize(objective, n_trials=3, n_jobs=2, callbacks=[tracked])
        with pytest.raises(ValueError, match="mine"):
            study.optimize(objective, n_trials=1, callbacks=[tracked])
    table = store.search(parent=sweep, order_by="attributes.run_name")
    assert table.column("run_name") == [f"trial-{at}" for at in range(4)]
    assert table.column("status") == ["FINISHED"] * 3 + ["FAILED"]
    for row in table[:3]:
        assert (row["metrics.loss"], row["metrics.large"]) == (row["metrics.small"], row["metrics.small"] + 100)
    assert table[3]["tags.optuna.state"] == "FAIL" and table[3]["params.x"] is not None
    assert table[0]["experiment_id"] == sweep.experiment_id


def test_a_callback_goes_to_other_processes(optuna, store):
    from runlode.optuna import RunlodeCallback

    parent = store.run()
    sent = pickle.loads(pickle.dumps(RunlodeCallback(store, "sent", parent=parent)))
    optuna.create_study().optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1, callbacks=[sent])
    assert len(store.search(parent=parent)) == 1


# ---- Lightning -------------------------------------------------------------------------------------------------------


@pytest.fixture
def lightning():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(
            "lightning.pytorch", reason="lightning is not installed: its integration is not tested"
        )


def _model(lightning, fail_at=None):
    import torch

    class Model(lightning.LightningModule):
        def __init__(self, lr=0.1, sizes=(4, 1)):
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch, number):
            if number == fail_at:
                raise KeyError("mine")
            loss = self.layer(batch).square().mean()
            self.log("loss", loss)
            return loss

        def validation_step(self, batch, _):
            self.log("val/loss", self.layer(batch).square().mean())

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    return Model()


def _fit(lightning, logger, folder, epochs=2, fail_at=None):
    import torch

    data = torch.utils.data.DataLoader(torch.rand(32, 4), batch_size=8)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        logger=logger,
        log_every_n_steps=1,
        default_root_dir=folder,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(_model(lightning, fail_at), data, data)


@pytest.mark.filterwarnings("ignore")
def test_lightning_logs_a_training(lightning, store, tmp_path):
    from runlode.lightning import RunlodeLogger

    logger = RunlodeLogger(store, "digits", name="linear", tags={"a": 1}, params={"given": 2}, log_checkpoints=True)
    assert len(store.search()) == 0, "a run is made when it is needed"
    _fit(lightning, logger, tmp_path)
    run = logger.experiment if not logger._has_ended else store.get_run("linear")
    assert run["status"] == "FINISHED"
    assert run["params"]["lr"] == "0.1" and run["params"]["given"] == "2"
    assert store.history("linear", "loss").column("step") == list(range(8))
    assert store.history("linear", "val/loss").column("step") == [3, 7]
    assert [one["path"] for one in store.artifacts("linear", "checkpoints")] == [
        "checkpoints/epoch=1-step=8.ckpt",
    ]
    assert logger.name == "digits"
    # The same logger once more: the run goes on.
    assert logger.version == run["run_id"]
    assert store.get_run("linear")["status"] == "RUNNING"
    logger.finalize("success")
    assert store.get_run("linear")["status"] == "FINISHED"


@pytest.mark.filterwarnings("ignore")
def test_lightning_marks_a_failed_training(lightning, store, tmp_path):
    from runlode.lightning import RunlodeLogger

    with pytest.raises(KeyError):
        _fit(lightning, RunlodeLogger(store, "digits", name="fails", prefix="train"), tmp_path, fail_at=2)
    assert store.get_run("fails")["status"] == "FAILED"
    assert store.history("fails", "train/loss").column("step") == [0, 1]


@pytest.mark.filterwarnings("ignore")
def test_lightning_takes_runs_of_others(lightning, store, tmp_path):
    from runlode.lightning import RunlodeLogger

    with store.run("digits", name="mine") as run:
        logger = RunlodeLogger(store, run=run)
        _fit(lightning, logger, tmp_path, epochs=1)
        assert run.status == "RUNNING"
        sent = pickle.loads(pickle.dumps(logger))
        assert sent.experiment.run_id == run.run_id
    assert run.status == "FINISHED"
    _fit(lightning, RunlodeLogger(store.path, run="mine"), tmp_path, epochs=1)
    assert run.status == "FINISHED"
    assert len(store.history(run, "loss")) == 8


# ---- Transformers ----------------------------------------------------------------------------------------------------


@pytest.fixture
def trainer(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip(
            "transformers", reason="transformers is not installed: its integration is not tested"
        )
        torch = pytest.importorskip("torch", reason="torch is not installed: transformers is not tested")

    class Tiny(transformers.PreTrainedModel):
        config_class = transformers.PretrainedConfig

        def __init__(self, config):
            super().__init__(config)
            self.layer = torch.nn.Linear(4, 1)
            self.post_init()

        def forward(self, x, labels=None):
            out = self.layer(x)
            return {"loss": (out.squeeze(-1) - labels).square().mean(), "logits": out}

    examples = [{"x": torch.rand(4), "labels": torch.rand(())} for _ in range(32)]

    def made(callback, steps=4, **more):
        more = {"save_strategy": "no", **more}
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path / "out"), max_steps=steps, logging_steps=1, report_to=[], use_cpu=True, **more
        )
        model = Tiny(transformers.PretrainedConfig())
        return transformers.Trainer(model, arguments, train_dataset=examples, eval_dataset=examples, callbacks=[callback])

    return made


@pytest.mark.filterwarnings("ignore")
def test_transformers_logs_a_training(trainer, store):
    from runlode.transformers import RunlodeCallback

    callback = RunlodeCallback(store, "digits", name="tiny", tags={"a": 1}, log_checkpoints=True)
    one = trainer(callback, save_strategy="steps", save_steps=2)
    one.train()
    run = store.get_run("tiny")
    assert (run["status"], run["tags"]["a"]) == ("FINISHED", "1")
    assert run["params"]["max_steps"] == "4" and "model/model_type" in run["params"]
    assert store.history("tiny", "loss").column("step") == [1, 2, 3, 4]
    assert [one["path"] for one in store.artifacts("tiny")] == ["checkpoint-2", "checkpoint-4"]
    one.evaluate()
    assert len(store.history("tiny", "eval_loss")) == 1


@pytest.mark.filterwarnings("ignore")
def test_transformers_goes_on_from_a_checkpoint(trainer, store):
    from runlode.transformers import RunlodeCallback

    trainer(RunlodeCallback(store, "digits", name="tiny"), save_strategy="steps", save_steps=2, save_total_limit=3).train()
    one = trainer(RunlodeCallback(store, run="tiny"), steps=6, save_strategy="steps", save_steps=2)
    one.train(resume_from_checkpoint=f"{one.args.output_dir}/checkpoint-2")
    curve = store.history("tiny", "loss")
    assert curve.column("step") == [1, 2, 3, 4, 5, 6], "what came after the checkpoint is hidden"
    assert len(store.search()) == 1 and store.get_run("tiny")["status"] == "FINISHED"


@pytest.mark.filterwarnings("ignore")
def test_transformers_leaves_a_run_to_its_owner(trainer, store):
    from runlode.transformers import RunlodeCallback

    with pytest.raises(KeyError), store.run("digits") as run:
        trainer(RunlodeCallback(run=run)).train()
        assert run.status == "RUNNING"
        raise KeyError
    assert run.status == "FAILED"


def test_modules_are_named():
    assert not {"lightning", "transformers", "optuna"} & set(runlode.__all__)
