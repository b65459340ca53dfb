//! MLflow's entities, made of what calls answer.
//!
//! Objects that come by the thousand (runs, metric points) are made without their constructor: an empty object, and its
//! attributes. That is done only where an object of the constructor was seen to have exactly these attributes, which is
//! looked at once, when the first entity is made; with any other version of MLflow the constructor is called.

use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyFloat, PyInt, PyList, PyNone, PyString, PyTuple, PyType};
use runlode::mlflow::MetricColumns;
use runlode::mlflow::entity::{
    Dataset, DatasetInput, DatasetSummary, Experiment, LoggedModel, Metric, ModelVersion, Paged, RegisteredModel, Run,
    RunInfo, Tag,
};
use runlode::{LoggedModelStatus, RunStatus, Stage, VersionStatus};
use rustc_hash::FxHashMap;

/// From how many objects on the cyclic garbage collector is paused while they are made: none of them is garbage.
const PAUSE_FROM: usize = 500;

/// Keeps the cyclic garbage collector from running; it goes on when this is dropped.
pub(crate) struct Pause<'py>(Option<Bound<'py, PyModule>>);

impl<'py> Pause<'py> {
    /// For the making of so many objects.
    pub(crate) fn during(py: Python<'py>, objects: usize) -> PyResult<Self> {
        if objects < PAUSE_FROM {
            return Ok(Self(None));
        }
        let gc = py.import(intern!(py, "gc"))?;
        if !gc.call_method0(intern!(py, "isenabled"))?.is_truthy()? {
            return Ok(Self(None));
        }
        gc.call_method0(intern!(py, "disable"))?;
        Ok(Self(Some(gc)))
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        if let Some(gc) = &self.0
            && let Err(error) = gc.call_method0(intern!(gc.py(), "enable"))
        {
            error.write_unraisable(gc.py(), None);
        }
    }
}

/// A class whose objects hold what their constructor is given, each argument as one attribute.
struct Plain {
    class: Py<PyType>,
    arguments: Vec<Py<PyString>>,
    /// Names of the attributes, in the order of the arguments; `None` when this version's objects look otherwise.
    attributes: Option<Vec<Py<PyString>>>,
}

impl Plain {
    /// Of a class: names of arguments, and of the attributes that they should become.
    fn new(py: Python<'_>, class: Bound<'_, PyType>, names: &[(&str, &str)]) -> PyResult<Self> {
        let arguments: Vec<_> = names.iter().map(|(name, _)| PyString::intern(py, name).unbind()).collect();
        let (given, wanted) = (PyDict::new(py), PyDict::new(py));
        for (argument, attribute) in names {
            let value = PyString::new(py, &format!("probe of {argument}"));
            given.set_item(argument, &value)?;
            wanted.set_item(attribute, &value)?;
        }
        // A class that refuses texts made for a probe is made in the long way, which says what is wrong with real ones.
        let probe = class.call((), Some(&given));
        let same = probe.and_then(|probe| probe.getattr("__dict__")?.eq(&wanted)).unwrap_or(false);
        let attributes = same.then(|| names.iter().map(|(_, name)| PyString::intern(py, name).unbind()).collect());
        Ok(Self { class: class.unbind(), arguments, attributes })
    }

    fn make<'py, const N: usize>(
        &self,
        py: Python<'py>,
        new: &Bound<'py, PyAny>,
        values: [&Bound<'py, PyAny>; N],
    ) -> PyResult<Bound<'py, PyAny>> {
        let class = self.class.bind(py);
        let Some(attributes) = &self.attributes else {
            let given = PyDict::new(py);
            for (name, value) in self.arguments.iter().zip(values) {
                given.set_item(name, value)?;
            }
            return class.call((), Some(&given));
        };
        let object = new.call1((class,))?;
        for (name, value) in attributes.iter().zip(values) {
            object.setattr(name.bind(py), value)?;
        }
        Ok(object)
    }
}

/// MLflow's classes.
pub(crate) struct Classes {
    /// `object.__new__`.
    new: Py<PyAny>,
    /// `runlode.mlflow_plugin._make.metrics` and `.run`.
    make_metrics: Py<PyAny>,
    make_run: Py<PyAny>,
    metric: Plain,
    metric_with_run_id: Plain,
    run: Plain,
    run_info: Plain,
    run_inputs: Plain,
    run_outputs: Plain,
    run_data: Py<PyType>,
    /// Whether all parts of a run are made of their attributes.
    run_is_plain: bool,
    paged_list: Py<PyType>,
    dataset: Plain,
    dataset_input: Plain,
    input_tag: Plain,
    model_input: Plain,
    model_output: Plain,
    param: Py<PyType>,
    run_tag: Py<PyType>,
    experiment: Py<PyType>,
    experiment_tag: Py<PyType>,
    logged_model: Py<PyType>,
    registered_model: Py<PyType>,
    registered_model_tag: Py<PyType>,
    registered_model_alias: Py<PyType>,
    model_version: Py<PyType>,
    model_version_tag: Py<PyType>,
    dataset_summary: Py<PyType>,
}

static CLASSES: PyOnceLock<Classes> = PyOnceLock::new();

const METRIC: &[(&str, &str)] = &[
    ("key", "_key"),
    ("value", "_value"),
    ("timestamp", "_timestamp"),
    ("step", "_step"),
    ("model_id", "_model_id"),
    ("dataset_name", "_dataset_name"),
    ("dataset_digest", "_dataset_digest"),
    ("run_id", "_run_id"),
];

impl Classes {
    /// Those of the MLflow that is installed; imported once.
    pub(crate) fn get(py: Python<'_>) -> PyResult<&Self> {
        CLASSES.get_or_try_init(py, || Self::import(py))
    }

    fn import(py: Python<'_>) -> PyResult<Self> {
        let entities = py.import("mlflow.entities")?;
        let registry = py.import("mlflow.entities.model_registry")?;
        let class = |name: &str| -> PyResult<Bound<'_, PyType>> { Ok(entities.getattr(name)?.cast_into()?) };
        let registry_class =
            |name: &str| -> PyResult<Py<PyType>> { Ok(registry.getattr(name)?.cast_into::<PyType>()?.unbind()) };
        let other = |module: &str, name: &str| -> PyResult<Bound<'_, PyType>> {
            Ok(py.import(module)?.getattr(name)?.cast_into()?)
        };
        let new = py.import("builtins")?.getattr("object")?.getattr("__new__")?;
        let make = py.import("runlode.mlflow_plugin._make")?;
        let metric = Plain::new(py, class("Metric")?, METRIC)?;
        let mut metric_with_run_id = Plain {
            class: other("mlflow.entities.metric", "MetricWithRunId")?.unbind(),
            arguments: Vec::new(),
            attributes: None,
        };
        // Its constructor takes a metric and an id; its objects should look as those of `Metric`.
        if let Some(attributes) = &metric.attributes {
            let values: Vec<_> = METRIC.iter().map(|(name, _)| PyString::new(py, name).into_any()).collect();
            let values: [&Bound<'_, PyAny>; 8] = std::array::from_fn(|i| &values[i]);
            let probe = metric.make(py, &new, values)?;
            let made = metric_with_run_id.class.bind(py).call1((&probe, "an id"))?;
            let wanted = probe.getattr("__dict__")?;
            for name in ["_model_id", "_dataset_name", "_dataset_digest"] {
                wanted.set_item(name, py.None())?;
            }
            wanted.set_item("_run_id", "an id")?;
            if made.getattr("__dict__")?.eq(wanted)? {
                metric_with_run_id.attributes = Some(attributes.iter().map(|name| name.clone_ref(py)).collect());
            }
        }
        let (param, run_tag, run_data) = (class("Param")?, class("RunTag")?, class("RunData")?);
        let run = Plain::new(
            py,
            class("Run")?,
            &[("run_info", "_info"), ("run_data", "_data"), ("run_inputs", "_inputs"), ("run_outputs", "_outputs")],
        )?;
        let run_info = Plain::new(
            py,
            class("RunInfo")?,
            &[
                ("run_id", "_run_id"),
                ("experiment_id", "_experiment_id"),
                ("user_id", "_user_id"),
                ("status", "_status"),
                ("start_time", "_start_time"),
                ("end_time", "_end_time"),
                ("lifecycle_stage", "_lifecycle_stage"),
                ("artifact_uri", "_artifact_uri"),
                ("run_name", "_run_name"),
            ],
        )?;
        let run_inputs = Plain::new(
            py,
            class("RunInputs")?,
            &[("dataset_inputs", "_dataset_inputs"), ("model_inputs", "_model_inputs")],
        )?;
        let run_outputs = Plain::new(py, class("RunOutputs")?, &[("model_outputs", "_model_outputs")])?;
        let run_is_plain = [&run, &run_info, &run_inputs, &run_outputs].iter().all(|class| class.attributes.is_some())
            && run_data_is_plain(py, &class("Metric")?, &param, &run_tag, &run_data)?;
        Ok(Self {
            new: new.unbind(),
            make_metrics: make.getattr("metrics")?.unbind(),
            make_run: make.getattr("run")?.unbind(),
            metric,
            metric_with_run_id,
            run,
            run_info,
            run_inputs,
            run_outputs,
            run_data: run_data.unbind(),
            run_is_plain,
            paged_list: other("mlflow.store.entities.paged_list", "PagedList")?.unbind(),
            dataset: Plain::new(
                py,
                class("Dataset")?,
                &[
                    ("name", "_name"),
                    ("digest", "_digest"),
                    ("source_type", "_source_type"),
                    ("source", "_source"),
                    ("schema", "_schema"),
                    ("profile", "_profile"),
                ],
            )?,
            dataset_input: Plain::new(py, class("DatasetInput")?, &[("dataset", "_dataset"), ("tags", "_tags")])?,
            input_tag: Plain::new(py, class("InputTag")?, &[("key", "_key"), ("value", "_value")])?,
            model_input: Plain::new(py, class("LoggedModelInput")?, &[("model_id", "_model_id")])?,
            model_output: Plain::new(py, class("LoggedModelOutput")?, &[("model_id", "_model_id"), ("step", "_step")])?,
            param: param.unbind(),
            run_tag: run_tag.unbind(),
            experiment: class("Experiment")?.unbind(),
            experiment_tag: class("ExperimentTag")?.unbind(),
            logged_model: class("LoggedModel")?.unbind(),
            registered_model: registry_class("RegisteredModel")?,
            registered_model_tag: registry_class("RegisteredModelTag")?,
            registered_model_alias: registry_class("RegisteredModelAlias")?,
            model_version: registry_class("ModelVersion")?,
            model_version_tag: registry_class("ModelVersionTag")?,
            dataset_summary: class("_DatasetSummary")?.unbind(),
        })
    }

    /// Whether metrics of a type keep their attributes under the private names that are known.
    pub(crate) fn is_plain_metric(&self, py: Python<'_>, object: &Bound<'_, PyAny>) -> bool {
        self.metric.attributes.is_some() && object.get_type().is(self.metric.class.bind(py))
    }

    /// A list with the token of the next page.
    pub(crate) fn paged<'py>(
        &self,
        py: Python<'py>,
        items: Bound<'py, PyAny>,
        token: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.paged_list.bind(py).call1((items, token))
    }
}

fn run_data_is_plain(
    py: Python<'_>,
    metric: &Bound<'_, PyType>,
    param: &Bound<'_, PyType>,
    run_tag: &Bound<'_, PyType>,
    run_data: &Bound<'_, PyType>,
) -> PyResult<bool> {
    let metrics = PyList::new(py, [metric.call1(("m", 0.5, 1, 2))?])?;
    let params = PyList::new(py, [param.call1(("p", "1"))?])?;
    let tags = PyList::new(py, [run_tag.call1(("t", "2"))?])?;
    let made = run_data.call1((&metrics, params, tags))?;
    let wanted = PyDict::new(py);
    let pair = |key: &str, value: Bound<'_, PyAny>| -> PyResult<Py<PyDict>> {
        let pair = PyDict::new(py);
        pair.set_item(key, value)?;
        Ok(pair.unbind())
    };
    wanted.set_item("_metric_objs", metrics)?;
    wanted.set_item("_metrics", pair("m", PyFloat::new(py, 0.5).into_any())?)?;
    wanted.set_item("_params", pair("p", PyString::new(py, "1").into_any())?)?;
    wanted.set_item("_tags", pair("t", PyString::new(py, "2").into_any())?)?;
    made.getattr("__dict__")?.eq(wanted)
}

/// What a run is the answer of: MLflow leaves out more or less of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Of a creation: without outputs.
    Create,
    /// Of a look at one: everything.
    Get,
    /// Of a search: without the models that it read.
    Search,
}

/// Makes entities of one answer; texts that come again and again (keys, ids, places) are one Python object.
pub(crate) struct Maker<'py> {
    py: Python<'py>,
    classes: &'py Classes,
    new: Bound<'py, PyAny>,
    none: Bound<'py, PyAny>,
    known: FxHashMap<Arc<str>, Bound<'py, PyAny>>,
}

impl<'py> Maker<'py> {
    /// For one answer.
    pub(crate) fn new(py: Python<'py>) -> PyResult<Self> {
        let classes = Classes::get(py)?;
        let none = PyNone::get(py).to_owned().into_any();
        Ok(Self { py, classes, new: classes.new.bind(py).clone(), none, known: FxHashMap::default() })
    }

    /// A text that is likely to come again.
    fn known(&mut self, text: &str) -> Bound<'py, PyAny> {
        if let Some(found) = self.known.get(text) {
            return found.clone();
        }
        let made = PyString::new(self.py, text).into_any();
        self.known.insert(text.into(), made.clone());
        made
    }

    fn text(&self, text: &str) -> Bound<'py, PyAny> {
        PyString::new(self.py, text).into_any()
    }

    fn optional(&self, text: Option<&str>) -> Bound<'py, PyAny> {
        text.map_or_else(|| self.none.clone(), |text| self.text(text))
    }

    fn integer(&self, number: i64) -> Bound<'py, PyAny> {
        PyInt::new(self.py, number).into_any()
    }

    /// A page of what was found: a list, with the token of the next page.
    pub(crate) fn page<T>(
        &mut self,
        page: &Paged<T>,
        mut one: impl FnMut(&mut Self, &T) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _pause = Pause::during(self.py, page.items.len())?;
        let items = page.items.iter().map(|item| one(self, item)).collect::<PyResult<Vec<_>>>()?;
        self.paged(items, page.next_page_token.as_deref())
    }

    /// A list with the token of the next page.
    pub(crate) fn paged(&self, items: Vec<Bound<'py, PyAny>>, token: Option<&str>) -> PyResult<Bound<'py, PyAny>> {
        self.classes.paged(self.py, PyList::new(self.py, items)?.into_any(), token)
    }

    /// Every point of columns, of one run.
    pub(crate) fn history(&mut self, key: &str, columns: &MetricColumns) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let count = columns.steps.len();
        let _pause = Pause::during(py, count)?;
        let values = PyList::new(py, &columns.values)?;
        let (timestamps, steps) = (PyList::new(py, &columns.timestamps)?, PyList::new(py, &columns.steps)?);
        let keys = py.import(intern!(py, "itertools"))?.call_method1(intern!(py, "repeat"), (key, count))?;
        self.metrics(&keys, [&values, &timestamps, &steps])
    }

    /// Points without contexts, of columns: values, timestamps, steps.
    fn metrics(&self, keys: &Bound<'py, PyAny>, columns: [&Bound<'py, PyList>; 3]) -> PyResult<Bound<'py, PyAny>> {
        let class = self.classes.metric.class.bind(self.py);
        let [values, timestamps, steps] = columns;
        if self.classes.metric.attributes.is_some() {
            return self.classes.make_metrics.bind(self.py).call1((class, keys, values, timestamps, steps));
        }
        let made = self.py.import("builtins")?.call_method1("map", (class, keys, values, timestamps, steps))?;
        Ok(PyList::new(self.py, made.try_iter()?.collect::<PyResult<Vec<_>>>()?)?.into_any())
    }

    fn metric(&mut self, metric: &Metric) -> PyResult<Bound<'py, PyAny>> {
        let key = self.known(&metric.key);
        let value = PyFloat::new(self.py, metric.value).into_any();
        let (timestamp, step) = (self.integer(metric.timestamp), self.integer(metric.step));
        let mut given = |text: &Option<String>| match text {
            Some(text) => self.known(text),
            None => self.none.clone(),
        };
        let (model_id, run_id) = (given(&metric.model_id), given(&metric.run_id));
        let (dataset_name, dataset_digest) = (given(&metric.dataset_name), given(&metric.dataset_digest));
        let values = [&key, &value, &timestamp, &step, &model_id, &dataset_name, &dataset_digest, &run_id];
        self.classes.metric.make(self.py, &self.new, values)
    }

    /// Points of several runs, as `MetricWithRunId`.
    pub(crate) fn metrics_with_run_id(&mut self, metrics: &[Metric]) -> PyResult<Bound<'py, PyList>> {
        let _pause = Pause::during(self.py, metrics.len())?;
        let mut items = Vec::with_capacity(metrics.len());
        let none = self.none.clone();
        for metric in metrics {
            let class = &self.classes.metric_with_run_id;
            let run_id = self.known(metric.run_id.as_deref().unwrap_or_default());
            if class.attributes.is_none() {
                let plain = self.metric(&Metric { run_id: None, ..metric.clone() })?;
                items.push(class.class.bind(self.py).call1((plain, run_id))?);
                continue;
            }
            let key = self.known(&metric.key);
            let value = PyFloat::new(self.py, metric.value).into_any();
            let (timestamp, step) = (self.integer(metric.timestamp), self.integer(metric.step));
            let values = [&key, &value, &timestamp, &step, &none, &none, &none, &run_id];
            items.push(class.make(self.py, &self.new, values)?);
        }
        PyList::new(self.py, items)
    }

    fn info_values(&mut self, info: &RunInfo) -> [Bound<'py, PyAny>; 9] {
        [
            self.text(&info.run_id),
            self.known(&info.experiment_id),
            self.known(&info.user_id),
            self.known(run_status(info.status)),
            self.integer(info.start_time),
            info.end_time.map_or_else(|| self.none.clone(), |time| self.integer(time)),
            self.known(lifecycle(info.deleted)),
            self.text(&info.artifact_uri),
            self.text(&info.run_name),
        ]
    }

    /// What a run is, without what it logged.
    pub(crate) fn run_info(&mut self, info: &RunInfo) -> PyResult<Bound<'py, PyAny>> {
        let values = self.info_values(info);
        self.classes.run_info.make(self.py, &self.new, values.each_ref())
    }

    fn pairs(&mut self, pairs: &[Tag]) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(self.py);
        for (key, value) in pairs {
            dict.set_item(self.known(key), self.text(value))?;
        }
        Ok(dict)
    }

    /// Objects with a key and a value, by their constructor.
    fn tags(&mut self, class: &Py<PyType>, tags: &[Tag]) -> PyResult<Bound<'py, PyList>> {
        let py = self.py;
        let class = class.bind(py);
        let made = tags.iter().map(|(key, value)| class.call1((self.known(key), value)));
        PyList::new(py, made.collect::<PyResult<Vec<_>>>()?)
    }

    /// Latest points of a run: the objects, and values by key.
    fn latest(&mut self, metrics: &[Metric]) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyDict>)> {
        let py = self.py;
        let keys = PyList::new(py, metrics.iter().map(|metric| self.known(&metric.key)).collect::<Vec<_>>())?;
        let values = PyList::new(py, metrics.iter().map(|metric| metric.value))?;
        let timestamps = PyList::new(py, metrics.iter().map(|metric| metric.timestamp))?;
        let steps = PyList::new(py, metrics.iter().map(|metric| metric.step))?;
        let by_key = PyDict::new(py);
        for (key, value) in keys.iter().zip(values.iter()) {
            by_key.set_item(key, value)?;
        }
        Ok((self.metrics(&keys, [&values, &timestamps, &steps])?, by_key))
    }

    fn dataset_input(&mut self, input: &DatasetInput) -> PyResult<Bound<'py, PyAny>> {
        let Dataset { name, digest, source_type, source, schema, profile } = &input.dataset;
        let (name, digest) = (self.known(name), self.known(digest));
        let (source_type, source) = (self.known(source_type), self.known(source));
        let values = [
            &name,
            &digest,
            &source_type,
            &source,
            &self.optional(schema.as_deref()),
            &self.optional(profile.as_deref()),
        ];
        let dataset = self.classes.dataset.make(self.py, &self.new, values)?;
        let mut tags = Vec::with_capacity(input.tags.len());
        for (key, value) in &input.tags {
            let values = [&self.known(key), &self.known(value)];
            tags.push(self.classes.input_tag.make(self.py, &self.new, values)?);
        }
        let tags = PyList::new(self.py, tags)?.into_any();
        self.classes.dataset_input.make(self.py, &self.new, [&dataset, &tags])
    }

    /// A run, as that call answers it.
    pub(crate) fn run(&mut self, run: &Run, of: Answer) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let datasets: Vec<_> = run.dataset_inputs.iter().map(|i| self.dataset_input(i)).collect::<PyResult<_>>()?;
        let mut inputs = Vec::with_capacity(run.model_inputs.len());
        for id in run.model_inputs.iter().filter(|_| of == Answer::Get) {
            inputs.push(self.classes.model_input.make(py, &self.new, [&self.text(id)])?);
        }
        let mut outputs = Vec::with_capacity(run.model_outputs.len());
        for (id, step) in &run.model_outputs {
            let values = [&self.text(id), &self.integer(*step)];
            outputs.push(self.classes.model_output.make(py, &self.new, values)?);
        }
        let (datasets, inputs) = (PyList::new(py, datasets)?, PyList::new(py, inputs)?);
        let outputs = if of == Answer::Create { None } else { Some(PyList::new(py, outputs)?) };
        let (objects, metrics) = self.latest(&run.metrics)?;
        let classes = self.classes;
        if !classes.run_is_plain {
            let info = self.run_info(&run.info)?;
            let (params, tags) = (self.tags(&classes.param, &run.params)?, self.tags(&classes.run_tag, &run.tags)?);
            let data = classes.run_data.bind(py).call1((objects, params, tags))?;
            let inputs = classes.run_inputs.make(py, &self.new, [&datasets.into_any(), &inputs.into_any()])?;
            let outputs = match outputs {
                Some(outputs) => classes.run_outputs.make(py, &self.new, [&outputs.into_any()])?,
                None => self.none.clone(),
            };
            return classes.run.make(py, &self.new, [&info, &data, &inputs, &outputs]);
        }
        let info = self.info_values(&run.info);
        let data = (objects, metrics, self.pairs(&run.params)?, self.pairs(&run.tags)?);
        classes.make_run.bind(py).call1((
            &classes.run.class,
            &classes.run_info.class,
            &classes.run_data,
            &classes.run_inputs.class,
            &classes.run_outputs.class,
            PyTuple::new(py, info)?,
            data,
            (datasets, inputs),
            outputs,
        ))
    }

    /// An experiment.
    pub(crate) fn experiment(&mut self, experiment: &Experiment) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let given = PyDict::new(py);
        given.set_item(intern!(py, "experiment_id"), &experiment.experiment_id)?;
        given.set_item(intern!(py, "name"), &experiment.name)?;
        given.set_item(intern!(py, "artifact_location"), &experiment.artifact_location)?;
        given.set_item(intern!(py, "lifecycle_stage"), lifecycle(experiment.deleted))?;
        given.set_item(intern!(py, "tags"), self.tags(&self.classes.experiment_tag, &experiment.tags)?)?;
        given.set_item(intern!(py, "creation_time"), experiment.creation_time)?;
        given.set_item(intern!(py, "last_update_time"), experiment.last_update_time)?;
        self.classes.experiment.bind(py).call((), Some(&given))
    }

    /// A data set's summary.
    pub(crate) fn dataset_summary(&self, summary: &DatasetSummary) -> PyResult<Bound<'py, PyAny>> {
        let DatasetSummary { experiment_id, name, digest, context } = summary;
        self.classes.dataset_summary.bind(self.py).call1((experiment_id, name, digest, context))
    }

    /// A logged model. Absent texts are None here, where the wire has empty ones.
    pub(crate) fn logged_model(&mut self, model: &LoggedModel) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let _pause = Pause::during(py, model.metrics.len())?;
        let given = PyDict::new(py);
        let status = match model.status {
            LoggedModelStatus::Unspecified => 0,
            LoggedModelStatus::Pending => 1,
            LoggedModelStatus::Ready => 2,
            LoggedModelStatus::UploadFailed => 3,
        };
        let metrics: Vec<_> = model.metrics.iter().map(|metric| self.metric(metric)).collect::<PyResult<_>>()?;
        let unless_empty = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        given.set_item(intern!(py, "experiment_id"), &model.experiment_id)?;
        given.set_item(intern!(py, "model_id"), &model.model_id)?;
        given.set_item(intern!(py, "name"), &model.name)?;
        given.set_item(intern!(py, "artifact_location"), &model.artifact_uri)?;
        given.set_item(intern!(py, "creation_timestamp"), model.creation_timestamp_ms)?;
        given.set_item(intern!(py, "last_updated_timestamp"), model.last_updated_timestamp_ms)?;
        given.set_item(intern!(py, "model_type"), unless_empty(&model.model_type))?;
        given.set_item(intern!(py, "source_run_id"), unless_empty(&model.source_run_id))?;
        given.set_item(intern!(py, "status"), status)?;
        given.set_item(intern!(py, "status_message"), &model.status_message)?;
        given.set_item(intern!(py, "tags"), self.pairs(&model.tags)?)?;
        given.set_item(intern!(py, "params"), self.pairs(&model.params)?)?;
        // As in MLflow's own stores: there are none, not a list of none.
        given.set_item(intern!(py, "metrics"), (!metrics.is_empty()).then_some(metrics))?;
        self.classes.logged_model.bind(py).call((), Some(&given))
    }

    /// A registered model.
    pub(crate) fn registered_model(&mut self, model: &RegisteredModel) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let given = PyDict::new(py);
        let versions = model.latest_versions.iter().map(|version| self.model_version(version));
        let versions: Vec<_> = versions.collect::<PyResult<_>>()?;
        let alias = self.classes.registered_model_alias.bind(py);
        let aliases = model.aliases.iter().map(|(name, version)| alias.call1((name, version)));
        given.set_item(intern!(py, "aliases"), aliases.collect::<PyResult<Vec<_>>>()?)?;
        given.set_item(intern!(py, "name"), &model.name)?;
        given.set_item(intern!(py, "creation_timestamp"), model.creation_timestamp)?;
        given.set_item(intern!(py, "last_updated_timestamp"), model.last_updated_timestamp)?;
        given.set_item(intern!(py, "description"), &model.description)?;
        given.set_item(intern!(py, "latest_versions"), versions)?;
        given.set_item(intern!(py, "tags"), self.tags(&self.classes.registered_model_tag, &model.tags)?)?;
        self.classes.registered_model.bind(py).call((), Some(&given))
    }

    /// A version of a registered model; its number is a number, as in MLflow's own stores.
    pub(crate) fn model_version(&mut self, version: &ModelVersion) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let given = PyDict::new(py);
        given.set_item(intern!(py, "name"), &version.name)?;
        given.set_item(intern!(py, "version"), version.version)?;
        given.set_item(intern!(py, "creation_timestamp"), version.creation_timestamp)?;
        given.set_item(intern!(py, "last_updated_timestamp"), version.last_updated_timestamp)?;
        given.set_item(intern!(py, "description"), &version.description)?;
        given.set_item(intern!(py, "user_id"), &version.user_id)?;
        given.set_item(intern!(py, "current_stage"), stage(version.current_stage))?;
        given.set_item(intern!(py, "source"), &version.source)?;
        given.set_item(intern!(py, "run_id"), &version.run_id)?;
        given.set_item(intern!(py, "run_link"), &version.run_link)?;
        given.set_item(intern!(py, "status"), version_status(version.status))?;
        given.set_item(intern!(py, "status_message"), &version.status_message)?;
        given.set_item(intern!(py, "tags"), self.tags(&self.classes.model_version_tag, &version.tags)?)?;
        given.set_item(intern!(py, "aliases"), &version.aliases)?;
        given.set_item(intern!(py, "model_id"), &version.model_id)?;
        self.classes.model_version.bind(py).call((), Some(&given))
    }
}

fn lifecycle(deleted: bool) -> &'static str {
    if deleted { "deleted" } else { "active" }
}

fn run_status(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Running => "RUNNING",
        RunStatus::Scheduled => "SCHEDULED",
        RunStatus::Finished => "FINISHED",
        RunStatus::Failed => "FAILED",
        RunStatus::Killed => "KILLED",
    }
}

fn version_status(status: VersionStatus) -> &'static str {
    match status {
        VersionStatus::PendingRegistration => "PENDING_REGISTRATION",
        VersionStatus::FailedRegistration => "FAILED_REGISTRATION",
        VersionStatus::Ready => "READY",
    }
}

fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::None => "None",
        Stage::Staging => "Staging",
        Stage::Production => "Production",
        Stage::Archived => "Archived",
    }
}
