"""Start the RunPod worker: read the settings, prepare the environment, load the models, enter the SDK's loop.

    python3 src/init_and_run.py                    the worker
    python3 src/init_and_run.py --check [--json]   what works on this machine, what does not and what to do about it

Exit codes: 0 stopped by the platform, or all that the configuration needs works; 1 a model or something else that it
needs is missing or does not work; 2 an unknown flag; 78 invalid settings.
"""

from __future__ import annotations

import argparse
import gc
import logging
import sys

from scribe import settings as settings_module
from scribe.app.check import check, refused
from scribe.app.environment import prepare_environment
from scribe.app.worker import Worker
from scribe.settings import InvalidSettings

log = logging.getLogger("worker")

EXIT_MODEL, EXIT_USAGE = 1, 2


def main() -> int:
    """Start the worker, or with `--check` report what works. Returns the exit code, when it cannot start or has checked."""
    if "--check" in sys.argv:
        options = argparse.ArgumentParser(description="What works on this machine, and what to do about the rest.")
        options.add_argument("--check", action="store_true", required=True)
        options.add_argument("--json", action="store_true", help="the report as JSON")
        return check(options.parse_args().json)
    # Flags that begin with --rp_ or --test_ belong to the SDK. Any other unknown flag is a typing error: do not start.
    flags = [a for a in sys.argv[1:] if a.startswith("-") and not a.startswith(("--rp_", "--test_"))]
    if flags:
        asked = flags[0] in ("-h", "--help")
        print(__doc__ if asked else f"{flags[0]} is not known.\n\n{__doc__}", file=sys.stdout if asked else sys.stderr)
        return 0 if asked else EXIT_USAGE
    try:
        settings = settings_module.load()
        prepare_environment(settings)
        worker = Worker.from_settings(settings)
    except InvalidSettings as error:
        return refused(error)
    except Exception as error:
        from scribe.errors import WorkerError

        if not isinstance(error, WorkerError):
            raise
        log.error("the worker cannot start: %s: %s", error.code, error.message)
        return EXIT_MODEL
    from rp_handler import Handler
    from scribe.doors.runpod_sdk import serve

    # The libraries' objects live as long as the worker: exclude them from every later garbage collection.
    gc.collect()
    gc.freeze()
    log.info("ready")
    serve(Handler(worker.runner), settings.concurrency, worker.fit, worker.probe_storage)
    return 0


if __name__ == "__main__":
    sys.exit(main())
