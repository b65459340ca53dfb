"""The exceptions of Runlode. All are `Error`s; the text says what went wrong, where, and what to do."""


class Error(Exception):
    """Base class; the subclasses say what the caller can do."""


class Invalid(Error, ValueError):
    """An argument is wrong. Nothing was written."""


class NotFound(Error, LookupError):
    """The run, experiment, model or version does not exist."""


class AlreadyExists(Error):
    """The name or id is taken."""


class Conflict(Error):
    """Another writer was faster: read again, then decide again."""


class ReadOnly(Error):
    """The store was opened for reading only."""


class StorageFull(Error):
    """The disk (or quota) is full. Acknowledged data is kept; free some space and try again."""


class Unavailable(Error):
    """The store accepts no calls now: its disk failed, or the process that holds it does not answer."""


class Closed(Error):
    """The store was closed."""


for _class in (Error, Invalid, NotFound, AlreadyExists, Conflict, ReadOnly, StorageFull, Unavailable, Closed):
    _class.__module__ = "runlode"
del _class
