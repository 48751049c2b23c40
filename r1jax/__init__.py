"""r1jax: the DeepSeek-R1 system in JAX. Packages and what each holds: README.md, "Packages"."""

__version__ = "0.1.0"
