"""Usage of a server: requests and their cost, a line a reply in a file, so that no kill forgets what was paid."""

import pathlib
import threading
from typing import Any

from r1jax.io import jsonl


class Usage:
    """Counts replies and their tokens, those of earlier runs on the same file among them.

    Replies whose sample was never kept count too: they were paid. Not counted: requests that failed, unless their
    useless reply named a price, and the one reply whose line a kill cut off.

    Attributes:
        replies: so far.
        prompt_tokens, completion_tokens: as the server reports them; hidden thoughts are among the latter.
        unreported: replies without a usage report.
    """

    def __init__(self, path: pathlib.Path | None = None, input_price: float = 0.0, output_price: float = 0.0):
        """Reads what is there.

        Args:
            path: a JSONL file, made with the first reply; None: nothing is kept.
            input_price, output_price: of a million tokens.
        """
        self._path, self._prices, self._lock = path, (input_price, output_price), threading.Lock()
        self.replies = self.prompt_tokens = self.completion_tokens = self.unreported = 0
        rows = jsonl.read_log(path, lambda row: {"prompt_tokens", "completion_tokens"} <= row.keys())[0] if path else []
        for row in rows:
            self._count(_tokens(row["prompt_tokens"]), _tokens(row["completion_tokens"]))

    def add(self, id_: str, sample: int, tokens: tuple[int, int] | None) -> None:
        """Counts a reply, from any thread.

        Args:
            id_: of the request's prompt.
            sample: of the request, which of its prompt's.
            tokens: of the prompt and of the reply; None: the server does not say.
        """
        prompt, completion = tokens or (None, None)
        with self._lock:
            self._count(prompt, completion)
            if self._path:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                row = {"id": id_, "sample": sample, "prompt_tokens": prompt, "completion_tokens": completion}
                jsonl.append(self._path, row)

    @property
    def cost(self) -> float:
        """In the prices' currency."""
        return (self.prompt_tokens * self._prices[0] + self.completion_tokens * self._prices[1]) / 1e6

    def row(self) -> dict[str, Any]:
        """All counts, as plain JSON; the cost where there are prices."""
        counts = {
            "replies": self.replies,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "untold": self.unreported,
        }
        return {**counts, "cost": self.cost} if any(self._prices) else counts

    def line(self) -> str:
        """The counts in words, for the console."""
        price = f", {self.cost:,.4f} in the prices' currency" if any(self._prices) else ""
        unreported = f" ({self.unreported} replies did not say)" if self.unreported else ""
        return (
            f"{self.replies} replies, {self.prompt_tokens:,} prompt and {self.completion_tokens:,} completion "
            f"tokens{unreported}{price}"
        )

    def _count(self, prompt: int | None, completion: int | None) -> None:
        self.replies += 1
        self.unreported += prompt is None
        self.prompt_tokens += prompt or 0
        self.completion_tokens += completion or 0


def _tokens(count: Any) -> int | None:
    """A count of a line; None: it holds none, or one that earlier versions took from a server unchecked."""
    return count if type(count) is int and count >= 0 else None
