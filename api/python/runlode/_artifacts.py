"""Methods of `Store` and `Run` for artifacts: the files of a run, below its `artifact_uri`."""

import json
import os
import shutil

from ._errors import Invalid, NotFound, Unavailable
from ._place import expanded, scheme


def needed(module, what, package=None):
    """A module that only some methods need; an ImportError that says how to get it."""
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as cause:
        raise ImportError(f"{what} needs {module.partition('.')[0]}: `pip install {package or module}`") from cause


def _checked(path):
    """A path below a run's artifacts, in POSIX form."""
    text = os.fspath(path)
    parts = text.split("/")
    if not text or text.startswith("/") or "\0" in text or "\\" in text or ".." in parts or scheme(text):
        raise Invalid(f"{text!r} is no path of an artifact: write it relative to the run, for example 'plots/loss.png'")
    return "/".join(part for part in parts if part not in ("", "."))


def _joined(folder, name):
    folder = _checked(folder) if folder else ""
    return f"{folder}/{name}" if folder else name


def _is_shown(name):
    """Whether a file is an artifact, not one that is being written."""
    return not name.startswith(".runlode-")


class _Folder:
    """Artifacts in a folder of this machine."""

    def __init__(self, root):
        self._root = root

    def put(self, path, write):
        """Has a file written, under another name until it is complete."""
        final = os.path.join(self._root, *path.split("/"))
        os.makedirs(os.path.dirname(final), exist_ok=True)
        folder, name = os.path.split(final)
        beside = os.path.join(folder, f".runlode-{os.urandom(6).hex()}-{name}")
        try:
            write(beside)
            os.replace(beside, final)
        except BaseException:
            if os.path.exists(beside):
                os.unlink(beside)
            raise

    def list(self, path):
        folder = os.path.join(self._root, *path.split("/")) if path else self._root
        if os.path.isfile(folder):
            return [{"path": path, "is_dir": False, "size_bytes": os.path.getsize(folder)}]
        if not os.path.isdir(folder):
            return []
        found = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_shown(entry.name):
                    is_dir = entry.is_dir()
                    size = None if is_dir else entry.stat().st_size
                    found.append({"path": _joined(path, entry.name), "is_dir": is_dir, "size_bytes": size})
        return sorted(found, key=lambda one: one["path"])

    def local(self, path):
        from pathlib import Path

        found = Path(self._root, *path.split("/")) if path else Path(self._root)
        return found if found.exists() else None


class _Elsewhere:
    """Artifacts in a place that MLflow has code for."""

    def __init__(self, uri):
        registry = needed(
            "mlflow.store.artifact.artifact_repository_registry", f"Artifacts at {uri}", package="mlflow"
        )
        self._repository = registry.get_artifact_repository(uri)

    def put(self, path, write):
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, os.path.basename(path))
            write(file)
            self._repository.log_artifact(file, os.path.dirname(path) or None)

    def list(self, path):
        found = self._repository.list_artifacts(path or None)
        return [
            {"path": one.path, "is_dir": one.is_dir, "size_bytes": None if one.is_dir else one.file_size}
            for one in found
        ]

    def local(self, path):
        from pathlib import Path

        return Path(self._repository.download_artifacts(path))


def place(uri):
    """The place of artifacts that a URI names."""
    head = scheme(uri)
    if head == "file":
        from urllib.parse import unquote, urlsplit

        parts = urlsplit(uri)
        if parts.netloc not in ("", "localhost"):
            raise Unavailable(f"the artifacts are on another machine: {uri}")
        return _Folder(unquote(parts.path))
    return _Elsewhere(uri) if head else _Folder(uri)


def _copied(source):
    return lambda file: shutil.copyfile(source, file)


def _files_below(folder):
    """Paths of all files below a folder, relative to it. All of them before the first is copied: the artifacts may be
    below the same folder."""
    found = []
    for at, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        found += [os.path.relpath(os.path.join(at, name), folder) for name in sorted(names) if _is_shown(name)]
    return found


def _plain(value):
    """A value that JSON lacks."""
    for method in ("tolist", "item", "isoformat"):
        if hasattr(value, method):
            return getattr(value, method)()
    return str(value)


def _without_nan(value):
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, dict):
        return {key: _without_nan(inner) for key, inner in value.items()}
    return [_without_nan(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _columns(data):
    """A table as a dict of lists of equal length."""
    if isinstance(data, dict):
        columns = {str(key): value for key, value in data.items()}
        if not any(isinstance(value, (list, tuple)) or hasattr(value, "tolist") for value in columns.values()):
            return {key: [value] for key, value in columns.items()}
        columns = {key: value.tolist() if hasattr(value, "tolist") else list(value) for key, value in columns.items()}
    elif hasattr(data, "to_dict") and hasattr(data, "columns"):
        # A frame of pandas; the columns of polars have their own lists.
        try:
            columns = data.to_dict(orient="list")
        except TypeError:
            columns = data.to_dict(as_series=False)
        columns = {str(key): value for key, value in columns.items()}
    elif hasattr(data, "column_names") and hasattr(data, "to_dict"):
        columns = data.to_dict()
    else:
        rows = [dict(row) for row in data]
        names = list(dict.fromkeys(str(key) for row in rows for key in row))
        columns = {name: [row.get(name) for row in rows] for name in names}
    counts = {key: len(value) for key, value in columns.items()}
    if len(set(counts.values())) > 1:
        raise Invalid(f"the columns of a table have one length: {counts}")
    return columns


def _joined_tables(first, second):
    """The rows of both; None where one lacks a column."""
    out = {}
    rows = [len(next(iter(table.values()), [])) for table in (first, second)]
    for name in dict.fromkeys([*first, *second]):
        out[name] = first.get(name, [None] * rows[0]) + second.get(name, [None] * rows[1])
    return out


def _image(image):
    """An image of Pillow: itself, or made of an array of shape (h, w) or (h, w, 1 | 3 | 4)."""
    pillow = needed("PIL.Image", "Run.log_image", package="pillow")
    if isinstance(image, pillow.Image):
        return image
    numpy = needed("numpy", "Run.log_image of an array")
    if hasattr(image, "detach"):
        image = image.detach().cpu()
    array = numpy.asarray(image)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"an image is an array of numbers or an image of Pillow, not {type(image).__name__}")
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))):
        raise Invalid(f"an image has the shape (h, w) or (h, w, 1 | 3 | 4), not {array.shape}")
    if array.dtype.kind in "iu":
        if array.size and (array.min() < 0 or array.max() > 255):
            raise Invalid(f"whole numbers of an image are 0 to 255, not {array.min()} to {array.max()}")
    else:
        array = array.astype("float64")
        if array.size and (array.min() < 0 or array.max() > 1):
            raise Invalid(f"fractions of an image are 0 to 1, not {array.min()} to {array.max()}")
        array = array * 255
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return pillow.fromarray(array.astype("uint8"))


_TABLES = "mlflow.loggedArtifacts"
_IMAGES = "mlflow.loggedImages"
# The side of the small copies that MLflow's pages show.
_SMALL = 256


class OfRun:
    def log_artifact(self, local_path, artifact_path=None):
        """Copies a file, or a folder with all that is below it, to the run's artifacts. Replaces a file of this name.

        artifact_path: folder in the run's artifacts. Default: the top.

            run.log_artifact("train.py", "code")
        """
        local_path = expanded(os.fspath(local_path))
        name = os.path.basename(os.path.abspath(local_path))
        if os.path.isdir(local_path):
            return self.log_artifacts(local_path, _joined(artifact_path, name))
        if not os.path.isfile(local_path):
            raise FileNotFoundError(f"there is no file {local_path!r} to log as an artifact")
        place(self.artifact_uri).put(_joined(artifact_path, name), _copied(local_path))

    def log_artifacts(self, local_dir, artifact_path=None):
        """Copies all that is below a folder to the run's artifacts.

        artifact_path: folder in the run's artifacts. Default: the top.

            run.log_artifacts("checkpoints", "checkpoints")
        """
        local_dir = expanded(os.fspath(local_dir))
        if not os.path.isdir(local_dir):
            raise NotADirectoryError(f"there is no folder {local_dir!r} to log as artifacts")
        to = place(self.artifact_uri)
        for file in _files_below(local_dir):
            name = file.replace(os.sep, "/")
            to.put(_joined(artifact_path, name), _copied(os.path.join(local_dir, file)))

    def log_text(self, text, artifact_file):
        """Writes a text as an artifact, in UTF-8.

            run.log_text("it converged", "notes/summary.md")
        """

        def write(file):
            with open(file, "w", encoding="utf-8", newline="") as out:
                out.write(text)

        place(self.artifact_uri).put(_checked(artifact_file), write)

    def log_dict(self, dictionary, artifact_file):
        """Writes a dict or list as an artifact: YAML if the name ends in `.yaml` or `.yml` (needs PyYAML), else JSON.

            run.log_dict({"layers": [64, 64]}, "config.json")
        """
        if os.path.splitext(artifact_file)[1] in (".yaml", ".yml"):
            yaml = needed("yaml", "Run.log_dict to a YAML file", package="pyyaml")
            text = yaml.safe_dump(dictionary, sort_keys=False, allow_unicode=True)
        else:
            text = json.dumps(dictionary, indent=2, default=_plain, ensure_ascii=False)
        self.log_text(text, artifact_file)

    def log_figure(self, figure, artifact_file, **save):
        """Saves a figure of Matplotlib or Plotly as an artifact; the ending of the name is its format. Plotly's figures
        become pages (`.html`) or pictures (needs kaleido).

        save: arguments of the figure's own `savefig`, `write_html` or `write_image`.

            run.log_figure(figure, "plots/loss.png", dpi=200)
        """
        if hasattr(figure, "savefig"):
            write = figure.savefig
        elif hasattr(figure, "write_html"):
            is_page = os.path.splitext(artifact_file)[1] in (".html", ".htm")
            write = figure.write_html if is_page else figure.write_image
        else:
            raise TypeError(f"a figure of Matplotlib or Plotly was expected, not {type(figure).__name__}")
        place(self.artifact_uri).put(_checked(artifact_file), lambda file: write(file, **save))

    def log_image(self, image, artifact_file=None, *, key=None, step=None, timestamp_ms=None):
        """Saves an image: of Pillow, or an array of shape (h, w) or (h, w, 1 | 3 | 4), of whole numbers 0 to 255 or
        fractions 0 to 1. Needs Pillow.

        artifact_file: its name; the ending is its format.
        key, step, timestamp_ms: instead of a name, for images of one kind over the steps of a run; MLflow's pages show
            them as a series.

            run.log_image(pixels, "samples/first.png")
            run.log_image(pixels, key="samples", step=3)
        """
        if (artifact_file is None) == (key is None):
            raise Invalid("give either artifact_file or key")
        made = _image(image)
        to = place(self.artifact_uri)
        if artifact_file is not None:
            if step is not None or timestamp_ms is not None:
                raise Invalid("step and timestamp_ms go with key, not with artifact_file")
            return to.put(_checked(artifact_file), made.save)
        if not key or not all((c.isascii() and c.isalnum()) or c in "_-./ " for c in key):
            raise Invalid(f"the key of an image has letters, digits, and _-./ and spaces, not {key!r}")
        import time
        import uuid

        when = int(time.time() * 1000) if timestamp_ms is None else timestamp_ms
        name = f"images/{key.replace('/', '~')}+step+{step or 0}+timestamp+{when}+{uuid.uuid4()}"
        width, height = made.size
        most = max(width, height, 1)
        small = made.resize((max(1, width * _SMALL // most), max(1, height * _SMALL // most)))
        to.put(f"{name}.png", made.save)
        to.put(f"{name}+compressed.webp", small.save)
        self.set_tags({_IMAGES: True})

    def log_table(self, data, artifact_file):
        """Saves a table as an artifact that MLflow's pages show as one. Rows are added to a table of this name.

        data: dict of columns, list of dicts, a frame of pandas or polars, or a `Table`.
        artifact_file: ends in `.json`, or in `.parquet` (needs pandas and pyarrow).

            run.log_table({"input": ["a", "b"], "correct": [True, False]}, "eval/answers.json")
        """
        artifact_file = _checked(artifact_file)
        ending = os.path.splitext(artifact_file)[1]
        if ending not in (".json", ".parquet"):
            raise Invalid(f"the name of a table ends in .json or .parquet: {artifact_file!r}")
        columns = _columns(data)
        to = place(self.artifact_uri)
        before = to.local(artifact_file) if to.list(artifact_file) else None
        if ending == ".json":
            if before is not None:
                old = json.loads(before.read_text(encoding="utf-8"))
                named = {name: [row[at] for row in old["data"]] for at, name in enumerate(old["columns"])}
                columns = _joined_tables(named, columns)
            rows = [list(row) for row in zip(*columns.values())]
            text = json.dumps({"columns": list(columns), "data": rows}, default=_plain, ensure_ascii=False)
            if "NaN" in text or "Infinity" in text:
                rows = _without_nan(json.loads(text)["data"])
                text = json.dumps({"columns": list(columns), "data": rows}, ensure_ascii=False)
            self.log_text(text, artifact_file)
        else:
            pandas = needed("pandas", "Run.log_table to a .parquet file")
            needed("pyarrow", "Run.log_table to a .parquet file")
            frame = pandas.DataFrame(columns)
            if before is not None:
                frame = pandas.concat([pandas.read_parquet(before), frame], ignore_index=True)
            to.put(artifact_file, lambda file: frame.to_parquet(file, index=False))
        tables = json.loads(self.tags.get(_TABLES, "[]"))
        if (this := {"path": artifact_file, "type": "table"}) not in tables:
            self.set_tags({_TABLES: json.dumps([*tables, this])})

    def artifacts(self, path=""):
        """The artifacts of the run in a folder: list of dicts with path, is_dir, and size_bytes (None for folders).

        path: the folder. Default: the top.

            [artifact["path"] for artifact in run.artifacts("plots")]
        """
        return place(self.artifact_uri).list(_checked(path) if path else "")

    def artifact_path(self, path=""):
        """An artifact as a `pathlib.Path` to read; files that are kept elsewhere are downloaded. Raises NotFound.

            run.artifact_path("notes/summary.md").read_text()
        """
        return _found(self.artifact_uri, self.run_id, path)


def _found(uri, run_id, path):
    found = place(uri).local(_checked(path) if path else "")
    if found is None:
        names = [one["path"] for one in place(uri).list(os.path.dirname(path))] if path else []
        listed = f"; there are {', '.join(names[:10])}" if names else ""
        raise NotFound(f"run {run_id} has no artifact {os.fspath(path)!r}{listed}")
    return found


class OfStore:
    def artifacts(self, run, path=""):
        """The artifacts of a run in a folder; as `Run.artifacts`.

            store.artifacts("trial-18")
        """
        return place(self.get_run(run)["artifact_uri"]).list(_checked(path) if path else "")

    def artifact_path(self, run, path=""):
        """An artifact of a run as a `pathlib.Path` to read; as `Run.artifact_path`.

            store.artifact_path("trial-18", "notes/summary.md").read_text()
        """
        info = self.get_run(run)
        return _found(info["artifact_uri"], info["run_id"], path)
