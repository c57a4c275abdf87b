"""The errors that a user can cause and mend. Each message says what, where, and what to do."""


class DualrecError(Exception):
    """Any error with a message meant for the user; the command prints it without a traceback, and
    exits with its code."""

    exit_code = 1


class SettingsError(DualrecError, ValueError):
    """A settings file or a `--set` holds an unknown key or a value that is not allowed."""

    exit_code = 2


class InputError(DualrecError, ValueError):
    """Data that came from outside is not what it should be: names the file, the line or the field."""

    exit_code = 2


class AssetError(DualrecError):
    """A data set or a model could not be had, or what came is not what was expected."""


class WorkspaceError(DualrecError):
    """The workspace cannot be read or written, or lacks the artifact that a job rests on."""


class EndpointError(DualrecError):
    """A language model's endpoint can answer none of the job's requests: no key, a wrong one, no
    such model."""


class PublishError(DualrecError):
    """A night cannot be published or rolled back: it is not whole, was replaced, or another job
    came first."""


class GateError(DualrecError):
    """A night was scored, but a gate keeps it from being published; the night before stands."""

    exit_code = 3


class LeaseError(DualrecError):
    """Another driver is at work on this night, or took it over from this one."""

    exit_code = 4
