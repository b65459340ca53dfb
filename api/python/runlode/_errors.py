"""What Runlode raises. All of it is an `Error`; the text says what, where and what to do."""


class Error(Exception):
    """Something went wrong; the classes below say what can be done."""


class Invalid(Error, ValueError):
    """An argument is wrong. Nothing was written."""


class NotFound(Error, LookupError):
    """The run, experiment, model or version is not there."""


class AlreadyExists(Error):
    """The name or id is taken."""


class Conflict(Error):
    """Somebody was faster: read again and decide again."""


class ReadOnly(Error):
    """The store was opened for reading only."""


class StorageFull(Error):
    """The disk (or quota) is full. What was acknowledged is kept; free some space and try again."""


class Unavailable(Error):
    """The store takes nothing now: its disk failed, or the process that holds it does not answer."""


class Closed(Error):
    """The store was closed."""


for _class in (Error, Invalid, NotFound, AlreadyExists, Conflict, ReadOnly, StorageFull, Unavailable, Closed):
    _class.__module__ = "runlode"
del _class
