"""Who is active in every window: nobody outside of speech; and from a window's speakers to those of the recording.

The second is pyannote's own last step, in bounded memory: pyannote first spreads all windows over all speakers in float64,
17 MB an hour for each speaker, and then looks at one frame after the other. The numbers here are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from scribe.transcript import Span

if TYPE_CHECKING:
    from pyannote.core import SlidingWindow, SlidingWindowFeature

Activity = NDArray[np.float32]
Labels = NDArray[np.int8]
Counts = NDArray[np.uint8]


def reconstruct(windows: SlidingWindowFeature, clusters: Labels, count: SlidingWindowFeature) -> SlidingWindowFeature:
    """`SpeakerDiarization.reconstruct` of pyannote.audio 4.0: (frames, speakers) of 0 and 1, on the clock of `count`.

    `windows`: (windows, frames, speakers of the window) activity; `clusters`: whom of the recording each of them is, -2
    for nobody; `count`: how many speak in every frame.
    """
    from pyannote.core import SlidingWindow, SlidingWindowFeature

    places, grid = windows.sliding_window, count.sliding_window
    frames = SlidingWindow(start=places.start, duration=grid.duration, step=grid.step)
    found = SlidingWindowFeature(_together(windows, clusters, frames, int(np.max(count.data))), frames)
    extent = found.extent & count.extent
    found, count = found.crop(extent, return_data=False), count.crop(extent, return_data=False)
    return SlidingWindowFeature(loudest(found.data, count.data[:, 0]), found.sliding_window)


def hush(windows: Activity, step: float, duration: float, speech: Sequence[Span]) -> None:
    """Set the activity of every frame whose middle lies outside of `speech` to 0, in place.

    `windows`: (windows, frames, speakers), each of `duration` seconds, `step` after the one before. The network that tells
    voices apart takes typing, a hum or music for somebody; left among the voices, each becomes a speaker, or takes the
    place of one when their number is given.
    """
    count, frames = windows.shape[:2]
    middles = np.arange(count)[:, None] * step + (np.arange(frames) + 0.5) * duration / frames
    starts, ends = np.sort(np.asarray(speech, float).reshape(-1, 2), axis=0).T
    # As many have begun as have ended: none goes on.
    outside = np.searchsorted(starts, middles, "right") == np.searchsorted(ends, middles, "right")
    windows[outside] = 0


def _together(windows: SlidingWindowFeature, clusters: Labels, frames: SlidingWindow, at_least: int) -> Activity:
    """How many windows hear each speaker in each frame: (frames, speakers) float32."""
    places = windows.sliding_window
    number, length, _ = windows.data.shape
    middle = 0.5 * frames.duration
    end = places.start + places.duration + (number - 1) * places.step + middle
    # pyannote 4.0 counts nobody as -1 speakers, and fails.
    last = int(np.max(clusters))
    speakers = max(last + 1, at_least) if last >= 0 else 0
    found = np.zeros((frames.closest_frame(end) + 1, speakers), np.float32)
    for who, (window, active) in zip(clusters, windows, strict=True):
        first = frames.closest_frame(window.start + middle)
        for speaker in np.unique(who[who != -2]):
            heard = np.nan_to_num(active[:, who == speaker].max(axis=1).astype(float), copy=False)
            found[first : first + length, speaker] += heard
    return found


def loudest(heard: Activity, count: Counts) -> Activity:
    """1 for the `count` speakers of a frame whom most windows hear, 0 for the others. `heard`: (frames, speakers)."""
    speaking = np.zeros_like(heard)
    both = min(len(heard), len(count))
    order = np.argsort(-heard[:both], axis=-1)
    chosen = np.arange(heard.shape[1]) < count[:both, None]
    np.put_along_axis(speaking[:both], order, chosen.astype(heard.dtype), axis=1)
    return speaking
