"""Where training runs are shown beside the workspace."""

from pydantic import field_validator

from dualrec.config.group import Group


class TrackingSettings(Group):
    """An MLflow server; its keys, where it asks for any, are in MLFLOW_TRACKING_USERNAME and
    _PASSWORD, or _TOKEN."""

    mlflow_uri: str | None = None  # as https://mlflow.example; None: none
    experiment: str = "dualrec"  # its runs are named after their artifacts

    @field_validator("mlflow_uri")
    @classmethod
    def _holds_no_key(cls, uri: str | None) -> str | None:
        if uri and "@" in uri:
            raise ValueError(
                "a user name or password in an address would reach logs; give them as MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD"
            )
        return uri
