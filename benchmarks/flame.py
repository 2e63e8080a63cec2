"""Flame graphs: stacks as boxes, each as wide as its share, callees above callers.

Receives: how often each stack was seen.  Gives: an SVG without scripts, that can be read on white and on black: boxes
of a middle tone with their own dark text, and a `<title>` on each for the pointer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from zlib import crc32

WIDTH, LINE, LETTER = 1000, 18, 6.6
NARROWEST = 1.5  # pixels: what is narrower is left out
TONES = ("#e8a33d", "#e0b050", "#d99a4e", "#e6b86a", "#cf9f3f")


@dataclass
class Box:
    """A function as called by one stack."""

    name: str
    count: int = 0
    callees: dict[str, Box] = field(default_factory=dict)

    def depth(self) -> int:
        """How many boxes stand on each other, this one included."""
        return 1 + max((callee.depth() for callee in self.callees.values()), default=0)


def tree(stacks: Mapping[tuple[str, ...], int]) -> Box:
    """The stacks, joined where they begin alike."""
    root = Box("all")
    for stack, count in stacks.items():
        box = root
        box.count += count
        for name in stack:
            box = box.callees.setdefault(name, Box(name))
            box.count += count
    return root


def svg(stacks: Mapping[tuple[str, ...], int], title: str) -> str:
    """The picture."""
    root = tree(stacks)
    height = LINE * root.depth() + 4
    boxes = "\n".join(_boxes(root, 0.0, float(WIDTH), height - LINE - 2, root.count))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" font-family="monospace" font-size="11"><title>{escape(title)}</title>\n{boxes}\n</svg>\n'
    )


def _boxes(box: Box, x: float, width: float, y: int, total: int) -> Iterator[str]:
    room = int((width - 6) / LETTER)
    name = box.name if len(box.name) <= room else box.name[: room - 1] + "…" if room > 3 else ""
    tone = TONES[crc32(box.name.encode()) % len(TONES)]
    text = f'<text x="{x + 3:.1f}" y="{y + 13}" fill="#1a1a1a">{escape(name)}</text>' if name else ""
    yield (
        f'<g><title>{escape(box.name)}: {box.count / total:.1%}</title><rect x="{x:.1f}" y="{y}" '
        f'width="{max(width - 0.5, 0.5):.1f}" height="{LINE - 1}" rx="1.5" fill="{tone}"/>{text}</g>'
    )
    for callee in sorted(box.callees.values(), key=lambda each: each.name):
        share = width * callee.count / box.count
        if share >= NARROWEST:
            yield from _boxes(callee, x, share, y - LINE, total)
        x += share
