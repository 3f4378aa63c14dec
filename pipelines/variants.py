"""Variants of network, losses and training: the paper's and others, as settings over a preset."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pifa_model.config import NetworkConfig, load_config

Settings = tuple[str, ...]


def blocks(filters: list[tuple[int, ...]], config: NetworkConfig) -> Settings:
    """Blocks of these convolutions, the preset's kernel in the first and 3x3 after it, loss weights 1, 2, …"""
    count = len(filters)
    return (
        f"network.filters={[list(block) for block in filters]}",
        f"network.kernels={[config.kernels[0]] + [3] * (count - 1)}",
        f"losses.blocks={['landmarks'] * count}",
        f"losses.weights={list(range(1, count + 1))}",
    )


def regrouped(count: int) -> Callable[[NetworkConfig], Settings]:
    """The preset's convolutions in so many blocks (table 8)."""

    def settings(config: NetworkConfig) -> Settings:
        all_filters = [filters for block in config.filters for filters in block]
        length = len(all_filters) // count
        return blocks([tuple(all_filters[i * length : (i + 1) * length]) for i in range(count)], config)

    return settings


def widened(count: int) -> Callable[[NetworkConfig], Settings]:
    """The preset's first blocks, so much wider that they have as many multiply-adds as all of its blocks."""

    def settings(config: NetworkConfig) -> Settings:
        wanted = multiply_adds(config.filters, config)
        tries = [
            [tuple(4 * round(filters * share / 400) for filters in block) for block in config.filters[:count]]
            for share in range(100, 400)
        ]
        return blocks(min(tries, key=lambda filters: abs(multiply_adds(filters, config) - wanted)), config)

    return settings


def multiply_adds(filters: Sequence[Sequence[int]], config: NetworkConfig) -> int:
    """Of the convolutions of a 114 pixel crop with these filters and otherwise ``config``, if they are plain."""
    side, channels, total = 114 * 2 // config.stride, 4 * (config.stride // 2) ** 2, 0
    for index, block in enumerate(filters):
        kernel = config.kernels[min(index, 1)]
        for position, count in enumerate(block):
            total += channels * count * kernel**2 * side**2
            channels = count
            side = 114 // config.stride if index == position == 0 else side
        channels += 4
    return total


VARIANTS: dict[str, Settings | Callable[[NetworkConfig], Settings]] = {
    "base": (),
    # Inputs of the later blocks (table 6), and no visualization layer (section 4.3).
    "FV": ("network.inputs=['features', 'map']",),
    "IV": ("network.inputs=['image', 'map']",),
    "IF": ("network.inputs=['image', 'features']",),
    # Masks (table 7).
    "mask-parts": ("network.visualization.mask=parts",),
    "mask-none": ("network.visualization.mask=none",),
    # Blocks x convolutions (table 8): the same convolutions in fewer blocks.
    "4x3": regrouped(4),
    "3x4": regrouped(3),
    "2x6": regrouped(2),
    # As many multiply-adds in fewer and wider blocks.
    "3x2-wide": widened(3),
    "2x2-wide": widened(2),
    # What the fully connected layers see, with V and without.
    "pool": ("network.head=pool",),
    "pool-IF": ("network.head=pool", "network.inputs=['image', 'features']"),
    "anchors-32": ("network.anchors=32",),
    "anchors-128": ("network.anchors=128",),
    # Trunks.
    "depthwise": ("network.trunk=depthwise",),
    "residual": ("network.trunk=residual",),
    # What the paper compares with (section 4.4).
    "cascade": ("training.cascade=true",),
    "cascade-4x": ("training.cascade=true",),
    "cascade-6x": ("training.cascade=true",),
    # The same network for a part of the budget.
    "base-half": (),
    "base-quarter": (),
    # Losses.
    "losses-paper": (
        "losses.blocks=['parameters', 'parameters', 'parameters', 'landmarks', 'landmarks', 'landmarks']",
    ),
    "parameters": (f"losses.blocks={['parameters'] * 6}",),
    "smooth-l1": ("losses.landmark=smooth_l1",),
    "wing": ("losses.landmark=wing",),
    "prior-0.1": ("losses.prior=0.1",),
    "prior-1": ("losses.prior=1.0",),
    "spread": ("network.uncertainty=true",),
    "rotation": ("network.camera=rotation",),
}

TIMES = {"cascade-4x": 4.0, "cascade-6x": 6.0, "base-half": 0.5, "base-quarter": 0.25}
"""Multiples of the budget. A step of a cascade's stages is about a quarter of one end to end
(``benchmarks/network.py``: 0.22 of `compact`, 0.29 for `small`), so that 4 times the steps take as long; 6 times are
the whole budget for each of six blocks, as the cascades that the paper compares its training time with had."""


def settings_of(name: str, preset: str) -> Settings:
    """A variant's settings; those of some follow from the preset's filters."""
    variant = VARIANTS[name]
    return variant(load_config(preset).network) if callable(variant) else variant
