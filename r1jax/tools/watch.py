"""Page of a run that is under way: its curves and its newest samples, in a browser on this machine.

    r1jax watch runs/a                     prints the address, and opens it
    r1jax watch runs/a --port 8000 --no-browser

The page is the run's report with the newest samples, made anew when the run has written more. It reads the workdir
and writes nothing into it. Ctrl-C ends it, and not the run.
"""

import argparse
import html
import http.server
import pathlib
import threading
import webbrowser
from collections.abc import Sequence

from r1jax.config import ConfigError, exit_status, path_given
from r1jax.io.console import say

FILES = ("config.json", "metrics.jsonl", "evals.jsonl", "benchmarks.jsonl")
POLL_S = 3  # seconds between a page's questions for something new
# The version of a page is the sizes and times of the files that it was made from.
SCRIPT = f"""<script>
let shown = null;
setInterval(async () => {{
  const version = await fetch("version").then((reply) => reply.text()).catch(() => shown);
  if (shown !== null && version !== shown) location.reload();
  shown = version;
}}, {POLL_S * 1000});
</script>"""


def parser() -> argparse.ArgumentParser:
    """The command line of `r1jax watch`."""
    parser = argparse.ArgumentParser(
        prog="r1jax watch",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=path_given, metavar="RUN", help="the workdir of a training")
    parser.add_argument("--port", type=int, default=0, help="of the page's address; default: a free one")
    parser.add_argument("--no-browser", action="store_true", help="print the address, and open nothing")
    return parser


def check_run(run: pathlib.Path) -> None:
    """Raises ConfigError where a folder is not the workdir of a training."""
    if not run.is_dir():
        raise ConfigError(f"no folder {run}: give the --workdir of a training")
    if not any((run / name).exists() for name in FILES):
        raise ConfigError(f"{run} is no run: it holds none of {', '.join(FILES)}; give the --workdir of a training")


def version(run: pathlib.Path) -> str:
    """Text that changes when the run has written more."""
    stats = [(run / name).stat() for name in FILES if (run / name).exists()]
    return " ".join(f"{each.st_size}:{each.st_mtime_ns}" for each in stats)


class Page:
    """The page of a run, made when it is asked for and the run has written more since."""

    def __init__(self, run: pathlib.Path):
        self._run, self._made_of, self._text, self._lock = run, "", "", threading.Lock()

    def text(self) -> str:
        """The page; one that says why, where there is nothing to show yet."""
        from r1jax.report.run import page

        with self._lock:
            now = version(self._run)
            if now != self._made_of:
                try:
                    self._text, self._made_of = page(self._run, newest=True), now
                except FileNotFoundError:
                    self._text = _notice(f"{self._run} has no step and no evaluation yet; this page waits for them.")
                except ValueError as error:  # a line that the run has not written to its end; the next poll reads it
                    self._text = self._text or _notice(str(error))
            return self._text.replace("</head>", SCRIPT + "</head>", 1)


def _notice(text: str) -> str:
    return f'<!DOCTYPE html><html><head><meta charset="utf-8"></head><body><p>{html.escape(text)}</p></body></html>'


def make_server(run: pathlib.Path, port: int = 0) -> http.server.ThreadingHTTPServer:
    """The server of a run's page, on this machine's loopback address alone.

    Args:
        port: 0: a free one.

    Raises:
        ConfigError: the port cannot be had.
    """
    page = Page(run)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host = self.headers.get("Host", "").rpartition(":")[0]
            if self.path not in ("/", "/version") or host not in ("127.0.0.1", "localhost"):
                self.send_error(404)  # a page of another site that has its name resolved to this machine, too
                return
            body = (version(run) if self.path == "/version" else page.text()).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Requests are not printed."""

    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--port={port} cannot be had: {error}; without --port a free one is taken") from error


def watch(run: pathlib.Path, port: int, browser: bool) -> None:
    """Serves the page until Ctrl-C; raises as `check_run` and `make_server`."""
    check_run(run)
    with make_server(run, port) as server:
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        say(f"{run}: {address} (Ctrl-C ends this page, not the run)")
        if browser:
            webbrowser.open(address)
        server.serve_forever()


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status, see `config.exit_status`."""
    args = parser().parse_args(argv)
    return exit_status(lambda: watch(args.run, args.port, not args.no_browser), f"watching {args.run}")
