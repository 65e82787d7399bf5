"""Reclaim stress: boots kernels in QEMU and says what happened to them."""
