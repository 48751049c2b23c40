"""Eight fake CPU devices, set before jax wakes up, and the small things that many tests share."""

import functools
import gc
import os

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch wakes up: its threads wait for the next small product by spinning

from xla_flags import xla_flags

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {xla_flags(8)}"

import hypothesis
import jax
import pytest
from made_once import made_once

from r1jax import cpu_devices
from r1jax.core import params as core
from r1jax.core.sharding import TRAIN_RULES, MeshConfig, make_mesh
from r1jax.data.miniworld.documents import CorpusConfig, document
from r1jax.models.config import ModelConfig
from r1jax.models.transformer import param_specs
from r1jax.sandbox import config as sandbox_config
from r1jax.text.tokenizer import train_sentencepiece

# An example may take any time: on a busy machine the usual limit of 200 ms fails tests at random.
hypothesis.settings.register_profile("r1jax", deadline=None)
hypothesis.settings.load_profile("r1jax")


def pytest_xdist_auto_num_workers(config):
    """Three processes for two cores: tests also wait, for time limits and for the processes that they start."""
    return cpu_devices.cores() * 3 // 2


def pytest_collection_finish():
    """What all tests share need not be looked through at every collection of garbage, nor every 700 objects."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """Tests that compile the same program share it, in whichever process: one of pytest's, or one that a test starts.

    JAX may read a program that another process has half written: it then warns and compiles.
    """
    own = tmp_path_factory.getbasetemp()
    folder = str((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "xla")
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", folder)
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        yield


@pytest.fixture
def short_waits(monkeypatch):
    """What waits without computing is ended by the clock as soon as what computes is by its processor time."""
    monkeypatch.setattr(sandbox_config, "WAIT_FACTOR", 1.0)
    monkeypatch.setattr(sandbox_config, "LEAST_WAIT_S", 0.0)


@pytest.fixture(scope="session")
def programs():
    """What engines compile, made once for each model, settings and mesh."""
    from r1jax.inference import engine

    return functools.cache(engine.Programs)


@pytest.fixture(scope="module")
def shared_engines(programs):
    """Engines with the same model, settings and mesh share what they compile."""
    from r1jax.inference import engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "Programs", programs)
        yield


@pytest.fixture(scope="module")
def shared_updates():
    """Runs with the same config but for its checkpoints share their update, and RL its scorer."""
    from r1jax.stages import rl, supervised
    from r1jax.training import loop, state

    makers = (state, "make_optimizer"), (loop, "make_update"), (supervised, "make_loss"), (rl, "make_loss")
    with pytest.MonkeyPatch.context() as patch:
        for module, name in (*makers, (rl, "make_scorer")):
            patch.setattr(module, name, made_once(getattr(module, name)))
        yield


@pytest.fixture(scope="module")
def in_this_process(shared_engines, shared_updates):
    """The training entry as a function: JAX is set up, one of its devices is enough, and runs share their programs.

    Its report has blank images: drawing one takes a tenth of a second, and the tests of reports draw them.
    """
    from r1jax import running
    from r1jax.report import plots

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "_data_uri", lambda figure: "data:image/svg+xml,")
        patch.setattr(running, "keep_compiled", lambda folder: None)
        patch.setattr(running, "make_mesh", lambda cfg: make_mesh(cfg, jax.devices()[:1]))
        yield


@pytest.fixture
def hub_server(tmp_path, monkeypatch):
    """A stand-in of the Hugging Face hub that `huggingface_hub` talks to, with an empty cache."""
    import hub_server
    from huggingface_hub import constants

    from r1jax.io import hub

    with hub_server.serving() as server:
        # Versions before 1.0 copy these when they are imported: tests of the hub need a newer one.
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + template)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.chdir(tmp_path)  # where no folder is called as an owner is
        hub._snapshot.cache_clear()
        yield server
    hub._snapshot.cache_clear()


@pytest.fixture(scope="session")
def tokenizer():
    """A SentencePiece tokenizer of the mini world."""
    return train_sentencepiece((document(CorpusConfig(), 0, i) for i in range(1000)), 512)


@pytest.fixture(scope="session")
def tiny(tokenizer) -> ModelConfig:
    """The smallest model with grouped heads and more than one layer."""
    return ModelConfig(
        vocab_size=tokenizer.vocab_size, embed_dim=32, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=8, mlp_dim=64
    )


@pytest.fixture(scope="session")
def mesh1():
    """One device."""
    return make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])


@pytest.fixture(scope="session")
def mesh8():
    """Eight devices, every axis in use."""
    return make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))


@pytest.fixture(scope="session")
def tiny_params(tiny, mesh1):
    """Weights of `tiny` on one device; the same values that any mesh would draw."""
    return core.init(param_specs(tiny), TRAIN_RULES, mesh1, seed=0)
