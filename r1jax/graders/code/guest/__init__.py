"""Scripts that run inside sandboxes, where there is only Python's own library: they import nothing of r1jax.

`r1jax.graders.code.pack` hands them over.
"""
