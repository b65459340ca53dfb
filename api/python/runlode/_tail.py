"""The store's events as an iterator, also for asyncio."""

import threading
import time
from collections import deque

# Batches of a page, and how long one call waits for the first: so long a Ctrl-C or a cancelled task takes.
_BATCHES = 1024
_WAIT_MS = 200


class Tail:
    """Events from a position on: first what is there, then what comes. `Store.tail` makes it.

    An event is a dict with position, time_ms (Unix ms of the append), actor (None if nobody said), event (`RunCreated`,
    `ParamsLogged`, ...) and what that kind says: run_id, name, tags, ... Points are events `PointsLogged`, one for each
    series of a batch: run_id, key, and lists steps, timestamps_ms, values.

    Only what would outlive the machine is shown: points logged "buffered" come within about 100 ms. Several events may
    have one position: they were one batch.

    Use it with `for` or `async for`, not both at once. The waiting holds neither the GIL nor the event loop.
    """

    def __init__(self, reader, timeout=None):
        self._reader = reader
        self._timeout = timeout
        self._events = deque()
        self._closed = False
        # A task that was cancelled may have left a thread that still reads.
        self._reading = threading.Lock()

    @property
    def position(self):
        """Where to go on after a restart, as `from_position`: behind the last batch that was given out whole."""
        if self._events:
            # The batch of the next event may have been given out in part.
            return self._events[0]["position"]
        return self._reader.next

    def close(self):
        """Ends the iteration; one that waits ends within 0.2 s."""
        self._closed = True
        self._events.clear()

    def __iter__(self):
        return self

    def __aiter__(self):
        return self

    def _wait_ms(self, until):
        """How long the next read may wait; None: the time is over."""
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
                # A page that is read while this task is cancelled is not lost: the thread puts it here.
                await loop.run_in_executor(None, self._fetch, wait_ms)
                wait_ms = self._wait_ms(until)
        if self._closed or not self._events:
            raise StopAsyncIteration
        return self._events.popleft()

    def _fetch(self, wait_ms):
        with self._reading:
            if not self._events:
                self._events.extend(self._reader.read(_BATCHES, wait_ms))

    def __repr__(self):
        return f"<runlode.Tail at position {self.position}>"


Tail.__module__ = "runlode"
