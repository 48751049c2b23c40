"""Processor seconds of a run's first saves, with and without the cutting of arrays that all devices hold.

    XLA_FLAGS=--xla_force_host_platform_device_count=2 JAX_PLATFORMS=cpu python experiments/first_save.py
    XLA_FLAGS=--xla_force_host_platform_device_count=2 JAX_PLATFORMS=cpu python experiments/first_save.py --cut

A state of 80 float32 arrays of 12 shapes, some 22 MB, which every device holds whole. Processor seconds, which a busy
machine changes little: of this process, writing included, and of the calling thread, for which a step waits.
"""

import argparse
import pathlib
import tempfile
import time

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from r1jax.core import orbax
from r1jax.training.checkpoint import Checkpoints
from r1jax.training.config import CheckpointConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cut", action="store_true", help="as Orbax does it by itself")
    cut = parser.parse_args().cut
    whole = NamedSharding(jax.make_mesh((jax.device_count(),), ("data",)), PartitionSpec())
    arrays = {f"w{i}": jax.device_put(np.ones((256, 256 + 2 * (i % 12)), np.float32), whole) for i in range(80)}
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(pathlib.Path(folder), CheckpointConfig(every=1), 10)
        if cut:
            orbax.load().type_handlers.get_type_handler(jax.Array)._use_replica_parallel = True
        print("| save | s of the process | s of the thread that waits |\n|---|---|---|")
        for step in range(1, 5):
            began = time.process_time(), time.thread_time()
            checkpoints.save(step, {"state": arrays})
            waited = time.thread_time() - began[1]
            checkpoints._wait()
            print(f"| {step} | {time.process_time() - began[0]:.2f} | {waited:.2f} |", flush=True)
        checkpoints.close()


if __name__ == "__main__":
    main()
