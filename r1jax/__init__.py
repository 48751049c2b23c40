"""r1jax: the DeepSeek-R1 system in JAX. Layers and where each concern lives: README.md, "The house"."""

__version__ = "0.1.0"
