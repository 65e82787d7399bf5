"""One idempotent function per arrow, from mail that comes in to mail that goes out."""
