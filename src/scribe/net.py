"""One guarded HTTP client for every address that a job names.

Threat: a job's URL makes the worker call what only the worker can reach: cloud metadata, the private network, itself
(server-side request forgery), directly, by a redirect, or by a name whose answer changes between check and use.
Defence: http and https only, ports 80 and 443; on every hop all resolved addresses must pass an address table of our own
(ipaddress' notion of "private" differs between Python releases), and the socket is opened to an address that was checked,
while TLS still verifies the name. Proxies are never used: pinning holds only if this process opens the socket.
Not a defence against public servers that forward to private ones.
"""

from __future__ import annotations

import contextlib
import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import IO, Any
from urllib.parse import urljoin

import certifi
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.response import BaseHTTPResponse
from urllib3.util import make_headers, parse_url

from scribe.errors import FetchFailed, FetchIncomplete, UrlBlocked
