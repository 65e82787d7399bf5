"""Compares the stack use of objects before a series, after each patch, and at its end.

Only the net change of the whole series counts: what a later patch takes back is not
reported. A frame belongs to the patch that made it grow most (the last one to change it
when it shrank), a call to the last patch that brought it.

gcc inlines as it likes, so calls can wander between functions without any change of
meaning. A call counts as new only if it is not explained by that: not when a function
that went away (was inlined) made the same call before, and not when the caller is itself
new and one of its own callers made the call before (it was split off).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bot.contract import Call, Frame, Outcome, Span, StackRequest, StackResult
from workers.stack.facts import CallSite, ObjectFacts, parse
from workers.stack.pack import unpack

Objects = Mapping[str, ObjectFacts]  # by object path, e.g. "mm/vmscan.o"
Key = tuple[str, str]
EMPTY = ObjectFacts({}, {})
# link units that are not the running kernel
OTHER_UNITS = ("arch/x86/boot/", "arch/x86/realmode/", "arch/x86/purgatory/", "scripts/", "tools/")
LAST_SPAN = 10_000  # lines that the last function of a file may have


@dataclass(frozen=True)
class _Step:
    """One object after one patch that rebuilt it."""

    patch: int
    facts: ObjectFacts


def answer(request: StackRequest, fetch: Callable[[str], bytes]) -> StackResult:
    """Run a StackRequest; ``fetch`` gets an artifact by its key.

    Raises FactsError, PackError and what ``fetch`` raises.
    """
    base = read(unpack(fetch(request.base_facts)))
    after = [(one.index, read(unpack(fetch(one.facts)))) for one in request.after]
    return compare(base, after)


def read(files: Mapping[str, bytes]) -> dict[str, ObjectFacts]:
    """Parse the ``.ci`` files of a pack, by object."""
    return {
        name.removesuffix(".ci") + ".o": parse(text, name)
        for name, text in sorted(files.items())
        if name.endswith(".ci") and not name.startswith(OTHER_UNITS) and "/vdso/" not in name
    }


def compare(base: Objects, after: Sequence[tuple[int, Objects]]) -> StackResult:
    """Return the net change over all patches, in their order; empty for equal code."""
    names = sorted({name for _, objects in after for name in objects})
    frames: list[Frame] = []
    calls: list[Call] = []
    spans: set[Span] = set()
    functions = 0
    for name in names:
        steps = [_Step(patch, objects[name]) for patch, objects in after if name in objects]
        first = base.get(name, EMPTY)
        functions += len(steps[-1].facts.functions)
        changed = [*_frames(name, first, steps)]
        called = [*_calls(name, first, steps)]
        frames += changed
        calls += called
        spans |= _spans(steps, [(f.file, f.function, f.patch) for f in changed])
        spans |= _spans(steps, [(key[0], key[1], c.patch) for c, key in called_by(steps, called)])
    return StackResult(
        outcome=Outcome.PASSED,
        frames=tuple(sorted(_once(frames), key=lambda f: (f.patch, f.file, f.function, f.object))),
        calls=tuple(sorted(calls, key=lambda c: (c.patch, c.object, c.caller, c.callee))),
        spans=tuple(sorted(spans, key=lambda s: (s.patch, s.file, s.first, s.function))),
        functions=functions,
        objects=len(names),
    )


def _once(frames: Sequence[Frame]) -> Iterator[Frame]:
    """Leave one of the equal frames that an inline function of a header has in many objects."""
    seen = set()
    for frame in frames:
        key = (frame.function, frame.file, frame.before, frame.after)
        if key not in seen:
            seen.add(key)
            yield frame


def _frames(name: str, first: ObjectFacts, steps: Sequence[_Step]) -> Iterator[Frame]:
    last = steps[-1].facts
    for key in sorted({*first.functions, *last.functions}):
        before, after = first.functions.get(key), last.functions.get(key)
        same_kind = before and after and before.dynamic == after.dynamic
        if before and after and before.bytes == after.bytes and same_kind:
            continue
        found = after or before
        assert found is not None  # noqa: S101 - the key came from one of the two
        yield Frame(
            function=found.name, file=found.file, line=found.line,
            before=before.bytes if before else None, after=after.bytes if after else None,
            dynamic=bool(after and after.dynamic), patch=_culprit(key, first, steps), object=name,
        )  # fmt: skip


def _culprit(key: Key, first: ObjectFacts, steps: Sequence[_Step]) -> int:
    """Return the patch that made a frame grow most, else the last that changed it."""
    size, growth, last = _size(first, key), 0, steps[-1].patch
    grew = None
    for step in steps:
        now = _size(step.facts, key)
        if step.facts.functions.get(key) != first.functions.get(key) and now != size:
            last = step.patch
        if now - size > growth:
            grew, growth = step.patch, now - size
        size = now
    ends = _size(steps[-1].facts, key)
    return grew if grew is not None and ends > _size(first, key) else last


def _size(facts: ObjectFacts, key: Key) -> int:
    found = facts.functions.get(key)
    return found.bytes if found else 0


def _calls(name: str, first: ObjectFacts, steps: Sequence[_Step]) -> Iterator[Call]:
    last = steps[-1].facts
    for key in sorted({*last.calls} - {*first.calls}):
        if not _explained(key, first, last):
            yield _call(name, last.calls[key], _brought(key, first, steps), added=True)
    for key in sorted({*first.calls} - {*last.calls}):
        if not _explained(key, last, first):
            yield _call(name, first.calls[key], _took(key, first, steps), added=False)


def _call(name: str, site: CallSite, patch: int, *, added: bool) -> Call:
    return Call(
        caller=site.caller[1], callee=site.callee, file=site.file, line=site.line, added=added,
        patch=patch, object=name,
    )  # fmt: skip


def _explained(key: tuple[Key, str], before: ObjectFacts, after: ObjectFacts) -> bool:
    """Whether inlining alone explains that ``after`` has a call that ``before`` lacks."""
    caller, callee = key
    if any(function[1] == callee for function in after.functions) and not any(
        function[1] == callee for function in before.functions
    ):
        return True  # a function of this object that is no longer inlined
    made = {who for who, what in before.calls if what == callee}
    if any(who not in after.functions for who in made):
        return True  # the function that made it was inlined
    if caller in before.functions:
        return False
    callers = {who for who, what in after.calls if what == caller[1]}
    return bool(callers & made)


def _brought(key: tuple[Key, str], first: ObjectFacts, steps: Sequence[_Step]) -> int:
    """Return the last patch before which the call was not there."""
    had, patch = key in first.calls, steps[-1].patch
    for step in steps:
        has = key in step.facts.calls
        if has and not had:
            patch = step.patch
        had = has
    return patch


def _took(key: tuple[Key, str], first: ObjectFacts, steps: Sequence[_Step]) -> int:
    """Return the last patch before which the call was still there."""
    had, patch = key in first.calls, steps[-1].patch
    for step in steps:
        has = key in step.facts.calls
        if had and not has:
            patch = step.patch
        had = has
    return patch


def called_by(
    steps: Sequence[_Step], calls: Sequence[Call]
) -> Iterator[tuple[Call, tuple[str, str]]]:
    """Pair each added call with its caller's key."""
    last = steps[-1].facts
    for call in calls:
        for caller, callee in sorted(last.calls):
            if call.added and (caller[1], callee) == (call.caller, call.callee):
                yield call, caller
                break


def _spans(steps: Sequence[_Step], wanted: Sequence[tuple[str, str, int]]) -> set[Span]:
    """Return where functions stand after their patch; an inlined one is in no call graph."""
    spans = set()
    for file, function, patch in wanted:
        facts = next((s.facts for s in steps if s.patch == patch), EMPTY)
        found = facts.functions.get((file, function))
        if found is not None:
            below = [f.line for f in facts.functions.values() if f.file == file]
            next_line = min((n for n in below if n > found.line), default=found.line + LAST_SPAN)
            spans.add(
                Span(
                    patch=patch,
                    function=function,
                    file=file,
                    first=found.line,
                    last=max(found.line, next_line - 1),
                )
            )
    return spans
