"""Config of the server; importable without JAX and without the server's dependencies."""

import dataclasses
import ipaddress

from r1jax.config import ConfigError, at_least, within

INSTALL = "the server needs packages that are not installed: pip install -e '.[serve]'"


@dataclasses.dataclass(frozen=True)
class ServeConfig:
    """The settings of the server.

    Attributes:
        host: address to listen on; all but loopback need a key.
        port: 0 takes a free one.
        api_key: that clients must send; "": none.
        slots: sequences of a model that are decoded together; rounded up so that devices get equally many.
        queue: sequences of a model that may wait for a slot; further requests are refused with status 429.
        max_length: tokens of a prompt and its completion together; 0: the model's context length, at most 4,096.
        window: decode steps in one device call: tokens come in windows of this size.
        temperature, top_p: of a request that does not say; those that the paper evaluates with.
        max_body_bytes: of a request.
        stall_s: seconds after which a client that does not read, or does not finish sending, is left.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str = ""
    slots: int = 16
    queue: int = 64
    max_length: int = 0
    window: int = 4
    temperature: float = 0.6
    top_p: float = 0.95
    max_body_bytes: int = 4 * 2**20
    stall_s: float = 60.0

    def __post_init__(self) -> None:
        at_least(1, self, "slots", "window", "max_body_bytes")
        at_least(0, self, "queue", "max_length", "temperature")
        within("(0, 1]", self, "top_p")
        within("[0, 65535]", self, "port")
        within("(0, 1000000]", self, "stall_s")
        if not self.api_key and not is_loopback(self.host):
            raise ConfigError(
                f"--host={self.host} can be reached by other machines: give a key that clients must send, by --api-key "
                "or the environment variable R1JAX_API_KEY, or listen on 127.0.0.1"
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
