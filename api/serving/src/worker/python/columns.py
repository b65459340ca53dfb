"""Answers of plain types as their columns, which the server writes as the same JSON, or to a file.

The supervisor's module `wire` has the layout. Numbers are sent as numpy has them: no cell becomes an object of Python.
What is not plain (objects, times, types of extensions, repeated names) is written as JSON, where a client can see all of
it; a file takes times and missing texts as columns, too, and each column of a frame by itself (`by_rows`).
"""
import json
import struct
import sys

# Of plain numbers, by numpy's name.
NUMBERS = {
    "|b1": "bool", "|i1": "int8", "<i2": "int16", "<i4": "int32", "<i8": "int64", "|u1": "uint8", "<u2": "uint16",
    "<u4": "uint32", "<u8": "uint64", "<f2": "float16", "<f4": "float32", "<f8": "float64",
}
# Fewer elements of an array are JSON sooner than they are columns; of a frame even one is not.
CELLS_MIN = 64
ALIGN = 8


class Unfit(Exception):
    """Not all of the answer is columns of plain types."""


def packed(given, by_rows, is_together, encode):
    """The pieces of an answer, or None if it is to be JSON; `encode` is what writes that."""
    body = Body(by_rows, encode)
    try:
        header = whole(given, body, 0 if by_rows or is_together else CELLS_MIN)
        text = json.dumps(header).encode("ascii")
    # A lone surrogate is no UTF-8; a year beyond 2262 has no nanoseconds.
    except (Unfit, UnicodeEncodeError, OverflowError):
        return None
    head = struct.pack("<Q", len(text)) + text
    return [head + bytes(-len(head) % ALIGN), *body.pieces]


class Body:
    """Bytes in pieces, each beginning at a boundary."""

    def __init__(self, by_rows, encode):
        self.pieces, self.length = [], 0
        self.by_rows, self.encode = by_rows, encode

    def put(self, piece):
        """Puts bytes behind all others; where they are."""
        at, length = self.length, memoryview(piece).nbytes
        padding = -length % ALIGN
        self.pieces.append(piece)
        if padding:
            self.pieces.append(bytes(padding))
        self.length = at + length + padding
        return at


def whole(given, body, cells_min):
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if numpy is None:
        raise Unfit
    kind = type(given)
    if kind is numpy.ndarray:
        if given.ndim == 0 or given.size < cells_min:
            raise Unfit
        return {"tensor": array(given, body), "shape": given.shape}
    if kind is dict:
        if not given or not all(type(each) is numpy.ndarray and type(key) is str for key, each in given.items()):
            raise Unfit
        if sum(each.size for each in given.values()) < cells_min:
            raise Unfit
        return {"tensors": [(named(key), array(each, body), each.shape) for key, each in given.items()]}
    if pandas is None:
        raise Unfit
    if kind is pandas.Series:
        return table([0 if given.name is None else given.name], [given], len(given), body)
    if kind is pandas.DataFrame:
        if not given.size:
            raise Unfit
        columns = blocks(given, numpy) or [each for _, each in given.items()]
        return table(given.columns.tolist(), columns, len(given), body)
    raise Unfit


def table(labels, columns, rows, body):
    names = [named(each) for each in labels]
    if len(set(names)) != len(names):
        raise Unfit
    return {"frame": [(name, cells(each, body)) for name, each in zip(names, columns)], "rows": rows}


def named(label):
    """A label as the key of JSON that it becomes."""
    if type(label) is not str and type(label) is not int:
        raise Unfit
    name = str(label)
    name.encode("utf-8")
    return name


def blocks(frame, numpy):
    """The columns of a frame of numbers of one type, without a series for each; None for other frames."""
    first, *others = frame.dtypes.tolist()
    if getattr(first, "str", None) not in NUMBERS or any(each != first for each in others):
        return None
    return list(numpy.ascontiguousarray(frame.to_numpy().T))


def cells(column, body):
    """A column of a frame."""
    if getattr(column.dtype, "str", None) in NUMBERS:
        return array(column if not hasattr(column, "to_numpy") else column.to_numpy(), body)
    pandas = sys.modules["pandas"]
    try:
        return plain_cells(column, body, pandas)
    except (Unfit, UnicodeEncodeError, OverflowError):
        if not body.by_rows:
            raise
    try:
        return objects(column, body, pandas)
    except Exception as error:
        raise Unfit from error  # JSON of the whole answer says which value it is.


def plain_cells(column, body, pandas):
    if column.dtype.kind == "M" and body.by_rows and column.dt.tz is None:
        return array(column.to_numpy(), body)
    if column.dtype == object:
        return texts(column.tolist(), body)
    if isinstance(column.dtype, pandas.StringDtype):
        return texts(column.to_numpy(dtype=object, na_value=None).tolist(), body)
    raise Unfit


def array(given, body):
    """An array of numbers, times or texts."""
    import numpy

    name = NUMBERS.get(given.dtype.str)
    if name is not None:
        at = body.put(numpy.ascontiguousarray(given).reshape(-1).view("u1"))
        return {"dtype": name, "at": at, "length": given.size}
    if given.dtype.kind == "M" and body.by_rows:
        exact = given.astype("M8[ns]")
        if not (exact.astype(given.dtype) == given)[~numpy.isnat(given)].all():
            raise Unfit  # Nanoseconds reach from 1677 to 2262 only.
        return {**array(exact.view("i8"), body), "dtype": "datetime"}
    if given.dtype.kind in "UO":
        return texts(given.reshape(-1).tolist(), body)
    raise Unfit


def texts(cells, body):
    """Texts; in a file a missing one is missing, in JSON it is what it is."""
    import numpy

    described = {"dtype": "str", "length": len(cells)}
    if not all(type(each) is str for each in cells):
        if not body.by_rows or not all(each is None or type(each) is str for each in cells):
            raise Unfit
        described["valid"] = body.put(numpy.fromiter((each is not None for each in cells), "?", len(cells)))
        cells = ["" if each is None else each for each in cells]
    encoded = [each.encode("utf-8") for each in cells]
    ends = numpy.zeros(len(encoded) + 1, "i8")
    numpy.cumsum(numpy.fromiter(map(len, encoded), "i8", len(encoded)), out=ends[1:])
    joined = b"".join(encoded)
    described.update(at=body.put(joined), bytes=len(joined), offsets=body.put(ends))
    return described


def objects(column, body, pandas):
    """Cells of any kind as a list in JSON, for a file."""
    if isinstance(column.dtype, pandas.api.extensions.ExtensionDtype):
        column = column.astype(object).where(column.notna(), None)
    text = body.encode(column.tolist()).encode("ascii")
    return {"dtype": "json", "at": body.put(text), "bytes": len(text), "length": len(column)}
