"""Refuses bodies that are larger than any question can be, before they are read into memory."""

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 64 * 1024  # a thousand movies of 20 digits take 21 KiB


class BodyLimit:
    """ASGI middleware that answers 413 to a body over MOST_BYTES, whatever its headers say of it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body up to the limit, then hand it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body, more = b"", True
        while more and len(body) <= MOST_BYTES:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if len(body) > MOST_BYTES:
            refusal = JSONResponse(
                {"detail": f"the body is larger than {MOST_BYTES} bytes"}, status_code=413
            )
            await refusal(scope, receive, send)
            return
        await self.app(
            scope, _once({"type": "http.request", "body": body, "more_body": False}, receive), send
        )


def _once(first: Message, then: Receive) -> Receive:
    waiting = [first]

    async def receive() -> Message:
        return waiting.pop() if waiting else await then()

    return receive
