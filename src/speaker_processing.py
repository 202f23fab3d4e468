"""Speaker verification with ECAPA, enrolment and matching: the public face of scribe.speakers.ecapa."""

from scribe.speakers.ecapa import Match, SpeakerEncoder, Voice, VoiceSample, centroid, cosine, get_ecapa, match

__all__ = ["Match", "SpeakerEncoder", "Voice", "VoiceSample", "centroid", "cosine", "get_ecapa", "match"]
