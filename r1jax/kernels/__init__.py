"""Attention kernels for accelerators, each in one module per platform."""
