"""The diarization folder: segmentation, embedding, PLDA and a configuration; and the search for its clustering's numbers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from demo_models.checkpoint import save_embedding
from demo_models.clips import Clip

CONFIGURATION = """# pyannote.audio 4; $model is this folder, so it can be moved.
dependencies:
  pyannote.audio: 4.0.0
pipeline:
  name: pyannote.audio.pipelines.SpeakerDiarization
  params:
    segmentation: $model/segmentation
    segmentation_step: 0.2
    segmentation_batch_size: 32
    embedding: $model/embedding
    embedding_batch_size: 32
    embedding_exclude_overlap: true
    plda: $model/plda
    clustering: {name}
params:
  segmentation:
    min_duration_off: 0.0
  clustering:
{parameters}
"""


@dataclass(frozen=True, slots=True)
class Clustering:
    """One of pyannote's clusterings and its numbers."""

    name: str
    parameters: dict


def _vbx(threshold: float, acoustics: float, speakers: float) -> Clustering:
    """Clusters first cut at a distance of 0.5 to 0.8, then weighed again: Fa by what is heard, Fb against having many speakers."""
    return Clustering("VBxClustering", {"threshold": threshold, "Fa": acoustics, "Fb": speakers})


def _agglomerative(threshold: float, smallest: int) -> Clustering:
    return Clustering(
        "AgglomerativeClustering", {"method": "centroid", "min_cluster_size": smallest, "threshold": threshold}
    )


COMMUNITY = _vbx(0.6, 0.07, 0.8)
"""The numbers of pyannote's own community-1 pipeline."""
GRID = [
    COMMUNITY,
    *itertools.starmap(
        _vbx, itertools.product((0.5, 0.6, 0.7, 0.8), (0.03, 0.07, 0.15, 0.3), (0.4, 0.8, 2.0, 5.0, 10.0))
    ),
    *itertools.starmap(_agglomerative, itertools.product((0.6, 0.7, 0.8, 0.9, 1.0, 1.1), (3, 6, 12))),
]


def assemble(folder: Path, ecapa: Path, clustering: Clustering) -> None:
    """Wraps the speaker encoder and writes config.yaml. The segmentation and the PLDA are already in `folder`."""
    save_embedding(torch.load(ecapa / "embedding_model.ckpt", map_location="cpu"), folder / "embedding")
    parameters = "\n".join(f"    {name}: {value}" for name, value in clustering.parameters.items())
    (folder / "config.yaml").write_text(
        CONFIGURATION.format(name=clustering.name, parameters=parameters), encoding="utf-8"
    )


def tune(folder: Path, clips: list[Clip]) -> list[tuple[float, int, Clustering]]:
    """(diarization error without collar, clips with the right number of speakers, clustering) for all of GRID, best first.

    The two networks run once a clip; only the clustering is repeated. `folder` must be assembled with COMMUNITY's clustering.
    """
    from pyannote.audio import Pipeline
    from pyannote.audio.pipelines.clustering import AgglomerativeClustering
    from pyannote.core import Annotation, Segment
    from pyannote.metrics.diarization import DiarizationErrorRate

    pipeline = Pipeline.from_pretrained(str(folder))
    heard = [_networks(pipeline, clip) for clip in clips]
    truths = []
    for clip in clips:
        truth = Annotation(uri=clip.name)
        for number, turn in enumerate(clip.truth["turns"]):
            truth[Segment(turn["start"], turn["end"]), number] = turn["speaker"]
        truths.append(truth)
    methods = {
        "VBxClustering": pipeline.clustering,
        "AgglomerativeClustering": AgglomerativeClustering(pipeline._embedding.metric),
    }
    results = []
    for point in GRID:
        clustering = methods[point.name].instantiate(point.parameters)
        metric, right = DiarizationErrorRate(), 0
        for truth, (segmentations, embeddings) in zip(truths, heard, strict=True):
            answer = _cluster(pipeline, clustering, segmentations, embeddings)
            metric(truth, answer)
            right += len(answer.labels()) == len(truth.labels())
        results.append((abs(metric), right, point))
    return sorted(results, key=lambda result: (result[0], -result[1]))


def _networks(pipeline, clip: Clip):
    """What the pipeline computes before it clusters."""
    seen = {}
    pipeline(
        {"waveform": torch.from_numpy(clip.audio)[None], "sample_rate": 16000},
        hook=lambda name, artefact, **_progress: seen.__setitem__(name, artefact) if artefact is not None else None,
    )
    return seen["segmentation"], seen["embeddings"]


def _cluster(pipeline, clustering, segmentations, embeddings: np.ndarray):
    """The second half of pyannote's SpeakerDiarization.apply."""
    count = pipeline.speaker_count(segmentations, pipeline._segmentation.model.receptive_field, warm_up=(0.0, 0.0))
    clusters, _, _ = clustering(
        embeddings=embeddings.copy(), segmentations=segmentations, min_clusters=1, max_clusters=np.inf
    )
    clusters[segmentations.data.sum(1) == 0] = -2
    discrete = pipeline.reconstruct(segmentations, clusters, count)
    return pipeline.to_annotation(discrete, min_duration_on=0.0, min_duration_off=0.0)
