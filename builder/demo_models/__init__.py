"""How the demo model set is made, and the two classes that its diarization needs at load time.

`speaker_embedding` and `speaker_segmentation` are imported when (and only when) the demo set is configured. Everything else here runs
by hand, on a machine with espeak-ng: `python builder/demo_models/build.py`. Nothing is imported from here, so that importing the
package costs nothing.
"""
