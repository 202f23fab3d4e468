"""Mute activity outside of speech, and combine the windows' speakers into those of the recording.

The second is pyannote's own last step with less memory: pyannote first expands all windows to all speakers in float64,
17 MB an hour for each speaker. The result is the same.
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
    """Replace `SpeakerDiarization.reconstruct` of pyannote.audio 4.0: return (frames, speakers) of 0 and 1.

    `windows`: (windows, frames, speakers of the window) activity; `clusters`: (windows, speakers of the window), the speaker
    of the recording, -2 for none; `count`: (frames, 1), how many speak in each frame.
    """
    from pyannote.core import SlidingWindow, SlidingWindowFeature

    places, grid = windows.sliding_window, count.sliding_window
    frames = SlidingWindow(start=places.start, duration=grid.duration, step=grid.step)
    found = SlidingWindowFeature(_together(windows, clusters, frames, int(np.max(count.data))), frames)
    extent = found.extent & count.extent
    found, count = found.crop(extent, return_data=False), count.crop(extent, return_data=False)
    return SlidingWindowFeature(loudest(found.data, count.data[:, 0]), found.sliding_window)


def mute_outside(windows: Activity, step: float, duration: float, speech: Sequence[Span]) -> None:
    """Set the activity of every frame whose middle is outside of `speech` to 0, in place.

    `windows`: (windows, frames, speakers), each of `duration` seconds, `step` seconds after the one before. The
    segmentation network detects a speaker in typing, hum or music, which would become an additional speaker, or replace
    one if their number is given.
    """
    count, frames = windows.shape[:2]
    middles = np.arange(count)[:, None] * step + (np.arange(frames) + 0.5) * duration / frames
    starts, ends = np.sort(np.asarray(speech, float).reshape(-1, 2), axis=0).T
    # A time is outside of all spans if as many have started as have ended.
    outside = np.searchsorted(starts, middles, "right") == np.searchsorted(ends, middles, "right")
    windows[outside] = 0


def _together(windows: SlidingWindowFeature, clusters: Labels, frames: SlidingWindow, at_least: int) -> Activity:
    """Sum the windows' activity of each speaker in each frame: (frames, speakers) float32."""
    places = windows.sliding_window
    number, length, _ = windows.data.shape
    middle = 0.5 * frames.duration
    end = places.start + places.duration + (number - 1) * places.step + middle
    # Without any speaker the maximum is -2; pyannote 4.0 then computes -1 speakers and fails.
    last = int(np.max(clusters))
    speakers = max(last + 1, at_least) if last >= 0 else 0
    found = np.zeros((frames.closest_frame(end) + 1, speakers), np.float32)
    for who, (window, active) in zip(clusters, windows, strict=True):
        first = frames.closest_frame(window.start + middle)
        for speaker in np.unique(who[who != -2]):
            active_in = np.nan_to_num(active[:, who == speaker].max(axis=1).astype(float), copy=False)
            found[first : first + length, speaker] += active_in
    return found


def loudest(activity: Activity, count: Counts) -> Activity:
    """Return 1 for the `count` most active speakers of each frame, else 0. `activity`: (frames, speakers)."""
    speaking = np.zeros_like(activity)
    both = min(len(activity), len(count))
    order = np.argsort(-activity[:both], axis=-1)
    chosen = np.arange(activity.shape[1]) < count[:both, None]
    np.put_along_axis(speaking[:both], order, chosen.astype(activity.dtype), axis=1)
    return speaking
