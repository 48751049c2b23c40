"""Commands of `r1jax`, a module each: its options (`parser`) and its work (`main`), which `r1jax.cli` calls."""

import sys

# `python -m r1jax.tools.grade` would load the module, do nothing and report success.
if sys.argv[:1] == ["-m"]:
    module = next((word for word in sys.orig_argv if word.startswith(__name__)), __name__)
    command = module.removeprefix(__name__).strip(".").replace("_", "-")
    sys.exit(f"{module} is not run by itself: use `r1jax {command or 'COMMAND'}` or `python -m r1jax`")
