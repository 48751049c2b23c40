"""`python -m r1jax`: the command line of r1jax, see `r1jax.cli`."""

from r1jax import cli

if __name__ == "__main__":
    cli.run()
