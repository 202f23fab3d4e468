"""Compute speaker embeddings once for each window instead of once for each speaker, and bound the clustering.

pyannote 4.0 runs its embedding network once for each speaker of a window, on the same audio, although only its last
pooling depends on the speaker. The network accepts the masks of several speakers together, with the same result (pyannote
issue #2050 measured the same error on all of VoxConverse).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from scribe.runtime.cores import by_core

if TYPE_CHECKING:
    import torch
    from pyannote.audio.core.io import AudioFile
    from pyannote.audio.pipelines import SpeakerDiarization
    from pyannote.audio.pipelines.clustering import BaseClustering
    from pyannote.core import SlidingWindowFeature

Vectors = NDArray[np.float32]
Numbers = NDArray[np.int_]
Network = Callable[["torch.Tensor"], "torch.Tensor"]
InParts = Callable[[int, Callable[[slice], Vectors]], Vectors]

# Embeddings, and the indices of their windows and speakers.
Chosen = tuple[Vectors, Numbers, Numbers]

# The first step of clustering computes a distance for every pair: 8000 embeddings take 0.4 GB and seconds, the 40 000 of
# ten hours would take 13 GB and minutes. The others are assigned to the clusters found.
MOST_CLUSTERED = 8000


def stacked_embeddings(
    pipeline: SpeakerDiarization, parts: InParts = lambda count, run: run(slice(count))
) -> Callable[..., Vectors] | None:
    """Return a `get_embeddings` for this pipeline that runs the network once a window; None for unsupported networks.

    `parts(count, run)` runs a batch of `count` windows by calling `run` with slices of it.
    """
    from pyannote.audio.models.embedding.wespeaker import BaseWeSpeakerResNet

    if not isinstance(getattr(pipeline._embedding, "model_", None), BaseWeSpeakerResNet):
        return None

    def get_embeddings(
        file: AudioFile,
        binary_segmentations: SlidingWindowFeature,
        exclude_overlap: bool = False,
        hook: Callable[..., None] | None = None,
    ) -> Vectors:
        return _embeddings(pipeline, file, binary_segmentations, exclude_overlap, hook or (lambda *a, **k: None), parts)

    return get_embeddings


def shared_among_cores(pipeline: SpeakerDiarization, device: str) -> None:
    """On a CPU, distribute the windows of a batch over the cores."""
    import torch

    network = getattr(pipeline._embedding, "model_", None)
    if isinstance(network, torch.nn.Module):
        network.forward = by_core(network.forward, device)


def in_half(pipeline: SpeakerDiarization, device: str) -> None:
    """Run the network's convolutions, nine tenths of its work, in 16 bits: float16 on a GPU, bfloat16 on a CPU.

    The spectrum before them and the pooling after them stay float32: the first exceeds float16's range, and the second
    accumulates rounding errors.
    """
    import torch

    kind = torch.float16 if device == "cuda" else torch.bfloat16
    for layer in _convolutions(getattr(pipeline._embedding, "model_", None)):
        layer.forward = _halved(torch.autocast(device, dtype=kind)(layer.forward))


def _convolutions(network: object) -> list[torch.nn.Module]:
    """Return the residual layers of pyannote's ResNets; for another network its single convolutions."""
    import torch
    from pyannote.audio.models.embedding.wespeaker import BaseWeSpeakerResNet

    if isinstance(network, BaseWeSpeakerResNet):
        return [network.resnet.layer1, network.resnet.layer2, network.resnet.layer3, network.resnet.layer4]
    kinds = (torch.nn.Conv1d, torch.nn.Conv2d)
    return [m for m in network.modules() if isinstance(m, kinds)] if isinstance(network, torch.nn.Module) else []


def _halved(forward: Network) -> Network:
    return lambda features: forward(features).float()


def _embeddings(
    pipeline: SpeakerDiarization,
    file: AudioFile,
    windows: SlidingWindowFeature,
    exclude_overlap: bool,
    hook: Callable[..., None],
    parts: InParts,
) -> Vectors:
    """Return the embeddings, (windows, speakers, dimension) float32, equal to pyannote's."""
    import torch

    network = pipeline._embedding
    length = windows.sliding_window.duration * network.sample_rate
    shortest = network.min_num_samples / length if exclude_overlap else None
    active = windows.data
    # With empty masks the embedding does not depend on the audio: compute only one window in which nobody speaks.
    spoken = (active > 0).any(axis=(1, 2))
    wanted = np.flatnonzero(spoken | (np.cumsum(~spoken) == 1))
    chunks = [chunk for chunk, _ in windows]
    found = np.empty((len(active), active.shape[2], network.dimension), np.float32)
    total = -(-len(wanted) // pipeline.embedding_batch_size)
    hook("embeddings", None, total=total, completed=0)
    order = iter(wanted)
    for number in range(total):
        batch = list(islice(order, pipeline.embedding_batch_size))
        waveforms = torch.stack([pipeline._audio.crop(file, chunks[i], mode="pad")[0] for i in batch])
        masks = torch.from_numpy(speaker_masks(active[batch], shortest))

        def run(of: slice, waveforms: torch.Tensor = waveforms, masks: torch.Tensor = masks) -> Vectors:
            vectors: Vectors = network(waveforms[of], masks=masks[of])
            return vectors

        found[batch] = parts(len(batch), run)
        hook("embeddings", None, total=total, completed=number + 1)
    if not spoken.all():
        found[~spoken] = found[np.flatnonzero(~spoken)[0]]
    return found


def speaker_masks(active: Vectors, shortest: float | None) -> Vectors:
    """Return the frames from which each speaker's embedding is computed: (windows, speakers, frames) float32.

    `active`: (windows, frames, speakers), 1 while a speaker is active, NaN outside the recording. Overlapped speech is
    excluded if more than `shortest`, a fraction of the window (0 to 1), remains; None always keeps it.
    """
    whole = np.nan_to_num(active, nan=0.0).astype(np.float32).transpose(0, 2, 1)
    if shortest is None:
        return np.ascontiguousarray(whole)
    alone = (active.sum(axis=2, keepdims=True) < 2).astype(np.float32).transpose(0, 2, 1)
    clean = whole * alone
    enough = clean.sum(axis=2, keepdims=True) > np.ceil(active.shape[1] * shortest)
    return np.ascontiguousarray(np.where(enough, clean, whole))


def bounded_training(clustering: BaseClustering, most: int = MOST_CLUSTERED) -> Callable[..., Chosen]:
    """Return a `filter_embeddings` for this clustering that keeps at most `most`, evenly over the recording.

    With fewer embeddings the result is pyannote's own.
    """
    choose: Callable[..., Chosen] = clustering.filter_embeddings

    def filter_embeddings(*arguments: object, **options: object) -> Chosen:
        embeddings, windows, speakers = choose(*arguments, **options)
        if len(embeddings) <= most:
            return embeddings, windows, speakers
        kept = np.linspace(0, len(embeddings) - 1, most).round().astype(int)
        return embeddings[kept], windows[kept], speakers[kept]

    return filter_embeddings


def limit_to_voices(clustering: BaseClustering) -> None:
    """Limit the number of clusters asked for to the number of different embeddings.

    Otherwise scikit-learn's KMeans, by which pyannote enforces a number of speakers, raises ValueError.
    """

    class Limited(type(clustering)):  # type: ignore[misc]  # pyannote's class is known only when the pipeline is loaded
        def __call__(
            self, embeddings: Vectors, segmentations: SlidingWindowFeature | None = None, **options: Any
        ) -> tuple[Numbers, Vectors, Vectors]:
            asked = {name: options.get(name) for name in ("num_clusters", "min_clusters")}
            if any((number or 1) > 1 for number in asked.values()):
                voices, *_ = self.filter_embeddings(embeddings, segmentations=segmentations)
                most = max(1, len(np.unique(voices, axis=0)))
                options |= {name: number and min(number, most) for name, number in asked.items()}
            found: tuple[Numbers, Vectors, Vectors] = super().__call__(
                embeddings, segmentations=segmentations, **options
            )
            return found

    clustering.__class__ = Limited
