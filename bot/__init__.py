"""Decides and speaks: mail in, review mail out. Never compiles, never boots."""
