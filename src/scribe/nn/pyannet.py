"""Run PyanNet, pyannote's segmentation network, with torch alone, because importing pyannote takes five seconds.

The architecture is that of Bredin & Laurent, "End-to-end speaker segmentation for overlap-aware resegmentation"
(Interspeech 2021): SincNet, bidirectional LSTMs, two dense layers, a sigmoid for each speaker.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scribe.audio.decode import SAMPLE_RATE
from scribe.nn import checkpoint
from scribe.nn.sliding_window import Network, Scores
from scribe.runtime.cores import by_core

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

ARCHITECTURE = {"module": "pyannote.audio.models.segmentation.PyanNet", "class": "PyanNet"}
SINCNET = {"stride": 10, "sample_rate": SAMPLE_RATE}
LSTM = {"bidirectional": True, "monolithic": True, "batch_first": True}
MULTI_LABEL, BY_FRAME = (2,), (1,)  # arguments of pyannote's enumerations of problems and resolutions
FEATURES = 60  # of SincNet's last layer
# Receptive field and step, in samples, of SincNet's six convolutions and poolings of widths 251, 3, 5, 3, 5, 3.
FIELD, HOP = 991, 270
LOWEST_HZ, NARROWEST_HZ = 50, 50
BLOCKS = 3  # a convolution, a pooling and a norm each


def packaged() -> Path:
    """Return the path of the weights in whisperX's wheel, without importing it. Raises FileNotFoundError."""
    found = importlib.util.find_spec("whisperx")
    if found is None or not found.submodule_search_locations:
        raise FileNotFoundError("whisperx")
    return Path(found.submodule_search_locations[0]) / "assets" / "pytorch_model.bin"


def load(path: Path, device: str) -> Network | None:
    """Load a pyannote checkpoint, with the windows and batches of pyannote's `Inference`.

    Returns None for any other architecture and for an unreadable file, which pyannote then loads or reports. Raises what
    CUDA raises when the weights do not fit.
    """
    try:
        duration, lstm, dense, weights = _known(checkpoint.read(path))
    except Exception as error:
        log.info("%s is left to pyannote (%s: %s)", path.name, type(error).__name__, error)
        return None
    network = PyanNet({name: tensor.to(device) for name, tensor in weights.items()}, lstm.to(device), dense)
    infer = by_core(network.infer, device)
    return Network(infer, duration, 0.1 * duration, FIELD / SAMPLE_RATE, HOP / SAMPLE_RATE)


def _known(found: Mapping[str, Any]) -> tuple[float, torch.nn.LSTM, int, dict[str, torch.Tensor]]:
    """Return (seconds of a window, the LSTM, the number of dense layers, all other weights).

    Raises (KeyError, ValueError and others) for a network that differs in any way from the one that this module computes.
    """
    import torch

    task = found["pyannote.audio"]["specifications"].state
    hyper, weights = found["hyper_parameters"], dict(found["state_dict"])
    described = {
        "architecture": found["pyannote.audio"]["architecture"],
        "sincnet": hyper["sincnet"],
        "input": (hyper["sample_rate"], hyper["num_channels"]),
        "lstm": {name: hyper["lstm"][name] for name in LSTM},
        "task": (task["problem"].arguments, task["resolution"].arguments),
        "warm_up": tuple(task["warm_up"]),
        "powerset": task.get("powerset_max_classes"),
    }
    expected = {
        "architecture": ARCHITECTURE,
        "sincnet": SINCNET,
        "input": (SAMPLE_RATE, 1),
        "lstm": LSTM,
        "task": (MULTI_LABEL, BY_FRAME),
        "warm_up": (0.0, 0.0),
        "powerset": None,
    }
    if other := [name for name in expected if described[name] != expected[name]]:
        raise ValueError(f"another {other[0]}")
    hidden, layers = hyper["lstm"]["hidden_size"], hyper["lstm"]["num_layers"]
    lstm = torch.nn.LSTM(FEATURES, hidden, layers, batch_first=True, bidirectional=True)
    lstm.load_state_dict({name[5:]: weights.pop(name) for name in list(weights) if name.startswith("lstm.")})
    dense, width = hyper["linear"]["num_layers"], hyper["linear"]["hidden_size"]
    shapes = _shapes(2 * hidden, dense, width, len(task["classes"]))
    if {name: tuple(tensor.shape) for name, tensor in weights.items()} != shapes:
        raise ValueError("other layers")
    return float(task["duration"]), lstm.eval().requires_grad_(False), dense, weights


def _shapes(features: int, dense: int, width: int, classes: int) -> dict[str, tuple[int, ...]]:
    """Return the expected shape of every weight outside the LSTM, by name."""
    bank = "sincnet.conv1d.0.filterbank"
    found: dict[str, tuple[int, ...]] = {
        "sincnet.wav_norm1d.weight": (1,),
        "sincnet.wav_norm1d.bias": (1,),
        f"{bank}.low_hz_": (40, 1),
        f"{bank}.band_hz_": (40, 1),
        f"{bank}.window_": (125,),
        f"{bank}.n_": (1, 125),
    }
    for number, channels in enumerate((80, FEATURES, FEATURES)):
        if number:
            found[f"sincnet.conv1d.{number}.weight"] = (FEATURES, 80 if number == 1 else FEATURES, 5)
            found[f"sincnet.conv1d.{number}.bias"] = (FEATURES,)
        found |= {f"sincnet.norm1d.{number}.{kind}": (channels,) for kind in ("weight", "bias")}
    for number in range(dense):
        found |= {f"linear.{number}.weight": (width, width if number else features), f"linear.{number}.bias": (width,)}
    return found | {"classifier.weight": (classes, width if dense else features), "classifier.bias": (classes,)}


class PyanNet:
    """The network on one device. Its operations have pyannote's order, so that the results are equal to the last bit."""

    def __init__(self, weights: dict[str, torch.Tensor], lstm: torch.nn.LSTM, dense: int) -> None:
        self._weights = weights
        self._lstm = lstm
        self._dense = [f"linear.{number}" for number in range(dense)]
        bank = (weights[f"sincnet.conv1d.0.filterbank.{name}"] for name in ("low_hz_", "band_hz_", "window_", "n_"))
        self._filters = sinc_filters(*bank)

    def infer(self, windows: torch.Tensor) -> Scores:
        """Return the probabilities that each speaker speaks: (windows, 1, samples) -> (windows, frames, speakers) float32."""
        import torch
        from torch.nn.functional import leaky_relu, linear

        with torch.inference_mode():
            features = self._sincnet(windows.to(self._filters.device))
            features, _ = self._lstm(features.transpose(1, 2))
            for name in self._dense:
                features = leaky_relu(linear(features, *self._pair(name)))
            found: Scores = torch.sigmoid(linear(features, *self._pair("classifier"))).cpu().numpy()
        return found

    def _sincnet(self, features: torch.Tensor) -> torch.Tensor:
        from torch.nn.functional import conv1d, instance_norm, leaky_relu, max_pool1d

        def normed(values: torch.Tensor, name: str) -> torch.Tensor:
            weight, bias = self._pair(f"sincnet.{name}")
            return instance_norm(values, weight=weight, bias=bias)

        features = normed(features, "wav_norm1d")
        for block in range(BLOCKS):
            if block == 0:
                features = conv1d(features, self._filters, stride=SINCNET["stride"]).abs()
            else:
                features = conv1d(features, *self._pair(f"sincnet.conv1d.{block}"))
            features = leaky_relu(normed(max_pool1d(features, 3, stride=3), f"norm1d.{block}"))
        return features

    def _pair(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        return self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]


def sinc_filters(
    low_hz: torch.Tensor, band_hz: torch.Tensor, window: torch.Tensor, times: torch.Tensor
) -> torch.Tensor:
    """Compute an even and an odd band-pass filter for each of 40 bands with learned edges: (80, 1, 251).

    `low_hz`, `band_hz`: (40, 1), hertz above the least allowed; `window`, `times`: the left half of a Hamming window, and
    of the samples' times in radians per hertz. SincNet: Ravanelli & Bengio (SLT 2018); the odd half: Pariente et al.
    (ICASSP 2020).
    """
    import torch

    low = LOWEST_HZ + low_hz.abs()
    high = (low + NARROWEST_HZ + band_hz.abs()).clamp(LOWEST_HZ, SAMPLE_RATE / 2)
    # Not a matrix product, which a GPU may compute in TensorFloat-32.
    below, above, middle = low * times, high * times, 2 * (high - low)
    even = (above.sin() - below.sin()) / (times / 2) * window
    odd = (below.cos() - above.cos()) / (times / 2) * window
    halves = [
        torch.cat([even, middle, even.flip(1)], dim=1),
        torch.cat([odd, torch.zeros_like(middle), -odd.flip(1)], dim=1),
    ]
    return torch.cat([half / middle for half in halves]).unsqueeze(1)
