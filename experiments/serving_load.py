"""Load on the server: many clients at once, some slow, some leaving, some malformed, and every outcome checked.

    python experiments/serving_load.py [MODEL] [--clients 64] [--seconds 60]

It starts `r1jax serve`, measures what its engine samples in one batch, and writes a table to standard output:
tokens a second beside the engine's own rate, time to the first token, outcomes by kind of client, and the memory and
open files of the server before and after. docs/serving.md has the result.
"""

import argparse
import asyncio
import collections
import dataclasses
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psutil

QUESTIONS = [f"What is {a} + {b}?" for a in range(2, 10) for b in (3, 5, 7, 11)]
MAX_TOKENS = 96
MALFORMED = (b"{", b'{"model": 5}', b'{"messages": [], "model": "%s"}', b'{"model": "%s", "foo": 1}', b"\xff" * 100)


@dataclasses.dataclass
class Outcomes:
    """Outcomes of requests.

    Attributes:
        counts: by kind of client and result.
        wrong: requests whose reply was neither right nor a clear refusal, with that reply.
        first_token_s: seconds from a request to its first text.
    """

    counts: collections.Counter[tuple[str, str]] = dataclasses.field(default_factory=collections.Counter)
    wrong: list[str] = dataclasses.field(default_factory=list)
    first_token_s: list[float] = dataclasses.field(default_factory=list)


def request(model: str, i: int, stream: bool) -> dict[str, Any]:
    """The i-th of the requests whose answers are known beforehand."""
    message = {"role": "user", "content": QUESTIONS[i % len(QUESTIONS)]}
    return {"model": model, "messages": [message], "seed": i, "max_tokens": MAX_TOKENS, "stream": stream}


def text_of(choice: dict[str, Any]) -> str:
    """All text of a message or of a delta."""
    return f"{choice.get('reasoning_content') or ''}|{choice.get('content') or ''}"


def joined(deltas: list[dict[str, Any]]) -> str:
    """The text of a streamed message."""
    parts = [text_of(delta).split("|", 1) for delta in deltas]
    return f"{''.join(part[0] for part in parts)}|{''.join(part[1] for part in parts)}"


class Load:
    """Clients of one server, and what they saw."""

    def __init__(self, url: str, model: str, expected: list[str]):
        """Takes the text of each of the requests, as it comes without load."""
        self._url, self._model, self._expected, self.seen = url, model, expected, Outcomes()

    async def run(self, clients: int, seconds: float) -> Outcomes:
        """Runs clients for some time; of ten six read at once, two read slowly, one leaves, one is malformed."""
        until = time.monotonic() + seconds
        kinds = ["reader"] * 6 + ["slow"] * 2 + ["leaving", "malformed"]
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=clients)
        async with httpx.AsyncClient(base_url=self._url, timeout=120, limits=limits) as http:
            await asyncio.gather(
                *(self._client(http, kinds[i % len(kinds)], random.Random(i), until) for i in range(clients))
            )
        return self.seen

    async def _client(self, http: httpx.AsyncClient, kind: str, rng: random.Random, until: float) -> None:
        while time.monotonic() < until:
            i = rng.randrange(len(self._expected))
            if kind == "malformed":
                await self._malformed(http, rng)
            elif kind == "reader" and rng.random() < 0.5:
                await self._whole(http, i)
            else:
                await self._stream(http, kind, i, rng)

    async def _whole(self, http: httpx.AsyncClient, i: int) -> None:
        reply = await http.post("/chat/completions", json=request(self._model, i, False))
        if reply.status_code != 200:
            await self._refused("reader", reply)
            return
        self._check("reader", i, text_of(reply.json()["choices"][0]["message"]))

    async def _stream(self, http: httpx.AsyncClient, kind: str, i: int, rng: random.Random) -> None:
        began, deltas = time.monotonic(), []
        leaves_after = rng.randrange(6) if kind == "leaving" else None
        async with http.stream("POST", "/chat/completions", json=request(self._model, i, True)) as reply:
            if reply.status_code != 200:
                await reply.aread()
                await self._refused(kind, reply)
                return
            async for line in reply.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                chunk = json.loads(line[6:])
                deltas.append(chunk["choices"][0]["delta"])
                if len(deltas) == 2:
                    self.seen.first_token_s.append(time.monotonic() - began)
                if leaves_after is not None and len(deltas) > leaves_after:
                    self.seen.counts[kind, "left"] += 1
                    return
                if kind == "slow":
                    await asyncio.sleep(0.1)
        self._check(kind, i, joined(deltas))

    async def _malformed(self, http: httpx.AsyncClient, rng: random.Random) -> None:
        body = rng.choice(MALFORMED).replace(b"%s", self._model.encode())
        reply = await http.post("/chat/completions", content=body)
        if reply.status_code == 400 and reply.json()["error"]["message"]:
            self.seen.counts["malformed", "refused (400)"] += 1
        else:
            self.seen.wrong.append(f"malformed: {reply.status_code} {reply.text[:200]}")
        await asyncio.sleep(0.05)

    async def _refused(self, kind: str, reply: httpx.Response) -> None:
        if reply.status_code == 429 and reply.headers.get("retry-after"):
            self.seen.counts[kind, "refused (429)"] += 1
            await asyncio.sleep(float(reply.headers["retry-after"]))
        else:
            self.seen.wrong.append(f"{kind}: {reply.status_code} {reply.text[:200]}")

    def _check(self, kind: str, i: int, text: str) -> None:
        if text == self._expected[i]:
            self.seen.counts[kind, "right"] += 1
        else:
            self.seen.wrong.append(f"{kind}: request {i}: {text!r}, not {self._expected[i]!r}")


def answers(url: str, model: str, count: int) -> list[str]:
    """The texts of the first requests, one at a time, without load."""
    with httpx.Client(base_url=url, timeout=120) as http:
        replies = [http.post("/chat/completions", json=request(model, i, False)).json() for i in range(count)]
    return [text_of(reply["choices"][0]["message"]) for reply in replies]


def sampled(url: str) -> float:
    """Tokens that the server has sampled, those of clients that left among them."""
    lines = httpx.get(url.removesuffix("/v1") + "/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("r1jax_sampled_tokens_total{"))


def started(model: str, slots: int) -> tuple[subprocess.Popen, str, str]:
    """A server, the address of its API and the name of its model."""
    command = [sys.executable, "-m", "r1jax", "serve", model, "--port=0", f"--slots={slots}", "--queue=64"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    announced = re.match(r"serving (\S+): page \S+ API (\S+)", process.stdout.readline())
    if not announced:
        raise SystemExit("the server did not start")
    return process, announced[2], announced[1]


def engine_rate(model: str, slots: int) -> float:
    """Tokens a second that the engine samples of the same questions in one batch, in a process of its own."""
    code = (
        "import sys; sys.path.insert(0, 'experiments'); import serving_load; "
        f"print(serving_load.batch_rate({model!r}, {slots}))"
    )
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def batch_rate(model: str, slots: int, rounds: int = 8) -> float:
    """See `engine_rate`; in this process."""
    from r1jax import cpu_devices

    cpu_devices.choose()
    import jax

    from r1jax.core.config import MeshConfig
    from r1jax.core.sharding import make_mesh
    from r1jax.inference.session import Request
    from r1jax.models.config import Truncation
    from r1jax.serve import served
    from r1jax.serve.completion import key_words
    from r1jax.serve.config import ServeConfig

    mesh = make_mesh(MeshConfig())
    with jax.set_mesh(mesh):
        [one] = served.load([model], ServeConfig(slots=slots), mesh)

        def draw(count: int) -> Iterator[int]:
            session = one.open_session()
            for i in range(count):
                text = one.chat_prompt([{"role": "user", "content": QUESTIONS[i % len(QUESTIONS)]}], None, {})
                ids = tuple(one.tokenizer.encode(text))
                truncation = Truncation(0.6, 0, 0.95)
                session.add(Request(ids, key_words(i, 0), MAX_TOKENS, truncation, one.tokenizer.eos_ids))
            while session.busy:
                for piece in session.advance():
                    yield len(piece.ids)

        sum(draw(slots))  # compiles
        began = time.monotonic()
        return sum(draw(slots * rounds)) / (time.monotonic() - began)


def table(seen: Outcomes, rate: float, engine: float, memory: tuple[int, int], files: tuple[int, int]) -> str:
    """The result as Markdown."""
    first = sorted(seen.first_token_s) or [float("nan")]
    rows = [
        ("tokens a second", f"{rate:,.0f}"),
        ("tokens a second of the engine in one batch", f"{engine:,.0f}"),
        ("ratio", f"{rate / engine:.2f}"),
        (
            "time to first token, median and 95th percentile",
            f"{first[len(first) // 2]:.2f} s, {first[int(len(first) * 0.95)]:.2f} s",
        ),
        ("memory of the server before and after", f"{memory[0] / 2**20:.0f} MiB, {memory[1] / 2**20:.0f} MiB"),
        ("open files before and after", f"{files[0]}, {files[1]}"),
        ("neither right nor clearly refused", f"{len(seen.wrong)}"),
        *((f"{kind}: {result}", f"{count:,}") for (kind, result), count in sorted(seen.counts.items())),
    ]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def main() -> None:
    """Runs the load and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="mini-r1-zero")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--slots", type=int, default=16)
    args = parser.parse_args()
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    engine = engine_rate(args.model, args.slots)
    process, url, name = started(args.model, args.slots)
    try:
        expected = answers(url, name, len(QUESTIONS))
        watched = psutil.Process(process.pid)
        asyncio.run(Load(url, name, expected).run(args.clients, 5.0))  # buffers and pools reach their size
        time.sleep(2)
        memory, files = watched.memory_info().rss, watched.num_fds()
        began, tokens = time.monotonic(), sampled(url)
        seen = asyncio.run(Load(url, name, expected).run(args.clients, args.seconds))
        rate = (sampled(url) - tokens) / (time.monotonic() - began)
        time.sleep(2)
        after = watched.memory_info().rss, watched.num_fds()
        print(table(seen, rate, engine, (memory, after[0]), (files, after[1])))
        for line in seen.wrong[:10]:
            print(line, file=sys.stderr)
    finally:
        process.terminate()
        process.wait(60)


if __name__ == "__main__":
    main()
