"""Compares the stack use of objects before a series, after each patch, and at its end.

Only the net change of the whole series counts: what a later patch takes back is not
reported. Lines are never compared, only told, as they stand after the patch named.

**Attribution.** A frame belongs to the patch that moved it furthest towards its final
size, counted since it last stood where it began; equal moves: the first. A call belongs
to the last patch that brought it, or took it away, itself or through a function that was
inlined later.

**Inlining.** gcc inlines as it likes, so calls wander between the functions of an object
without a change of meaning, and a call counts as new only if nothing of this explains it:

- its callee is a function of the object that had no frame of its own before (it is no
  longer inlined, or it is new: then its frame is reported, and each call that it makes
  and its callers did not);
- its caller reached the callee before through functions of the object that it no longer
  calls (they were inlined into it);
- its callee is a function whose calls were all made by the caller before, one of them no
  longer (one more call of it is not inlined);
- a function that its caller called before makes the same call on the same line (one of
  several calls of that function was inlined);
- its caller is new and called from functions of the object that reached the callee before
  (it was split off; where it was inlined with a constant argument a caller may have lost
  this call, but not all of its calls), or nobody here calls it and it follows one that
  went away (it was renamed).

What that costs: a new function that repeats a call of each of its callers is told by its
frame alone, and a further call of something that the caller calls already is not told.
Calls that went away are the same, seen from the end. Frames are told as gcc made them,
inlining or not: the bytes are on the stack. A function that moves to another object is
compared with itself there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from bot.contract import Call, Frame, Outcome, Span, StackResult
from workers.stack.facts import CallSite, Function, ObjectFacts, parse

T = TypeVar("T")
Edge = tuple[str, str]  # caller, callee
Objects = Mapping[str, ObjectFacts]  # by object path, e.g. "mm/vmscan.o"
EMPTY = ObjectFacts({}, {})
# link units that are not the running kernel
OTHER_UNITS = ("arch/x86/boot/", "arch/x86/realmode/", "arch/x86/purgatory/", "scripts/", "tools/")
LAST_SPAN = 10_000  # lines that the last function of a file may have


def read(files: Mapping[str, bytes]) -> dict[str, ObjectFacts]:
    """Parse the ``.ci`` files of a pack, with the ``.su`` beside each if it is there, by object.

    Raises FactsError.
    """
    stems = [name.removesuffix(".ci") for name in sorted(files) if name.endswith(".ci")]
    return {
        f"{stem}.o": parse(files[f"{stem}.ci"], f"{stem}.ci", files.get(f"{stem}.su"))
        for stem in stems
        if not stem.startswith(OTHER_UNITS) and "/vdso/" not in stem
    }


@dataclass(frozen=True)
class _History:
    """One object before the series and after each patch that rebuilt it."""

    name: str
    first: ObjectFacts
    steps: tuple[tuple[int, ObjectFacts], ...]

    @property
    def last(self) -> ObjectFacts:
        return self.steps[-1][1]

    def after(self, patch: int) -> ObjectFacts:
        return next(facts for index, facts in self.steps if index == patch)


def compare(base: Objects, after: Sequence[tuple[int, Objects]]) -> StackResult:
    """Return the net change over all patches, in their order; empty for equal code.

    An object of ``base`` without facts after any patch is taken to be gone with the last.
    """
    histories = {name: _history(name, base, after) for name in sorted(_names(base, after))}
    moved = _moved(histories.values())
    frames = [frame for history in histories.values() for frame in _frames(history)]
    frames = [*_once(_joined(frames, moved), lambda f: (f.function, f.file, f.before, f.after))]
    calls = [call for history in histories.values() for call in _calls(history)]
    calls = [
        *_once(_unmoved(calls, moved), lambda c: (c.caller, c.callee, c.file, c.line, c.added))
    ]
    named = {(f.object, f.patch, f.function) for f in frames}
    named |= {(c.object, c.patch, c.caller) for c in calls}
    spans = {
        span for name, patch, function in named for span in _spans(histories[name], patch, function)
    }
    return StackResult(
        outcome=Outcome.PASSED,
        frames=tuple(sorted(frames, key=lambda f: (f.patch, f.file, f.function, f.object))),
        calls=tuple(sorted(calls, key=lambda c: (c.patch, c.object, c.caller, c.callee, c.added))),
        spans=tuple(sorted(spans, key=lambda s: (s.patch, s.file, s.first, s.function, s.last))),
        functions=sum(len(history.last.functions) for history in histories.values()),
        objects=len(histories),
    )


def _names(base: Objects, after: Sequence[tuple[int, Objects]]) -> set[str]:
    return {*base, *(name for _, objects in after for name in objects)} if after else set()


def _history(name: str, base: Objects, after: Sequence[tuple[int, Objects]]) -> _History:
    steps = tuple((patch, objects[name]) for patch, objects in after if name in objects)
    return _History(name, base.get(name, EMPTY), steps or ((after[-1][0], EMPTY),))


def _moved(histories: Iterable[_History]) -> frozenset[str]:
    """Return the functions that one object lost and one other gained."""
    gone, new = Counter[str](), Counter[str]()
    for history in histories:
        gone.update(history.first.functions.keys() - history.last.functions.keys())
        new.update(history.last.functions.keys() - history.first.functions.keys())
    return frozenset(name for name in gone if gone[name] == new[name] == 1)


def _once(found: Iterable[T], key: Callable[[T], Hashable]) -> Iterator[T]:
    """Leave one of what an inline function of a header brings to many objects."""
    seen = set()
    for one in found:
        if key(one) not in seen:
            seen.add(key(one))
            yield one


def _joined(frames: Sequence[Frame], moved: frozenset[str]) -> Iterator[Frame]:
    """Compare a moved function with what it was in its former object."""
    former = {f.function: f for f in frames if f.function in moved and f.after is None}
    for frame in frames:
        old = former.get(frame.function)
        if old is None or (frame.before is not None and frame.after is not None):
            yield frame
        elif frame.before is None and (old.before, old.dynamic) != (frame.after, frame.dynamic):
            yield frame.model_copy(update={"before": old.before})


def _unmoved(calls: Sequence[Call], moved: frozenset[str]) -> Iterator[Call]:
    """Leave out the calls that moved with their function."""
    seen = {(call.caller, call.callee, call.added) for call in calls}
    for call in calls:
        if call.caller not in moved or (call.caller, call.callee, not call.added) not in seen:
            yield call


def _frames(history: _History) -> Iterator[Frame]:
    first, last = history.first.functions, history.last.functions
    for name in sorted({*first, *last}):
        before, after = first.get(name), last.get(name)
        if _shape(before) == _shape(after):
            continue
        patch = _mover(before, [(p, facts.functions.get(name)) for p, facts in history.steps])
        found = history.after(patch).functions.get(name) or after or before
        assert found is not None  # noqa: S101 - the name came from one of the two
        yield Frame(
            function=name, file=found.file, line=found.line,
            before=before.bytes if before else None, after=after.bytes if after else None,
            dynamic=(after or found).dynamic, patch=patch, object=history.name,
        )  # fmt: skip


def _shape(function: Function | None) -> tuple[int, bool] | None:
    return (function.bytes, function.dynamic) if function else None


def _mover(before: Function | None, steps: Sequence[tuple[int, Function | None]]) -> int:
    """Return the patch to which a frame's change belongs: see the module's text.

    A frame that became dynamic belongs to the patch that made it so.
    """
    began, ended = _bytes(before), _bytes(steps[-1][1])
    turned = _is_dynamic(steps[-1][1]) and not _is_dynamic(before)
    up = 1 if ended > began else -1
    patch, furthest, old = steps[-1][0], 0, before
    for index, new in steps:
        if turned or began == ended:
            flipped = _is_dynamic(new) != _is_dynamic(old) if turned else _shape(new) != _shape(old)
            patch = index if flipped else patch
        elif (_bytes(new) - began) * up <= 0:
            furthest = 0  # all taken back
        elif (_bytes(new) - _bytes(old)) * up > furthest:
            patch, furthest = index, (_bytes(new) - _bytes(old)) * up
        old = new
    return patch


def _bytes(function: Function | None) -> int:
    return function.bytes if function else 0


def _is_dynamic(function: Function | None) -> bool:
    return function is not None and function.dynamic


def _calls(history: _History) -> Iterator[Call]:
    first, last = history.first, history.last
    for before, after, added in ((first, last, True), (last, first, False)):
        inlining = _Inlining(before, after)
        for edge in sorted(after.calls.keys() - before.calls.keys()):
            if not inlining.explains(edge):
                patch, site = _turn(history, edge, added=added)
                yield Call(
                    caller=edge[0], callee=edge[1], file=site.file, line=site.line, added=added,
                    patch=patch, object=history.name,
                )  # fmt: skip


def _turn(history: _History, edge: Edge, *, added: bool) -> tuple[int, CallSite]:
    """Return the last patch that brought a call, and its place then; or took it, and before."""
    caller, callee = edge
    end = history.last if added else history.first
    patch, told = history.steps[-1][0], end.calls[edge]
    old = _reached(caller, history.first, end).get(callee)
    for index, facts in history.steps:
        new = _reached(caller, facts, end).get(callee)
        came, went = (old, new) if added else (new, old)
        if came is None and went is not None:
            patch, told = index, went
        old = new
    return patch, told


def _reached(start: str, here: ObjectFacts, there: ObjectFacts) -> dict[str, CallSite]:
    """Return what a function calls ``here``, itself or through what ``there`` may have inlined.

    A function of the object that ``start`` calls here and not there may be inlined there.
    """
    found: dict[str, CallSite] = {}
    todo = [start]
    for caller in todo:
        for callee in here.callees.get(caller, ()):
            if callee not in found:
                found[callee] = here.calls[caller, callee]
                if callee in here.functions and (start, callee) not in there.calls:
                    todo.append(callee)
    return found


class _Inlining:
    """Tells whether inlining explains that ``after`` has a call that ``before`` lacks.

    The rules stand in the module's text, in this order.
    """

    def __init__(self, before: ObjectFacts, after: ObjectFacts) -> None:
        self._before, self._after = before, after
        self._known: dict[str, dict[str, CallSite]] = {}

    def explains(self, edge: Edge) -> bool:
        caller, callee = edge
        if self._is_new(callee):
            return True
        if not self._before.functions:
            return False  # a new object: nothing can have moved, and it may be large
        if caller in self._before.functions:
            known = callee in self._had(caller)
            return known or self._inlined_less(caller, callee) or self._copied(caller, callee)
        tops = self._tops(caller)
        made = {top for top in tops if self._made(top, callee)}
        return bool(made) and all(self._lost_to(top, caller) for top in tops - made)

    def _made(self, top: str, callee: str) -> bool:
        return callee in self._had(top) if top in self._before.functions else self._renamed(callee)

    def _is_new(self, name: str) -> bool:
        return name in self._after.functions and name not in self._before.functions

    def _had(self, caller: str) -> dict[str, CallSite]:
        if caller not in self._known:
            self._known[caller] = _reached(caller, self._before, self._after)
        return self._known[caller]

    def _inlined_less(self, caller: str, callee: str) -> bool:
        made = [name for name in self._after.callees.get(callee, ()) if not self._is_new(name)]
        had = self._had(caller)
        return self._lost_to(caller, callee) and all(name in had for name in made)

    def _lost_to(self, caller: str, other: str) -> bool:
        """Tell whether a call that ``other`` makes was the caller's own before, and is not now."""
        made = self._after.callees.get(other, ())
        return any(
            (caller, name) in self._before.calls and (caller, name) not in self._after.calls
            for name in made
        )

    def _copied(self, caller: str, callee: str) -> bool:
        site = self._after.calls[caller, callee]
        called = [who for who in self._before.callees.get(caller, ()) if who != caller]
        made = [self._after.calls.get((who, callee)) for who in called]
        places = {(one.file, one.line) for one in made if one and one.file}
        return (site.file, site.line) in places

    def _tops(self, name: str) -> set[str]:
        """Return who calls a new function, through new ones only; without callers: itself."""
        tops, todo, seen = set[str](), [name], {name}
        for function in todo:
            above = [who for who in self._after.callers.get(function, ()) if who != function]
            tops |= {function} if not above else self._before.functions.keys() & above
            fresh = [who for who in above if self._is_new(who) and who not in seen]
            seen.update(fresh)
            todo += fresh
        return tops

    def _renamed(self, callee: str) -> bool:
        gone = self._before.functions.keys() - self._after.functions.keys()
        return any(not self._before.callers.get(who) and callee in self._had(who) for who in gone)


def _spans(history: _History, patch: int, name: str) -> Iterator[Span]:
    """Yield where a function stands after a patch, if it is still there.

    It reaches to the next function that has a frame: what was inlined everywhere is in no
    call graph, so its lines count with the function before it.
    """
    functions = history.after(patch).functions
    found = functions.get(name)
    if found is not None:
        below = [f.line for f in functions.values() if f.file == found.file and f.line > found.line]
        last = min(below, default=found.line + LAST_SPAN + 1) - 1
        yield Span(patch=patch, function=name, file=found.file, first=found.line, last=last)
