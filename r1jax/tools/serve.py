"""Server of models behind OpenAI's protocol, with a demonstration page.

    r1jax serve MODEL [MODEL ...] [--port 8000] [--host 127.0.0.1] [--api-key KEY] [--slots 16] [--queue 64]

MODEL is an r1jax model folder or the workdir of a training, a Hugging Face folder, a .gguf file, or the name of a
shipped model (mini-base, mini-r1-zero, mini-r1). Clients of OpenAI's protocol find it at http://HOST:PORT/v1, people
its page at http://HOST:PORT/. Without a key only this machine can be listened to. Ctrl-C or SIGTERM ends the server
when the requests that run are done; a second one at once.
Errors are one line; with R1JAX_DEBUG=1 in the environment they keep their traceback.
"""

import argparse
import os
import pathlib
import signal
import socket
import webbrowser
from collections.abc import Sequence

from r1jax.config import ConfigError, exit_status
from r1jax.serve.config import INSTALL, ServeConfig


def parser() -> argparse.ArgumentParser:
    """The command line of `r1jax serve`."""
    parser = argparse.ArgumentParser(
        prog="r1jax serve",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("models", metavar="MODEL", nargs="+", help="a folder, a file, or the name of a shipped model")
    add_options(parser)
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of a server."""
    default = ServeConfig()
    parser.add_argument("--host", default=default.host, help="address to listen on; by default %(default)s")
    parser.add_argument("--port", type=int, default=default.port, help="by default %(default)s; 0: a free one")
    parser.add_argument(
        "--api-key",
        default=os.environ.get("R1JAX_API_KEY", ""),
        help="that clients must send; by default the environment variable R1JAX_API_KEY",
    )
    parser.add_argument("--slots", type=int, default=default.slots, help="sequences of a model decoded together")
    parser.add_argument("--queue", type=int, default=default.queue, help="sequences of a model that may wait")
    parser.add_argument("--tensor", type=int, default=1, help="devices that share a model's weights; by default 1")
    parser.add_argument(
        "--max-length",
        type=int,
        default=0,
        help="tokens of prompt and completion; by default the model's, up to 4096",
    )


def run(models: Sequence[str], args: argparse.Namespace, browser: bool = False) -> None:
    """Serves until it is stopped.

    Args:
        browser: open the page.

    Raises:
        FileNotFoundError, ValueError: see `r1jax.serve.served.load`.
        ConfigError: settings that no server can have, or packages that are missing.
        OSError: the port is taken.
    """
    cfg = ServeConfig(args.host, args.port, args.api_key, args.slots, args.queue, args.max_length)
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise ConfigError(INSTALL) from error
    listener = _listen(cfg)
    from r1jax import running  # and JAX with it, which `--help` does without
    from r1jax.core.config import MeshConfig
    from r1jax.core.sharding import make_mesh
    from r1jax.serve import app, served

    running.keep_compiled(pathlib.Path.home() / ".cache" / "r1jax" / "xla")
    mesh = make_mesh(MeshConfig(tensor=args.tensor))
    loaded = served.load(models, cfg, mesh)
    host = f"[{cfg.host}]" if ":" in cfg.host else cfg.host
    url = f"http://{host}:{listener.getsockname()[1]}"

    def announce() -> None:
        listener.listen()  # from here on connections wait for the server, which accepts them next
        print(f"serving {', '.join(model.id for model in loaded)}: page {url}/, API {url}/v1", flush=True)
        if browser:
            webbrowser.open(f"{url}/")

    # uvicorn raises the signals that it took again when it is done.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    application = app.make_app(loaded, cfg, mesh, announce)
    # Longer than clients keep an idle connection: a request that is sent as the server closes it would be lost.
    settings = {"access_log": False, "lifespan": "on", "log_level": "warning", "timeout_keep_alive": 75}
    server = uvicorn.Server(uvicorn.Config(application, **settings))
    server.run(sockets=[listener])


def _listen(cfg: ServeConfig) -> socket.socket:
    """A socket at the config's address, so that a port that is taken is seen before models are loaded."""
    family = socket.AF_INET6 if ":" in cfg.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((cfg.host, cfg.port))
    except OSError as error:
        raise OSError(f"--host={cfg.host} --port={cfg.port} cannot be listened on: {error.strerror}") from error
    return listener


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status, see `config.exit_status`."""
    args = parser().parse_args(argv)
    return exit_status(lambda: run(args.models, args), "serving")
