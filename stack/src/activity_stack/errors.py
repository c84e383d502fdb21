"""What can go wrong with the local stack, each with what to do about it."""


class StackError(Exception):
    """The stack cannot do what was asked; the message says what was expected, what came, and what to do."""


class PortInUse(StackError):
    """A port that a server of the stack needs is held by a process that the stack did not start."""


class DownloadFailed(StackError):
    """A jar could not be had, or is not the one that the lock names."""


class NotWaitedFor(StackError):
    """A server is starting still; another one failed meanwhile."""
