"""A network that runs once over what repeats: a long recording made of short ones then costs what the short ones do."""

from __future__ import annotations

from typing import Any

import numpy as np


class Remembered:
    """`network(windows, **more)` -> an array with a row for each window. What else is asked of it goes to the network.

    Windows are told apart by every 50th sample and by all of what comes with them.
    """

    def __init__(self, network: Any) -> None:
        self._network = network
        self._known: dict[tuple[bytes, ...], Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def __call__(self, windows: Any, **more: Any) -> Any:
        keys = [
            (windows[row, ..., ::50].numpy().tobytes(), *(one[row].numpy().tobytes() for one in more.values()))
            for row in range(len(windows))
        ]
        new = [row for row, key in enumerate(keys) if key not in self._known]
        if new:
            answers = self._network(windows[new], **{name: one[new] for name, one in more.items()})
            self._known.update(zip([keys[row] for row in new], answers, strict=True))
        return np.stack([self._known[key] for key in keys])
