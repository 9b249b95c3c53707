"""What the process knows of itself at one moment, for whoever shows it."""

from collections.abc import Mapping, Sequence

import msgspec

from ingress_controller.reconcile import Outcome
from ingress_controller.serving.refusals import Reason
from ingress_controller.traces.export.losses import ExportStats
from proxy.engine import Stats


class Readings(msgspec.Struct, frozen=True, kw_only=True):
    """Values that do not change any more.

    `missing` is empty when it is ready. `published_unix_s` is when the table came into force, 0
    before the first; `publish_count` counts tables, `publish_rejected_count` those of which the
    engine refused a part. `is_leader` is None where nothing is written to Kubernetes.
    """

    version: str
    engine: Stats
    outcome: Outcome
    exporters: Sequence[ExportStats] = ()
    missing: tuple[str, ...] = ()
    objects: int = 0
    objects_refused: int = 0
    published_unix_s: float = 0.0
    publish_count: int = 0
    publish_rejected_count: int = 0
    is_leader: bool | None = None
    lease: str = ""
    admin_refused: Mapping[Reason, int] = {}
    api_refused: Mapping[Reason, int] = {}
