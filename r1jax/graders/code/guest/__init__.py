"""Scripts that run inside the sandbox, with the standard library only: they import each other, not r1jax.

`r1jax.graders.code.guest_archive` copies them there.
"""
