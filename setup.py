"""Packaging of r1jax, with the command `r1jax`, the config files and the base models that ship, and its extras."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
# Read, not imported: at build time the dependencies are not there yet.
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "r1jax/__init__.py").read_text("utf-8"), re.MULTILINE)[1]

# experiments/dependency_bounds.sh tests the lower bounds and the newest versions; beside a bound stands why older ones
# fail. jax 0.11 and later need Python 3.12: on 3.11 pip settles on 0.10.
JAX_RANGE = ">=0.10,<0.13"
SERVE = ["fastapi>=0.115,<1", "uvicorn>=0.30,<1", "prometheus-client>=0.20,<1"]
PYARROW = "pyarrow>=16,<28"  # earlier ones were built for numpy 1
DOCS = ["mkdocs>=1.6,<2", "mkdocs-material>=9.7,<10", "mkdocstrings[python]>=1.0,<2", "pymdown-extensions>=10.7,<14"]
BUCKETS = ["gcsfs>=2025.5"]  # numbered by date, as fsspec; Orbax uses google-cloud-storage, which it brings along
TRACK = ["tensorboard>=2.18,<3", "wandb>=0.21,<1"]  # of earlier ones nothing is known

setup(
    name="r1jax",
    version=VERSION,
    description="The DeepSeek-R1 recipe as a JAX research codebase",
    license="Apache-2.0",
    python_requires=">=3.11",
    # r1jax/configs is a link to configs/, which setuptools follows for a package that is named.
    packages=[*find_packages(include=["r1jax", "r1jax.*"]), "r1jax.configs"],
    package_data={
        "r1jax": ["shipped_models/**", "launch/*.sh"],
        "r1jax.configs": ["*.jsonl"],
        "r1jax.report": ["*.css", "*.j2", "*.json"],
        "r1jax.serve": ["page/*"],
    },
    entry_points={"console_scripts": ["r1jax = r1jax.cli:run"]},
    install_requires=[
        f"jax{JAX_RANGE}",
        # Named, not imported: r1jax's models are plain functions. It is part of the stack that people use r1jax with.
        "flax>=0.10,<1",
        "optax>=0.2.4,<1",
        "orbax-checkpoint>=0.11.22,<1",  # 0.11.15 fails on jax 0.10; before 0.11.22 no item_metadata
        "numpy>=2.0,<3",  # as jax; so is scipy
        "scipy>=1.14,<2",
        "sentencepiece>=0.2.0,<1",
        "tokenizers>=0.20,<1",
        "huggingface_hub>=0.34,<3",  # tokenizers needs it too; before 0.34 no command `hf`
        "gguf>=0.16,<1",  # 0.11 fails on numpy 2; before 0.16 no ReaderField.contents
        "fsspec>=2025.5",  # numbered by date
        "ml-collections>=1.0,<2",
        "mpmath>=1.3,<2",  # values of expressions to 60 digits
        # It grades answers, and a new minor version may grade differently: published figures were made with this one.
        "reasoning-gym>=0.1.25,<0.2",
        "sortedcontainers>=2.4,<3",  # LeetCode offers it to programs
        "regex>=2024.4",  # numbered by date; knows scripts and Unicode's classes of characters
        "py3langid>=0.4,<0.5",  # earlier ones have no LanguageIdentifier.from_model_file
        # Renders the chat templates of strangers: earlier sandboxes can be left.
        "jinja2>=3.1.6,<4",
        "markdown-it-py>=3,<5",
        "matplotlib>=3.9,<4",  # earlier ones were built for numpy 1
        "rich>=13,<16",
        "argcomplete>=3.5,<4",  # completes commands, configs and their fields in the shell
    ],
    extras_require={
        "cuda": [f"jax[cuda12]{JAX_RANGE}"],
        "tpu": [f"jax[tpu]{JAX_RANGE}", *BUCKETS],
        # Data, models and workdirs in buckets of Google Cloud Storage, gs://.
        "buckets": [*BUCKETS],
        # Grouped products of experts on NVIDIA's GPUs.
        "experts": ["tokamax>=0.0.12,<0.1"],
        # The server and its page.
        "serve": [*SERVE],
        # Reads data in parquet files, and in folders that `datasets` saved.
        "parquet": [PYARROW],
        # Curves beside metrics.jsonl: config.track.
        "track": [*TRACK],
        # The documentation as a site: mkdocs.yml.
        "docs": [*DOCS],
        # A new minor version of ruff brings new complaints: it is raised on purpose, not by the calendar.
        # math-verify is what the tests compare plain numbers with.
        "dev": [
            "pytest>=8,<10",
            "setuptools>=77",  # builds the wheel that a test looks into
            "pytest-xdist>=3.8,<4",  # before, no --no-loadscope-reorder
            "hypothesis>=6.100,<7",
            "math-verify>=0.9,<0.10",
            PYARROW,
            "datasets>=3,<6",  # writes folders that tests read
            *SERVE,
            "openai>=1.109,<4",  # before, no openai.omit
            "httpx>=0.27,<1",
            "psutil>=5.9,<8",
            "playwright>=1.45,<2",  # drives a Chromium that is installed already; it fetches none
            "pexpect>=4.8,<5",  # types into a terminal
            *TRACK,
            *BUCKETS,
            *BUCKETS,
            "nbclient>=0.10,<1",  # executes the notebooks
            "nbformat>=5.9,<6",
            "ipykernel>=6.29,<8",
            *DOCS,
            "ruff>=0.17,<0.18",
        ],
        # The references that models, tokenizers and the server are compared with; without them those tests skip.
        # On Linux PyPI's torch brings CUDA along: gigabytes, unless pip is told of PyTorch's own index of CPU builds.
        # With libtpu, which is for Linux, they compile for TPUs that are not here.
        "parity": [
            "torch>=2.13,<2.14",
            "transformers>=5.23,<6",
            "lm-eval[api]>=0.4.8,<0.5",
            f"jax[tpu]{JAX_RANGE}; sys_platform == 'linux' and platform_machine == 'x86_64'",
        ],
    },
)
