"""A port for a test's own server, which no other program of this machine takes by chance."""

import pathlib
import random
import socket


def free_port() -> int:
    """A free TCP port below those that the kernel gives to connections and to servers that ask for any.

    It is free again when this returns: one that the kernel gave could then go to any connection before it is bound.
    """
    limits = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range")
    end = int(limits.read_text().split()[0]) if limits.exists() else 32768
    ports = random.SystemRandom()  # processes of one test run may be seeded alike
    while True:
        port = ports.randrange(max(1024, end - 10000), end)
        with socket.socket() as server:
            try:
                server.bind(("", port))
            except OSError:
                continue
            return port
