"""The store's events as an iterator, for asyncio too."""

import threading
import time
from collections import deque

# Batches of a page, and how long one call waits for the first. Ctrl-C and cancelling a task take that long.
_BATCHES = 1024
_WAIT_MS = 200


class Tail:
    """Events from a position on: first the existing ones, then new ones. Made by `Store.tail`.

    An event is a dict with position, time_ms (Unix ms of the append), actor (None if not given), event (`RunCreated`,
    `ParamsLogged`, ...) and the fields of that kind: run_id, name, tags, ... Points come as events `PointsLogged`, one
    for each series of a batch: run_id, key, and lists steps, timestamps_ms, values.

    Events appear once they would survive a power cut: points logged "buffered" come within about 100 ms. Events of one
    batch have the same position.

    Use it with `for` or `async for`, not both at once. Waiting blocks neither the GIL nor the event loop.
    """

    def __init__(self, reader, timeout=None):
        self._reader = reader
        self._timeout = timeout
        self._events = deque()
        self._closed = False
        # A cancelled task may have left a thread that is still reading.
        self._reading = threading.Lock()

    @property
    def position(self):
        """The `from_position` to continue from after a restart: after the last batch that was returned completely."""
        if self._events:
            # The batch of the next event may have been returned in part.
            return self._events[0]["position"]
        return self._reader.next

    def close(self):
        """Ends the iteration, within 0.2 s if it is waiting."""
        self._closed = True
        self._events.clear()

    def __iter__(self):
        return self

    def __aiter__(self):
        return self

    def _wait_ms(self, until):
        """How long the next read may wait; None if the time is over."""
        if until is None:
            return _WAIT_MS
        left = until - time.monotonic()
        return None if left <= 0 else min(_WAIT_MS, int(left * 1000) + 1)

    def _until(self):
        return None if self._timeout is None else time.monotonic() + self._timeout

    def __next__(self):
        if not self._events and not self._closed:
            until = self._until()
            self._events.extend(self._reader.read(_BATCHES, 0))
            while not self._events and not self._closed:
                wait_ms = self._wait_ms(until)
                if wait_ms is None:
                    break
                self._events.extend(self._reader.read(_BATCHES, wait_ms))
        if self._closed or not self._events:
            raise StopIteration
        return self._events.popleft()

    async def __anext__(self):
        if not self._events and not self._closed:
            import asyncio

            loop = asyncio.get_running_loop()
            until = self._until()
            wait_ms = 0
            while not self._events and not self._closed and wait_ms is not None:
                # If this task is cancelled, the page that is being read is not lost: the thread stores it.
                await loop.run_in_executor(None, self._fetch, wait_ms)
                wait_ms = self._wait_ms(until)
        if self._closed or not self._events:
            raise StopAsyncIteration
        return self._events.popleft()

    def _fetch(self, wait_ms):
        with self._reading:
            if not self._events:
                self._events.extend(self._reader.read(_BATCHES, wait_ms))

    def __reduce__(self):
        raise TypeError(
            f"a Tail is of one process: send its position ({self.position}) and use "
            "runlode.open(path).tail(from_position=position) there"
        )

    def __repr__(self):
        return f"<runlode.Tail at position {self.position}>"


Tail.__module__ = "runlode"
