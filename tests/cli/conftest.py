"""The fixtures of a person at a terminal."""

from support.person import desk, platform, stored
from support.s3server import s3_server

__all__ = ["desk", "platform", "s3_server", "stored"]
