"""A model behind sockets: one thread for each connection, all on the same model object.

The supervisor hands a new connection over whenever it needs one, sends a request, and waits for its answer. It has gone
when the control socket ends; so does this process then.
"""
import contextlib
import gc
import importlib
import inspect
import json
import os
import socket
import struct
import sys
import threading
import traceback

import runlode_worker_answers as answers
import runlode_worker_inputs as inputs

# How long a model's own threads and exit handlers may take at the end.
EXIT_S = 5.0
# Bytes that are not copied once more before they are sent.
LONG_BYTES = 1 << 14


class Model:
    """The loaded model, and how it is called."""

    def __init__(self, described):
        folder, flavor = described["folder"], described["flavor"]
        if flavor.get("code"):
            sys.path.insert(0, os.path.join(folder, flavor["code"]))
        place = os.path.join(folder, flavor["data"]) if "data" in flavor else folder
        config = overridden(json.loads(flavor["config_text"]) if "config_text" in flavor else None)
        load = importlib.import_module(flavor["loader_module"])._load_pyfunc
        model = load(place, config) if config else load(place)
        self.predict = getattr(model, flavor.get("predict_fn", "predict"))
        parameter = inspect.signature(self.predict).parameters.get("params")
        self.takes_params = parameter is not None and parameter.kind is not inspect.Parameter.VAR_KEYWORD
        self.example = example(folder, described.get("example"))
        self.turn = threading.Lock() if described.get("one_at_a_time") else contextlib.nullcontext()

    def answer(self, header, body, base):
        """The answers to one request, or to several that are predicted together."""
        try:
            data = inputs.make(header, body, base)
            params = inputs.params(header, body, base)
        except inputs.Refused as error:
            return [(answers.ERROR, 400, answers.bad_request("Invalid input. %s" % error))]
        except inputs.Unreadable as error:
            form, method, cause = error.args
            said = "Failed to parse input as a Pandas DataFrame: the body is no %s that `pandas.DataFrame.%s()` writes: %s"
            return [(answers.ERROR, 400, answers.bad_request(said % (form, method, cause), traceback.format_exc()))]
        except ImportError as error:
            said = "the model's environment lacks what its input is made of: %s" % error
            return [(answers.REFUSED, 400, said.encode("utf-8", "replace"))]
        if header.get("only_read"):
            return [(answers.ANSWER, 200, b"null")]
        try:
            if self.example is not None:
                data = like_example(data, self.example)
            with self.turn:
                predicted = self.predict(data, params=params) if self.takes_params else self.predict(data)
        except BaseException as error:
            return [answers.failed(error, data)]
        return answers.made(predicted, header)


def overridden(config):
    """The model's configuration with what the environment says otherwise; only keys that the model has."""
    changes = {}
    for variable in ("MLFLOW_PYFUNC_INFERENCE_CONFIG", "SERVING_MODEL_CONFIG"):
        if os.environ.get(variable):
            changes.update(json.loads(os.environ[variable]))
    ignored = sorted(key for key in changes if key not in (config or {}))
    if ignored:
        print("the model has no such configuration, so it is ignored: %s" % ", ".join(ignored), file=sys.stderr)
    return {**config, **{key: each for key, each in changes.items() if key in config}} if config else config


def example(folder, described):
    """The example whose form a model without type hints expects: a list of one, or None."""
    if not described or described.get("type") != "json_object":
        return None
    try:
        with open(os.path.join(folder, described["artifact_path"]), encoding="utf-8") as file:
            read = json.load(file)
        return [read["inputs"] if described.get("params") else read]
    except (OSError, ValueError, LookupError, TypeError) as error:
        print("the model's input example cannot be read: %s" % error, file=sys.stderr)
        return None


def like_example(data, shown):
    """A frame in the form that the model's example has."""
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(data, pandas.DataFrame):
        return data
    (shown,) = shown
    if isinstance(shown, dict):
        return data.to_dict(orient="records")[0] if len(data) == 1 else data
    if isinstance(shown, list):
        is_plain = all(isinstance(each, (str, bytes, bool, int, float)) for each in shown)
        if is_plain and len(data.columns) == 1:
            return data.iloc[:, 0].tolist()
        return data.to_dict(orient="records")
    return data if shown is None else data.iloc[0, 0]


def main(control, described):
    try:
        model = Model(described)
    except BaseException as error:
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        say(control, {"failed": "%s: %s" % (type(error).__name__, error), "trace": trace})
        return
    for module in ("numpy", "pandas"):
        try:
            importlib.import_module(module)
        except ImportError:
            pass  # A model without columns does without.
    os.environ["_MLFLOW_IS_IN_SERVING_ENVIRONMENT"] = "true"
    # What is loaded stays: full collections need not look at it.
    gc.collect()
    gc.freeze()
    say(control, {"loaded": {"takes_params": model.takes_params, "python": sys.version.split()[0]}})
    while True:
        given, handles, _, _ = socket.recv_fds(control, 1, 1)
        if not given:
            break
        for handle in handles:
            connection = socket.socket(fileno=handle)
            threading.Thread(target=serve, args=(connection, model), daemon=True).start()
    # A model whose threads never end must not outlive the server.
    last = threading.Timer(EXIT_S, os._exit, (0,))
    last.daemon = True
    last.start()


def say(control, message):
    text = json.dumps(message).encode("ascii")
    try:
        control.sendall(struct.pack("<Q", len(text)) + text)
    except OSError:
        sys.exit(0)  # The server has gone meanwhile.


def serve(connection, model):
    with connection:
        try:
            while True:
                head = receive(connection, 16)
                if head is None:
                    return
                total, header_bytes = struct.unpack("<QQ", head)
                body = receive(connection, total)
                if body is None:
                    return
                header = json.loads(bytes(memoryview(body)[:header_bytes]))
                made = model.answer(header, body, (header_bytes + 7) & ~7)
                send(connection, made)
        except OSError:
            return  # The supervisor gave this request up.


def send(connection, made):
    """Sends the parts of an answer, long pieces without a copy."""
    parts = [(kind, status, text if isinstance(text, list) else [text]) for kind, status, text in made]
    short = bytearray(struct.pack("<I", len(parts)))
    for kind, status, pieces in parts:
        short += struct.pack("<BHQ", kind, status, sum(memoryview(piece).nbytes for piece in pieces))
    for _, _, pieces in parts:
        for piece in pieces:
            if memoryview(piece).nbytes < LONG_BYTES:
                short.extend(memoryview(piece).cast("B"))
                continue
            connection.sendall(short)
            connection.sendall(piece)
            short = bytearray()
    if short:
        connection.sendall(short)


def receive(connection, length):
    """So many bytes, or None at the end of the stream."""
    body = bytearray(length)
    view, have = memoryview(body), 0
    while have < length:
        count = connection.recv_into(view[have:])
        if not count:
            return None
        have += count
    return body
