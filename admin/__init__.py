"""The admin port: probes, metrics, JSON and pages, all made from a snapshot of the node."""

from .actions import Actions
from .app import create_app, create_warm_app
from .source import Queries

__all__ = ["Actions", "Queries", "create_app", "create_warm_app"]
