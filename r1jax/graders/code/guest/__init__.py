"""Scripts that run inside the sandbox, with the standard library only: they import no r1jax module but each other.

`r1jax.graders.code.guest_archive` copies them there.
"""
