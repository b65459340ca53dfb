"""Makes what the model is handed: pandas' frames, numpy's arrays and Python's values.

A request is a header of JSON and a body of columns; the supervisor's module `wire` has the layout. Columns are views of
the body: nothing is copied, and a model may write into them. Requests without a schema hold the client's own bytes, to
which pandas and numpy give types here, in the versions that the model was made for.
"""
import base64
import datetime
import functools
import io
import json

NUMBERS = {
    "bool": "?", "int8": "i1", "int16": "i2", "int32": "i4", "int64": "i8", "uint8": "u1", "uint16": "u2",
    "uint32": "u4", "uint64": "u8", "float16": "f2", "float32": "f4", "float64": "f8", "datetime": "M8[ns]",
}
FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")


class Refused(Exception):
    """The request holds nothing that the model can be handed."""


class Unreadable(Exception):
    """The file in the request cannot be read; MLflow shows a traceback of it."""


def make(header, body, base):
    """The model's input."""
    kind = header["kind"]
    if kind == "frame":
        return frame(header, body, base)
    if kind == "tensor":
        return tensor(header["tensor"], body, base)
    if kind == "tensors":
        return {name: tensor(each, body, base) for name, each in header["tensors"]}
    if kind == "value":
        return value(header["value"], body, base)
    text = bytes(memoryview(body)[base:base + header["bytes"]])
    if kind == "json":
        return untyped(text, header)
    if kind == "csv":
        return csv(text, header.get("dtypes"))
    return parquet(text)


def params(header, body, base):
    """The parameters by name, or None."""
    pairs = header.get("params")
    return None if pairs is None else {name: value(each, body, base, is_param=True) for name, each in pairs}


def value(tree, body, base, is_param=False):
    if "plain" in tree:
        return tree["plain"]
    return tagged(tree["tagged"], body, base, is_param)


def tagged(node, body, base, is_param):
    if not isinstance(node, list):
        return node
    tag, rest = node[0], node[1:]
    if tag == "l":
        return [tagged(each, body, base, is_param) for each in rest]
    if tag == "d":
        return {key: tagged(each, body, base, is_param) for key, each in rest}
    if tag == "b":
        return base64.b64decode(rest[0])
    if tag == "t":
        return moment(rest[0], is_param)
    if tag == "n":
        return scalar(rest[0], tagged(rest[1], body, base, is_param))
    if tag == "y":
        return datetime.date(1970, 1, 1) + datetime.timedelta(days=rest[0])
    return tensor(rest[0], body, base)


def scalar(dtype, given):
    import numpy

    kinds = {"str": numpy.str_, "bytes": numpy.bytes_}
    return kinds[dtype](given) if dtype in kinds else numpy.dtype(NUMBERS[dtype]).type(given)


def moment(nanoseconds, is_param):
    if is_param:
        if nanoseconds is None:
            return None
        start = datetime.datetime(1970, 1, 1)
        return start + datetime.timedelta(microseconds=nanoseconds // 1000)
    import pandas

    return pandas.NaT if nanoseconds is None else pandas.Timestamp(nanoseconds)


def frame(header, body, base):
    """A frame of blocks (the columns of one type of numbers, one behind the other) and of other columns."""
    import numpy
    import pandas

    rows, names = header["rows"], labels(tuple(header["names"]))
    blocks = []
    for dtype, at, places in header["blocks"]:
        cells = numpy.frombuffer(body, NUMBERS[dtype], rows * len(places), base + at)
        blocks.append((cells.reshape(len(places), rows), places))
    if len(blocks) == 1 and len(blocks[0][1]) == len(names):
        made = pandas.DataFrame(blocks[0][0].T, columns=names, copy=False)
    else:
        others = [(column(each, body, base), place) for place, each in header["others"]]
        made = assembled(blocks, others, rows, names)
    if "index" in header:
        made.index = row_labels(column(header["index"], body, base))
    return made


def row_labels(cells):
    """The index of a frame. Labels of several levels come as lists."""
    import pandas

    if len(cells) and all(type(each) is list for each in cells):
        return pandas.MultiIndex.from_tuples([tuple(each) for each in cells])
    return pandas.Index(cells)


def assembled(blocks, others, rows, names):
    import numpy
    import pandas

    index = pandas.RangeIndex(rows)
    if has_blocks():
        whole = [(cells, numpy.array(places)) for cells, places in blocks]
        # A series of objects is a block of one row.
        whole += [(cells if is_extension(cells) else cells.to_numpy().reshape(1, -1), numpy.array([place]))
                  for cells, place in others]
        if whole:
            return pandas.api.internals.create_dataframe_from_blocks(whole, index=index, columns=names)
    columns = {place: cells[row] for cells, places in blocks for row, place in enumerate(places)}
    columns.update((place, cells) for cells, place in others)
    made = pandas.DataFrame({place: columns[place] for place in sorted(columns)}, index=index, copy=False)
    made.columns = names
    return made


def is_extension(cells):
    import pandas

    return isinstance(cells, pandas.api.extensions.ExtensionArray)


@functools.lru_cache(maxsize=None)
def has_blocks():
    """Whether pandas makes frames of blocks, as since version 3: five times as fast for few rows of many columns."""
    import pandas

    return hasattr(getattr(pandas.api, "internals", None), "create_dataframe_from_blocks")


@functools.lru_cache(maxsize=64)
def labels(names):
    import pandas

    if names == tuple(range(len(names))):
        return pandas.RangeIndex(len(names))
    return pandas.Index(list(names))


def column(described, body, base):
    """A column of a frame: an array, or a series where pandas would guess another dtype."""
    import pandas

    dtype = described["dtype"]
    if dtype in NUMBERS:
        return numbers(described, body, base)
    cells = texts(described, body, base) if dtype in ("str", "bytes") else value(described["cells"], body, base)
    if dtype == "str" and has_str():
        return pandas.array(cells, dtype="str")
    return pandas.Series(objects(cells), dtype=object)


@functools.lru_cache(maxsize=None)
def has_str():
    """Whether text is a dtype of its own, as since pandas 3."""
    import pandas

    return int(pandas.__version__.split(".")[0]) >= 3


def numbers(described, body, base):
    import numpy

    dtype = numpy.dtype(NUMBERS[described["dtype"]])
    return numpy.frombuffer(body, dtype, described["length"], base + described["at"])


def texts(described, body, base):
    start = base + described["at"]
    cells = json.loads(bytes(memoryview(body)[start:start + described["bytes"]]))
    if described["dtype"] == "bytes":
        return [None if each is None else base64.b64decode(each) for each in cells]
    return cells


def objects(cells):
    import numpy

    # Item by item: numpy would make an inner dimension of lists.
    made = numpy.empty(len(cells), dtype=object)
    for place, each in enumerate(cells):
        made[place] = each
    return made


def tensor(described, body, base):
    import numpy

    dtype = described["dtype"]
    if dtype in NUMBERS:
        made = numbers(described, body, base)
    elif dtype in ("str", "bytes"):
        made = numpy.array(texts(described, body, base), dtype="U" if dtype == "str" else "S")
    else:
        made = objects(value(described["cells"], body, base))
    return made.reshape(described["shape"])


# Requests without a schema.


def untyped(text, header):
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused("Ensure that input is a valid JSON formatted string. Error: %r" % error) from error
    if header.get("unwrapped"):
        named = header.get("params_names", ())
        return {key: each for key, each in whole.items() if key not in named}
    data = {key: each for key, each in whole.items() if key in FORMATS}
    if header.get("by_type_hint"):
        return data["inputs"]
    (key, data), = data.items()
    try:
        if key == "dataframe_records":
            return records(data)
        if key == "dataframe_split":
            return split(data)
        return instances(data) if key == "instances" else arrays(data)
    except Refused:
        raise
    except Exception as error:
        raise Refused("%s cannot be read: %r" % (key, error)) from error


def records(data):
    import pandas

    if not isinstance(data, list):
        raise Refused("dataframe_records must be a list of records, and is a %s." % type(data).__name__)
    return pandas.DataFrame(data=data)


def split(data):
    import pandas

    if not isinstance(data, dict):
        raise Refused("dataframe_split must be an object, and is a %s." % type(data).__name__)
    if "data" not in data or set(data) - {"columns", "data", "index"}:
        raise Refused("dataframe_split must hold data, may hold columns and index, and holds %s." % sorted(data))
    return pandas.DataFrame(index=data.get("index"), columns=data.get("columns"), data=data["data"])


def arrays(data):
    import numpy

    if isinstance(data, dict):
        return {key: numpy.array(each) for key, each in data.items()}
    if isinstance(data, list) and all(isinstance(each, dict) for each in data):
        return [{key: numpy.array(each) for key, each in row.items()} for row in data]
    return numpy.array(data)


def instances(data):
    import numpy

    if isinstance(data, list) and data and isinstance(data[0], dict):
        columns = {}
        for row in data:
            for key, each in row.items():
                columns.setdefault(key, []).append(numpy.array(each))
        made = {key: numpy.array(each) for key, each in columns.items()}
    else:
        made = arrays(data)
    if isinstance(made, dict) and len({len(each) for each in made.values()}) > 1:
        raise Refused("The values of instances have different lengths for different names.")
    return made


def csv(text, dtypes):
    import pandas

    try:
        text = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused("Ensure that input is a valid UTF-8 encoded string. Error: %r" % error) from error
    try:
        options = {} if dtypes is None else {"dtype": dict(dtypes)}
        return pandas.read_csv(io.StringIO(text), **options)
    except Exception as error:
        raise Unreadable("CSV", "to_csv", error) from error


def parquet(data):
    import pandas

    try:
        return pandas.read_parquet(io.BytesIO(data))
    except Exception as error:
        raise Unreadable("Parquet", "to_parquet", error) from error
