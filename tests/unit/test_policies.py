"""Policy files: what is wrong in them is told with file and place."""

from __future__ import annotations

from pathlib import Path

import pytest

from policies import kernels, schema
from policies.schema import PolicyError, load_gates

GATES = (schema.HERE / "gates.toml").read_text()
KERNEL = (kernels.HERE / "default.toml").read_text()


def test_every_option_of_the_default_kernel_has_a_reason() -> None:
    policy = kernels.load("default")
    assert len(policy.options) > 40
    assert all(len(option.reason) > 8 for option in policy.options)


@pytest.mark.parametrize(
    "option",
    ["SLUB", "UNWINDER_ORC", "BUG", "VMAP_STACK", "STACK_TRACER", "HIST_TRIGGERS", "EXT4_FS",
     "VFAT_FS", "XFS_FS", "VIRTIO_BLK", "SWAP", "MEMCG"],
)  # fmt: skip
def test_what_is_needed_from_the_start_is_in_the_default_kernel(option: str) -> None:
    assert f"CONFIG_{option}=y" in {one.text for one in kernels.load("default").options}


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("note_bytes = 64", "note_bytes = 0", "frame.note_bytes"),
        ("note_bytes = 64", "note_byte = 64", "frame.note_bytes"),
        ("fails = true", "fails = 3", "warning.fails"),
        ("callee = 'indirect call'", "callee = '('", "call.2.callee"),
        ('cc = "lists"', 'cc = "everybody"', "reply.cc"),
        ("[frame]", "[frame", "Expected"),
        ("[reply]", "[answer]", "reply"),
    ],
)
def test_a_wrong_gate_is_told_with_its_key(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in GATES
    path = tmp_path / "gates.toml"
    path.write_text(GATES.replace(old, new, 1))
    with pytest.raises(PolicyError, match=str(path)) as caught:
        load_gates(path)
    assert told in str(caught.value)


def test_a_gate_without_its_reason_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gates.toml"
    lines = [line for line in GATES.splitlines() if not line.startswith("reason")]
    path.write_text("\n".join(lines))
    with pytest.raises(PolicyError, match="reason"):
        load_gates(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("CONFIG_A=y\n", "x.config:1: no `# reason: …` line"),
        ("# reason: because\nCONFIG_A=y\nCONFIG_B=y\n", "x.config:3: no `# reason"),
        ("# reason: because\n\nCONFIG_A=y\n", "x.config:3: no `# reason"),
        ("# just words\nCONFIG_A=y\n", "x.config:2: no `# reason"),
        ("# reason: because\nCONFIG_A=maybe\n", "x.config:2: not a configuration option"),
        (
            "# reason: a\nCONFIG_A=y\n# reason: b\n# CONFIG_A is not set\n",
            "x.config:4: CONFIG_A is set",
        ),
    ],
)
def test_a_wrong_fragment_is_told_with_file_and_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "x.config").write_text(text)
    toml = KERNEL[: KERNEL.index("fragments")] + 'fragments = ["x.config"]\n'
    (tmp_path / "x.toml").write_text(toml)
    with pytest.raises(kernels.KernelPolicyError) as caught:
        kernels.load(tmp_path / "x.toml")
    assert told in str(caught.value)


def test_an_unknown_kernel_is_told_with_those_there_are() -> None:
    with pytest.raises(kernels.KernelPolicyError, match="there are: debug, default"):
        kernels.load("nowhere")
