"""Puts the patches that a series needs below it on the base, as commits in the scratch repository.

They are part of the base then: the baseline is built with them, and what is found is the
series' own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bot.contract import Misfit, PatchText, TheirsError
from workers import apply, git, misfit, vetting
from workers.config import WorkerConfig


class UnmetError(TheirsError):
    """A prerequisite cannot be applied; carries which, from 1, and where."""

    def __init__(self, patch: PatchText, misfit: Misfit) -> None:
        self.misfit = misfit
        super().__init__(
            f'prerequisite {misfit.index}, "{patch.subject}" ({patch.message_id}), does not '
            f"apply: {misfit.reason}; base the series on a commit that has it, or send both as one"
        )


def put(
    config: WorkerConfig, tree: str, base: str, patches: Sequence[PatchText], scratch: Path
) -> str:
    """Apply the prerequisites one on the other; return the commit that has them all.

    One that the base has already is passed over. Raises UnmetError.
    """
    for number, patch in enumerate(patches, 1):
        numbered = patch.model_copy(update={"index": number})
        base = _put(config, tree, base, numbered, scratch)
    return base


def _put(config: WorkerConfig, tree: str, base: str, patch: PatchText, scratch: Path) -> str:
    try:
        vetting.check(patch, config.patch_bytes)
        applied = apply.apply_series(config, tree, base, (patch,), scratch)
    except vetting.PatchRefusedError as error:
        refusal = error.refusal
        found = misfit.of_file(patch.index, refusal.file, refusal.reason)
        raise UnmetError(patch, found) from error
    except apply.PatchMisfitError as error:
        if _is_there(base, patch, scratch):
            return base
        raise UnmetError(patch, error.misfit) from error
    except apply.ForeignSeriesError as error:
        found = misfit.of_file(patch.index, None, "none of its files exists there")
        raise UnmetError(patch, found) from error
    return applied.patches[-1].commit


def _is_there(base: str, patch: PatchText, scratch: Path) -> bool:
    """Tell whether a patch could be taken back from the base."""
    env = {"GIT_INDEX_FILE": str(scratch / ".git" / "reverse-index")}
    git.check("read-tree", base, cwd=scratch, env=env)
    words = ("apply", "--cached", "--reverse", "--check", "--whitespace=nowarn", "-")
    diff = vetting.as_git(patch.diff)
    return git.run(*words, cwd=scratch, env=env, stdin=diff).status == 0
