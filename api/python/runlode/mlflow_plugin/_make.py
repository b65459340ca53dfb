"""Makes metric points by the thousand. The interpreter sets attributes of fresh objects faster than C's API does."""

_new = object.__new__


def metrics(cls, keys, values, timestamps, steps):
    """Objects of ``mlflow.entities.Metric`` without its constructor: only after the layout was checked to be this."""
    made = []
    add, new = made.append, _new
    for key, value, timestamp, step in zip(keys, values, timestamps, steps):
        metric = new(cls)
        metric._key = key
        metric._value = value
        metric._timestamp = timestamp
        metric._step = step
        metric._model_id = None
        metric._dataset_name = None
        metric._dataset_digest = None
        metric._run_id = None
        add(metric)
    return made


def run(cls, info_cls, data_cls, inputs_cls, outputs_cls, info, data, inputs, outputs):
    """A run made of its parts without constructors, as above."""
    made, new = _new(cls), _new
    made._info = part = new(info_cls)
    (
        part._run_id,
        part._experiment_id,
        part._user_id,
        part._status,
        part._start_time,
        part._end_time,
        part._lifecycle_stage,
        part._artifact_uri,
        part._run_name,
    ) = info
    made._data = part = new(data_cls)
    part._metric_objs, part._metrics, part._params, part._tags = data
    made._inputs = part = new(inputs_cls)
    part._dataset_inputs, part._model_inputs = inputs
    if outputs is None:
        made._outputs = None
    else:
        made._outputs = part = new(outputs_cls)
        part._model_outputs = outputs
    return made
