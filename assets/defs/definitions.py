"""The one assembler: all that Dagster loads (workspace.yaml). Tests swap resources through `build_definitions`."""

import warnings
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import dagster as dg

from pipelines.system import runtime_tuning  # noqa: F401  first: it works before Polars is loaded only

# isort: split
from assets.defs.alerting import ALERT_SENSORS
from assets.defs.exports import exports_tables, summary_tables
from assets.defs.jobs import batch_job, daily_export, export_job, full_refresh_job
from assets.defs.published import KEY, published
from assets.defs.resources import ExportsResource, run_lock
from assets.defs.run_cleanup import dead_runs, old_runs
from assets.defs.sensors import source_changed
from assets.defs.staging import source_tables, staging
from pipelines.errors import ExportError
from pipelines.settings import STALE_AFTER_HOURS, Settings, load_settings

# Dagster takes none that is shorter.
_SHORTEST_FRESHNESS = timedelta(minutes=1)


def build_definitions(exports: ExportsResource | None = None) -> dg.Definitions:
    """Everything Dagster sees.

    Args:
        exports: The settings; None reads them from the environment when a run starts. STALE_AFTER_HOURS and
            PUBLISH_URL are read here: Dagster has to know them before any run.
    """
    exports = exports or ExportsResource()
    try:
        settings = load_settings(exports.overrides)
    except ExportError:  # a setting that can't be used; the next run says which
        settings = None
    assets: list[dg.AssetsDefinition | dg.AssetSpec] = [
        *source_tables,
        staging,
        exports_tables,
        summary_tables,
        published,
        *_remote(settings),
    ]
    return dg.Definitions(
        assets=[*_with_code_references(_with_freshness(assets, settings))],
        jobs=[export_job, full_refresh_job, batch_job],
        schedules=[daily_export],
        sensors=[source_changed, old_runs, dead_runs, *ALERT_SENSORS],
        resources={"exports": exports, "run_lock": run_lock},
        # A process per step costs about 2 s of imports each (FACTS 2.1): 10.4 s against 4.3 s for three empty assets.
        executor=dg.in_process_executor,
    )


def _with_code_references(assets: Iterable[dg.AssetsDefinition | dg.AssetSpec]) -> Iterable[Any]:
    """The assets, each with the file and line of its step, for its page."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.with_source_code_references([*assets])


def _remote(settings: Settings | None) -> list[dg.AssetsDefinition]:
    """The asset of object storage, where PUBLISH_URL is set."""
    if settings is None or settings.publish_url is None:
        return []
    from assets.defs.remote import remote  # noqa: PLC0415  needs the extra `cloud`

    return [remote]


def _with_freshness(
    assets: Iterable[dg.AssetsDefinition | dg.AssetSpec], settings: Settings | None
) -> Iterable[dg.AssetsDefinition | dg.AssetSpec]:
    """The assets; those that each check of the source is reported for are stale after STALE_AFTER_HOURS without one."""
    hours = STALE_AFTER_HOURS if settings is None else settings.stale_after_hours
    policy = dg.FreshnessPolicy.time_window(fail_window=max(timedelta(hours=hours), _SHORTEST_FRESHNESS))
    watched = {KEY, *(spec.key for spec in source_tables)}
    return dg.map_asset_specs(
        lambda spec: dg.apply_freshness_policy(spec, policy) if spec.key in watched else spec, assets
    )


defs = build_definitions()
