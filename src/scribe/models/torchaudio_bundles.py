"""The weight files of torchaudio's recognizers, with which WhisperX aligns five languages.

torchaudio publishes no checksums. Those below come from public code: for the two WAV2VEC2 bundles from several unrelated
projects each; for the four VOXPOPULI bundles from one project, which has the right value for the first bundle, and
their lengths differ by one constant from those of the same models saved here. Other files are compared with their
first download.
"""

from __future__ import annotations

from scribe.models.published import Published

ADDRESS = "https://download.pytorch.org/torchaudio/models"
CHECKED: dict[str, tuple[int | None, str]] = {
    "WAV2VEC2_ASR_BASE_960H": (377_664_473, "488fd4f16de84438ffc945334278c1b9fb9b7159a806c1080b16111a958c945d"),
    "WAV2VEC2_ASR_LARGE_LV60K_960H": (None, "7a88965716fbd598a595209bf45c1210a18a6935cfb0cf53527fc986c5543ac7"),
    "VOXPOPULI_ASR_BASE_10K_DE": (377_677_593, "5fcd937817d4cc358aa9730ccaa92cdae37af4b62959b67ba77ef1f5da7938cf"),
    "VOXPOPULI_ASR_BASE_10K_ES": (377_686_809, "272a92b156b78e697e6c7cf7c64f274250a36d0047440e27a895a377d3af818f"),
    "VOXPOPULI_ASR_BASE_10K_FR": (377_708_313, "30eeb5e5000e011838a39328c21eadf5ddaedbef0ea3f7cf5a790fd8695b92b5"),
    "VOXPOPULI_ASR_BASE_10K_IT": (377_689_881, "620bad579ee46ba1f67df2e7c858c111d14a09b349a62b1c672f0275a68484eb"),
}
FILES: dict[str, str] = {
    **{
        f"VOXPOPULI_ASR_BASE_10K_{code}": f"wav2vec2_voxpopuli_base_10k_asr_{code.lower()}.pt"
        for code in "DE EN ES FR IT".split()
    },
    **{
        f"WAV2VEC2_ASR_{size}_{hours}": f"wav2vec2_fairseq_{data}_asr_{part}.pth"
        for size, data in (("BASE", "base_ls960"), ("LARGE", "large_ls960"), ("LARGE_LV60K", "large_lv60k"))
        for hours, part in (("10M", "ll10m"), ("100H", "ls100"), ("960H", "ls960"))
    },
    "HUBERT_ASR_LARGE": "hubert_fairseq_large_ll60k_asr_ls960.pth",
    "HUBERT_ASR_XLARGE": "hubert_fairseq_xlarge_ll60k_asr_ls960.pth",
}


def weights(bundle: str) -> Published | None:
    """Return the weight file of a bundle; None if torchaudio has no recognizer of this name."""
    if bundle not in FILES:
        return None
    return Published(f"{ADDRESS}/{FILES[bundle]}", *CHECKED.get(bundle, (None, None)))
