"""Runs what it is told and decides nothing: trees, builds, stack analysis."""
