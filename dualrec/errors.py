"""The errors that a user can cause and fix. Each message says what, where, and what to do."""


class DualrecError(Exception):
    """An error with a message for the user.

    The command prints it without a traceback and exits with `exit_code`.
    """

    exit_code = 1


class SettingsError(DualrecError, ValueError):
    """A settings file or a `--set` holds an unknown key or a value that is not allowed."""

    exit_code = 2


class InputError(DualrecError, ValueError):
    """Input data is not what it should be; the message names the file, the line or the field."""

    exit_code = 2


class AssetError(DualrecError):
    """A data set or a model could not be fetched, or is not what was expected."""


class WorkspaceError(DualrecError):
    """The workspace cannot be read or written, or lacks an artifact that a job needs."""


class EndpointError(DualrecError):
    """A language model's endpoint can answer no request: no key, a wrong key, no such model."""


class PublishError(DualrecError):
    """A snapshot cannot be published or rolled back: incomplete, replaced, or another job won."""


class GateError(DualrecError):
    """The lists were scored, but a gate failed; the previous snapshot stays the current one."""

    exit_code = 3


class LeaseError(DualrecError):
    """Another driver is working on this run date, or has taken it over from this one."""

    exit_code = 4
