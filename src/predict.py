"""WhisperX, lazily loaded diarization and ECAPA over one recording: the public face of scribe.pipeline.predictor."""

from scribe.pipeline.predictor import Predictor

__all__ = ["Predictor"]
