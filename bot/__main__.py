"""`python -m bot` is `stackhog`."""

from bot.cli import main

main()
