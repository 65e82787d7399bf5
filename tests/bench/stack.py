"""The figures of the stack analysis: against the machine code, against the clock, and others.

Measured on the default configuration, on which policy was written, and on another one.
"""

from __future__ import annotations

import hashlib
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bot.review import plan
from bot.settings import load as load_settings
from bot.verbs.wiring import worker_config
from policies import kernels as configurations
from tests.bench import disassembly
from workers import baseline, layers, process, sandbox, trees
from workers.baseline import Base, Baseline
from workers.sandbox import Cell, Layers
from workers.stack import change, desk, unit
from workers.stack import kernel as kernels
from workers.stack.depth import Kernel
from workers.stack.program import Program
from workers.stack.rules import Compiled
from workers.stack.unit import Function, Unit

# replays the compilations that kbuild noted; prints "plain" or "plugin", then CPU seconds
COMPILE = r"""
run() {
	for object in OBJECTS; do
		line=$(head -n1 "$(dirname $object)/.$(basename $object).cmd")
		line=${line#*:= }
		line=$(echo "${line%%;*}" | sed "s#-Wp,-MMD,[^ ]*##; s# -o [^ ]*# -o /tmp/x.o#")
		[ $1 = plain ] && line=$(echo "$line" | sed "s#-fplugin=[^ ]*##")
		eval "$line" || exit 1
	done
}
TIMEFORMAT='%U %S'
for number in 1 2 3; do for kind in plain plugin; do echo $kind; time run $kind; done; done
"""
PUNCOVER = (
    "python3 -m venv {top}/v && {top}/v/bin/pip install -q puncover && {top}/v/bin/puncover "
    "--gcc-tools-base /usr/bin/ --elf_file {objects}/vmlinux --build_dir {objects} "
    "--src_root {source} --generate-report --report-file {top}/r.json"
)
Say = Callable[[str, float, float, str], None]  # name, value, limit, detail
TREE = "debian-6.1"
CONFIGS = ("default", "hellwig-2010")
PEER_SECONDS = 120
SAMPLE = 24  # objects compiled with and without the plugin
# indirect calls that start what has a stack or a life of its own: no chain follows them
BOUNDARIES = frozenset(
    {"tracepoint_func.func", "trace_event_functions.trace", "worker.current_func"}
)


def run(say: Say) -> None:
    """Run all; each line is one figure with what it may be."""
    for name in CONFIGS:
        print(f"--- configuration {name}", flush=True)  # noqa: T201
        base, found = built(name)
        units = desk.load(found.objects[0])
        program = Program(units.values())
        against_machine_code(say, program, found.objects[0] / "vmlinux")
        indirect(say, program)
        bounds(say, units)
        speed(say, found.objects[0], units)
        same_output(say, found.objects[0])
        growth(say, units)
        if name == CONFIGS[0]:
            overhead(say, base, found)
            barriers(units)
            peers(found)


def built(name: str) -> tuple[Base, Baseline]:
    """Return a baseline, built when it is not there."""
    settings = load_settings()
    worker = worker_config(settings)
    head = trees.get(worker, TREE).head
    base = Base(TREE, head, plan.kernel(configurations.load(name)), plan.limits(settings))
    return base, baseline.ensure(worker, base, lambda _: None)


@dataclass(frozen=True)
class Pair:
    """A function as the compiler told it and as the machine code has it."""

    ours: Function
    theirs: disassembly.Function


def pairs(program: Program, vmlinux: Path) -> Iterator[Pair]:
    """Yield the functions that are surely the same: by name, and by file where it is shared."""
    ours: dict[str, list[Function]] = defaultdict(list)
    for one in program.functions.values():
        ours[one.id.partition("@")[0]].append(one)
    by_address = {one.address: one for one in disassembly.read(vmlinux).values()}
    theirs: dict[str, list[disassembly.Function]] = defaultdict(list)
    for found in by_address.values():
        theirs[found.name.partition("@")[0]].append(found)
    for name, functions in sorted(theirs.items()):
        mine = ours.get(name, [])
        if len(functions) > 1 or len(mine) > 1:
            mine = [one for one in mine if one.file.rpartition("/")[2] == functions[0].file]
        if len(functions) == len(mine) == 1:
            yield Pair(mine[0], functions[0])


def against_machine_code(say: Say, program: Program, vmlinux: Path) -> None:
    """Compare call sites and frames with the disassembly of the same vmlinux."""
    sites = 0
    missed: Counter[str] = Counter()
    frames: Counter[str] = Counter()
    compared = [*pairs(program, vmlinux)]
    for pair in compared:
        known = {one.partition("@")[0] for one in _callees(program, pair.ours)}
        indirectly = any(not call.callee for call in program.calls[pair.ours.id])
        for site in pair.theirs.sites:
            sites += 1
            names = {one.partition("@")[0].removesuffix(".cold") for one in site.targets}
            if names and not names & (known | {pair.ours.id.partition("@")[0]}):
                missed[f"{pair.ours.id.partition('@')[0]} -> {min(names)}"] += 1
            elif not names and not indirectly:
                missed[f"{pair.ours.id.partition('@')[0]} -> (indirect)"] += 1
        frames[_frame_class(pair)] += 1
    wrong = sum(missed.values())
    detail = f"{wrong} of {sites} in {len(compared)} functions: {dict(missed.most_common(12))}"
    say("call sites that the facts do not explain, share", wrong / sites, 1e-4, detail)
    off = {name: count for name, count in frames.items() if name != "equal"}
    say("frames that differ, share", sum(off.values()) / len(compared), 0.005, str(off))


def _callees(program: Program, function: Function) -> Iterator[str]:
    for call in program.calls[function.id]:
        if call.callee:
            yield call.callee
            yield program.canonical(call.callee)


def _frame_class(pair: Pair) -> str:
    ours, theirs = pair.ours, pair.theirs
    if theirs.frame in {ours.frame, ours.frame + ours.transient}:
        return "equal"
    if theirs.frame is None:
        return "the stack is switched, or grows by a register"
    if theirs.dynamic:
        return "aligned: gcc counts the padding of an aligned caller"
    return f"other ({ours.id.partition('@')[0]}: {ours.frame}, machine code {theirs.frame})"


def indirect(say: Say, program: Program) -> None:
    """Count the targets of indirect calls."""
    sizes, unknown, total = [], 0, 0
    for function, _, site in program.sites():
        if function.id.startswith(desk.TRACEPOINTS):
            continue
        if any(node.partition(":")[2] in BOUNDARIES for node in site.nodes):
            continue
        total += 1
        unknown += site.unknown
        sizes += [len(site.targets)] if site.targets else []
    detail = f"{len(sizes)} of {total} sites have targets, tracepoints and workers left out"
    say("indirect calls: median of targets", statistics.median(sizes), 2, detail)
    say("indirect calls: mean of targets", statistics.fmean(sizes), 4.5, detail)
    say("indirect calls: unknown, share", unknown / total, 0.001, f"{unknown}")


def bounds(say: Say, units: Mapping[str, Unit]) -> None:
    """Compare upper bound and witness of every segment of every profile."""
    kernel = _linked(units)
    names = []
    for profile in kernels.applicable(kernel, kernels.policy().profiles):
        for chain in kernel.chains(profile):
            depth = chain.after
            if depth:
                held = ", held" if depth.held else ""
                names.append(f"{chain.profile}/{chain.name} {depth.witness_bytes}{held}")
    ratios = [
        part.upper / part.witness
        for part, _ in kernel.segments.values() if part and part.witness
    ]  # fmt: skip
    say("upper bound to witness, worst segment", max(ratios), 1.3, f"{len(ratios)} segments")
    print(f"     chains: {'; '.join(names)}", flush=True)  # noqa: T201


def _linked(units: Mapping[str, Unit]) -> Kernel:
    policy = kernels.policy()
    return kernels.link(units, policy, kernels.by_arch(policy, "x86_64"))


def speed(say: Say, objects: Path, units: Mapping[str, Unit]) -> None:
    """Time a cold analysis of a directory, and one after a change of one object."""
    command = [sys.executable, "-m", "bot", "stack", str(objects), "--json"]
    seconds = []
    for _ in range(3):
        began = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.monotonic() - began)
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    scaled = statistics.median(seconds) * 1150 / len(units)
    say("cold analysis, seconds for 1,150 objects", scaled, 2.5, f"{len(units)} objects")
    say("cold analysis, MiB (with what else this run started)", most, 1024, "")
    policy = kernels.policy()
    machine = kernels.by_arch(policy, "x86_64")
    first = kernels.link(units, policy, machine)
    change.compared(policy, machine, units, [(1, units)], first=first)
    data = (objects / "mm/vmscan.hog").read_bytes()
    data = re.sub(rb"(?m)^(F\tpageout~\t\S*\t)\d+", rb"\g<1>480", data)
    began = time.monotonic()
    after = kernels.updated(units, unit.read({"mm/vmscan.hog": data}))
    found = change.compared(policy, machine, units, [(1, after)], first=first)
    took = time.monotonic() - began
    moved = sum(1 for one in found if one.before != one.after)
    say("analysis after a change of one object, seconds", took, 1.0, f"{moved} chains moved")


def same_output(say: Say, objects: Path) -> None:
    """Compare what two hash seeds give."""
    command = [sys.executable, "-m", "bot", "stack", str(objects), "--json"]
    found = set()
    for seed in ("0", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(command, check=True, capture_output=True, env=environment)
        found.add(hashlib.sha256(done.stdout).hexdigest())
    say("different outputs of one input", len(found), 1, "two hash seeds")


def growth(say: Say, units: Mapping[str, Unit]) -> None:
    """Time the analysis of the kernel's facts multiplied: is it linear in objects?"""
    per_thousand = []
    for times in (1, 2, 4):
        many = dict(units)
        for number in range(1, times):
            many |= {_name(one, number): _copy(one, number) for one in units.values()}
        began = time.monotonic()
        kernel = _linked(many)
        for profile in kernels.applicable(kernel, kernels.policy().profiles):
            for _ in kernel.chains(profile):
                pass
        per_thousand.append((time.monotonic() - began) * 1000 / len(many))
    detail = ", ".join(f"{one:.2f}" for one in per_thousand)
    say("seconds for 1,000 objects, four times the kernel to one",
        per_thousand[-1] / per_thousand[0],
        1.3, f"linking and chains at 1, 2 and 4 times: {detail} s for 1,000 objects")  # fmt: skip


def _name(one: Unit, number: int) -> str:
    return f"copy{number}/{one.object}"


def _copy(one: Unit, number: int) -> Unit:
    """Return a unit under another name, its functions too."""

    def other(name: str) -> str:
        return f"{name}@copy{number}" if name else name

    functions = [f._replace(id=other(f.id), object=_name(one, number)) for f in one.functions]
    calls = {
        other(name): [c._replace(callee=other(c.callee)) for c in found]
        for name, found in one.calls.items()
    }
    return replace(one, object=_name(one, number), functions=functions, calls=calls)


def overhead(say: Say, base: Base, found: Baseline) -> None:
    """Compile some objects with and without the plugin, in turn, and compare the CPU time."""
    worker = worker_config()
    objects = [one.object for one in desk.load(found.objects[0]).values()]
    sample = objects[:: max(1, len(objects) // SAMPLE)]
    script = COMPILE.replace("OBJECTS", " ".join(sample))
    with layers.job_directory(worker.builds) as job:
        cell = Cell(
            job, Layers((found.source,)), Layers(found.objects, job / "obj"), base.limits,
            worker.sandbox_uid, baseline.shown(worker, base.config),
        )  # fmt: skip
        done = sandbox.run(cell, ["bash", "-c", script])
    words = done.output.decode().split()
    seconds: dict[str, list[float]] = {"plain": [], "plugin": []}
    for at, word in enumerate(words[:-2]):
        if word in seconds:
            seconds[word].append(float(words[at + 1]) + float(words[at + 2]))
    plain, plugin = (min(seconds[kind]) for kind in ("plain", "plugin"))
    say("CPU time of gcc with the plugin to without", plugin / plain, 1.05,
        f"{len(sample)} objects, {plugin:.1f} and {plain:.1f} s, best of 3")  # fmt: skip


def barriers(units: Mapping[str, Unit]) -> None:
    """Print what each barrier is worth: the deepest chains without it."""
    policy = kernels.policy()
    machine = kernels.by_arch(policy, "x86_64")
    program = Program(units.values())
    whole = _depths(Kernel(program, Compiled(program, policy.rules), machine))
    for number, rule in enumerate(policy.rules.barrier):
        compiled = Compiled(program, policy.rules, frozenset({number}))
        found = _depths(Kernel(program, compiled, machine))
        moved = {
            name: f"{old[0]}..{old[1]} to {found[name][0]}..{found[name][1]}"
            for name, old in whole.items() if found.get(name, old) != old
        }  # fmt: skip
        name = ", ".join((*rule.callees[:2], *rule.fields[:2]))
        print(f"     without barrier {rule.line} ({name}): {moved or 'nothing moves'}", flush=True)  # noqa: T201


def _depths(kernel: Kernel) -> dict[str, tuple[int, int]]:
    found = {}
    for profile in kernels.applicable(kernel, kernels.policy().profiles):
        for chain in kernel.chains(profile):
            if chain.after:
                key = f"{chain.profile}/{chain.name}"
                found[key] = chain.after.witness_bytes, chain.after.upper_bytes
    return found


def peers(found: Baseline) -> None:
    """Time what a user would take instead, on the same objects."""
    scripts, objects = found.source / "scripts", found.objects[0]
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        usage = "find {} -name '*.su' -exec cat {{}} + > {}"
        for side in ("a", "b"):
            process.check(["sh", "-c", usage.format(objects, top / side)], timeout=60)
        commands = {
            "scripts/stackdelta (frames alone)": [
                str(scripts / "stackdelta"), str(top / "a"), str(top / "b"),
            ],
            "scripts/checkstack.pl (frames alone)": [
                "sh", "-c", f"objdump -d {objects}/vmlinux | perl {scripts}/checkstack.pl x86_64",
            ],
            "puncover": ["sh", "-c", PUNCOVER.format(
                top=top, objects=objects, source=found.source)],
        }  # fmt: skip
        for title, argv in commands.items():
            began = time.monotonic()
            try:
                done = process.run(argv, timeout=PEER_SECONDS)
                said = f"status {done.status}, {len(done.output.splitlines())} lines"
                if done.status:
                    said += f": {' / '.join(done.tail(1))[:120]}"
            except process.TimedOutError:
                said = f"nothing in {PEER_SECONDS} s"
            print(f"     peer {title}: {time.monotonic() - began:.1f} s, {said}", flush=True)  # noqa: T201
