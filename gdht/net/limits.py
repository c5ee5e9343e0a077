"""The process's limit of open files: every connection is one."""

import logging
import resource

log = logging.getLogger(__name__)

SPARE_FILES = 128
"""Files that are no connection: listeners, logs, the event loop, resolver threads, the store."""


def allow_open_files(connections: int) -> int:
    """Raise the soft limit of open files towards the hard one if this many connections need it; returns the limit.

    Logs a warning when even the hard limit is too low; connections over it are then refused by the accept back-off.
    """
    wanted = connections + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        soft = limit
        if limit < wanted:
            log.warning("open_files_limit=%d wanted=%d: not all max_connections can be used", limit, wanted)
    return soft
