"""The worker as a process, driven from outside the way RunPod drives it."""
