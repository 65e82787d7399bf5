"""Stacks of guests in the words of ftrace's stack tracer, for `stackhog stack --observed`."""

from __future__ import annotations

from collections.abc import Iterable

from bot.contract import Boot, StackSeen

HEAD = "        Depth    Size   Location    ({} entries)\n        -----    ----   --------\n"


def text(boots: Iterable[Boot]) -> str:
    """Return all different stacks of the boots, the deepest first (kernel/trace/trace_stack.c)."""
    seen = {stack for boot in boots for stack in boot.stacks}
    return "".join(map(_dump, sorted(seen, key=lambda one: (-one.depth, one.frames))))


def _dump(stack: StackSeen) -> str:
    lines, depth = [HEAD.format(len(stack.frames))], stack.depth
    for number, (name, offset, size) in enumerate(stack.frames):
        # how long the function is nobody sent, and nobody reads
        lines.append(f"{number:3}) {depth:8}   {size:5}   {name}+{offset:#x}/{offset:#x}\n")
        depth -= size
    return "".join(lines)
