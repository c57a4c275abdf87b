"""Whether anybody answers at an address, and why not. Knows HTTP; not what is asked for."""


def why_unreachable(url: str, timeout_s: float | tuple[float, float]) -> str | None:
    """What went wrong on the way to `url`, or None where somebody answers, with whatever status.

    Args:
        timeout_s: of each wait; a pair is for the connection and for the answer.
    """
    import requests

    try:
        requests.head(url, timeout=timeout_s, allow_redirects=False).close()
    except requests.RequestException as error:
        return innermost(error)
    return None


def innermost(error: Exception) -> str:
    """One line for a nest of wrapped network errors: the innermost says what happened."""
    inner: BaseException = error
    while (cause := inner.__cause__ or inner.__context__) is not None:
        inner = cause
    return " ".join(str(inner).split()) or type(inner).__name__
