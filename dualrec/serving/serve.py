"""What `dualrec serve` does: starts Ray Serve here, or on the cluster of the settings, and serves
until it is stopped."""

from rich.console import Console

from dualrec.cluster.session import ray_session
from dualrec.config.settings import Settings
from dualrec.errors import PublishError, WorkspaceError
from dualrec.serving.night import newest_publication
from dualrec.storage.workspace import Workspace


def serve_nights(settings: Settings, console: Console) -> None:
    """Serve the published nights until the process is interrupted.

    Raises:
        PublishError: nothing was published yet.
        WorkspaceError: the workspace cannot be read, or the night cannot be served; the replicas'
            log says why.
    """
    workspace = Workspace.of(settings)
    standing = newest_publication(workspace)
    if standing is None:
        raise PublishError(f"{workspace.uri} holds no published night: run `dualrec nightly` first")
    with ray_session(settings.cluster):
        from ray import serve
        from ray.serve.config import HTTPOptions

        from dualrec.serving.deployment import application

        serve.start(
            http_options=HTTPOptions(host=settings.serving.host, port=settings.serving.port)
        )
        try:
            serve.run(application(settings), name="dualrec", route_prefix="/")
        except RuntimeError as error:
            raise WorkspaceError(f"the night of {standing[0]} cannot be served: {error}") from error
        address = f"http://{settings.serving.host}:{settings.serving.port}"
        console.print(
            f"serving the night of {standing[0]}, number {standing[1]}: {address}/docs; Ctrl-C ends it",
            soft_wrap=True,
        )
        _until_interrupted()
        serve.shutdown()


def _until_interrupted() -> None:
    import signal
    import threading

    ended = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: ended.set())
    ended.wait()
