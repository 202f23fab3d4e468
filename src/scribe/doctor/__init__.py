"""Check what works on this machine: memory, disks, GPUs, models, storage."""
