"""Types of `runlode`; the docstrings say what each function does."""

import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Literal, Protocol, TypeAlias, TypedDict

__version__: str
__all__: list[str]

class _Item(Protocol):
    # NumPy scalars, 0-d arrays, tensors of one element.
    def item(self) -> Any: ...

_Number: TypeAlias = float | int | _Item
# Shape (n,): NumPy arrays, anything with `__array__`, buffers, lists.
_Column: TypeAlias = Any
_Durability: TypeAlias = Literal["buffered", "sync"]
_Steps: TypeAlias = tuple[int | None, int | None]
_Status: TypeAlias = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]

class RunDict(TypedDict):
    run_id: str
    run_name: str
    experiment_id: str
    user_id: str
    status: _Status
    lifecycle: Literal["active", "deleted"]
    start_time_ms: int
    end_time_ms: int | None
    artifact_uri: str
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]

FieldChangeDict = TypedDict(
    "FieldChangeDict", {"field": str, "version": int | None, "from": str | None, "to": str | None}
)

class ChangeDict(TypedDict):
    position: int
    time_ms: int
    actor: str | None
    event: str
    changes: list[str]
    fields: list[FieldChangeDict]

class BranchMetricDict(TypedDict):
    points: int
    last_step: int
    last_value: float

class BranchDict(TypedDict):
    branch: int
    from_branch: int | None
    from_step: int | None
    ended_ms: int | None
    metrics: dict[str, BranchMetricDict]

class StatusDict(TypedDict):
    path: os.PathLike[str]
    holds: bool
    holder_pid: int | None
    inbox_bytes: int
    published: int
    durable: int
    applied: int
    sealed: int

def open(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    *,
    durability: _Durability | None = None,
    artifacts: str | None = None,
    strict: bool = False,
) -> Store: ...

class Store:
    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: _Durability = "buffered",
        artifacts: str | None = None,
        strict: bool = False,
    ) -> None: ...
    @property
    def path(self) -> os.PathLike[str]: ...
    def run(
        self,
        experiment: str = "Default",
        name: str | None = None,
        tags: Mapping[str, object] | None = None,
        params: Mapping[str, object] | None = None,
        *,
        strict: bool | None = None,
    ) -> Run: ...
    def resume(self, run_id: str, *, strict: bool | None = None) -> Run: ...
    def get_run(self, run: Run | str) -> RunDict: ...
    def liveness(self, run: Run | str) -> Literal["finished", "alive", "lost", "silent", "unknown"]: ...
    def search(
        self,
        filter: str = "",
        experiments: str | Iterable[str] | None = None,
        order_by: str | Iterable[str] | None = None,
        limit: int = 100_000,
        columns: str | Iterable[str] | None = None,
        *,
        deleted: bool = False,
    ) -> Table: ...
    def history(
        self,
        runs: Run | str | Iterable[Run | str],
        keys: str | Iterable[str] | None = None,
        *,
        steps: _Steps | None = None,
    ) -> Table: ...
    def downsample(self, run: Run | str, key: str, buckets: int = 320, *, steps: _Steps | None = None) -> Table: ...
    def changes(self, entity: Run | str) -> list[ChangeDict]: ...
    def as_of(self, position: int | None = None, *, time_ms: int | None = None) -> Past: ...
    def tail(self, from_position: int = 0, *, timeout: float | None = None) -> Tail: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...
    def status(self) -> StatusDict: ...
    def __enter__(self) -> Store: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> Literal[False]: ...

class Run:
    @property
    def run_id(self) -> str: ...
    @property
    def experiment_id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def status(self) -> _Status: ...
    @property
    def liveness(self) -> Literal["finished", "alive", "lost", "silent", "unknown"]: ...
    @property
    def params(self) -> dict[str, str]: ...
    @property
    def tags(self) -> dict[str, str]: ...
    @property
    def metrics(self) -> dict[str, float]: ...
    @property
    def dropped_points(self) -> int: ...
    def log(
        self,
        metrics: Mapping[str, _Number],
        step: int | None = None,
        timestamp_ms: int | None = None,
        *,
        strict: bool | None = None,
    ) -> bool: ...
    def log_points(
        self,
        key: str,
        values: _Column,
        steps: _Column | int | None = None,
        timestamps_ms: _Column | int | None = None,
        *,
        strict: bool | None = None,
    ) -> bool: ...
    def log_batch(
        self,
        columns: Mapping[str, _Column],
        steps: _Column | int | None = None,
        timestamps_ms: _Column | int | None = None,
        *,
        strict: bool | None = None,
    ) -> bool: ...
    def log_params(self, params: Mapping[str, object]) -> None: ...
    def set_tags(self, tags: Mapping[str, object]) -> None: ...
    def delete_tag(self, key: str) -> None: ...
    def rewind(self, to_step: int) -> int: ...
    def branches(self) -> list[BranchDict]: ...
    def branch_history(self, branch: int, key: str) -> dict[str, Any]: ...
    def end(self, status: str = "FINISHED") -> str: ...
    def __enter__(self) -> Run: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> Literal[False]: ...

class Past:
    @property
    def position(self) -> int: ...
    def run(self, run: Run | str) -> RunDict | None: ...
    def history(
        self,
        runs: Run | str | Iterable[Run | str],
        keys: str | Iterable[str] | None = None,
        *,
        steps: _Steps | None = None,
    ) -> Table: ...

class Table:
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...
    def __arrow_c_schema__(self) -> object: ...
    @property
    def num_rows(self) -> int: ...
    @property
    def num_columns(self) -> int: ...
    @property
    def column_names(self) -> list[str]: ...
    @property
    def nbytes(self) -> int: ...
    # NumPy arrays, frames of pandas and polars: typing this package needs none of these libraries.
    def to_numpy(self) -> dict[str, Any]: ...
    def to_arrow(self) -> Any: ...
    def to_pandas(self) -> Any: ...
    def to_polars(self) -> Any: ...
    def __getitem__(self, name: str) -> Any: ...
    def __len__(self) -> int: ...

class Tail(Iterator[dict[str, Any]], AsyncIterator[dict[str, Any]]):
    @property
    def position(self) -> int: ...
    def close(self) -> None: ...
    def __iter__(self) -> Tail: ...
    def __next__(self) -> dict[str, Any]: ...
    def __aiter__(self) -> Tail: ...
    async def __anext__(self) -> dict[str, Any]: ...

class Error(Exception): ...
class Invalid(Error, ValueError): ...
class NotFound(Error, LookupError): ...
class AlreadyExists(Error): ...
class Conflict(Error): ...
class ReadOnly(Error): ...
class StorageFull(Error): ...
class Unavailable(Error): ...
class Closed(Error): ...
