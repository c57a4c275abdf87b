"""How fast and how much an endpoint is asked: requests a second, and tokens in all. Knows no
request and no Ray."""

import asyncio
import time


class Meter:
    """Holds back requests that come too fast, and refuses those that the spending cap has no tokens
    left for.

    A request's tokens are set aside before it is sent, so that requests under way cannot exceed the
    cap together; what it did not use is given back. One meter serves all senders.
    """

    def __init__(self, requests_per_second: float, max_total_tokens: int) -> None:
        self.interval_s, self.most = 1 / requests_per_second, max_total_tokens
        self.tokens, self.next_at = 0, 0.0

    async def admit(self, tokens: int) -> bool:
        """Set the tokens aside and wait for this request's turn; False, at once, where the cap is
        used up."""
        if self.most and self.tokens + tokens > self.most:
            return False
        self.tokens += tokens
        now = time.monotonic()
        turn = max(self.next_at, now)
        self.next_at = turn + self.interval_s
        await asyncio.sleep(turn - now)
        return True

    async def settle(self, set_aside: int, used: int) -> None:
        """Note what a request that was let in has really used."""
        self.tokens += used - set_aside
