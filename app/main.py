"""The HTTP application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.telemetry import TelemetryConfig

from certrad.app.api import problems
from certrad.app.api.access import AccessMiddleware
from certrad.app.api.access_in_openapi import describe_access
from certrad.app.api.audit import PROCESS, AuditMiddleware
from certrad.app.api.dependencies import Services
from certrad.app.api.methods import HeadMiddleware
from certrad.app.api.metrics_port import metrics_on_own_port
from certrad.app.api.middleware import (
    MONITORING,
    AllowedHostMiddleware,
    BodySizeLimitMiddleware,
    ErrorMiddleware,
    SecurityHeadersMiddleware,
)
from certrad.app.api.origin import ForeignOriginMiddleware
from certrad.app.api.request_log import RequestLogMiddleware
from certrad.app.api.routes import (
    adapters,
    assessments,
    calibrations,
    catalogue,
    certificates,
    certify,
    drift,
    figures,
    health,
    instances,
    jobs,
    keys,
    rules,
    selftest,
    session,
    triggers,
    verify,
)
from certrad.app.api.routes import prompts as tuning
from certrad.app.api.routes.page import page_router
from certrad.app.api.store_version import begin_to_ask
from certrad.app.settings import ApiSettings
from certrad.workers.contract import tracing
from certrad.workers.contract.audit import recorded_run

_MAX_JSON_BYTES = 1 << 20  # of a body that is no file: FastAPI keeps it in memory
_DESCRIPTION = """Classifies medical images with a certified L2 radius, or abstains.

A certificate says that small changes of the image cannot change the class. It says nothing about whether the class is
right, and an abstention does not detect an unknown kind of image. Research use; not a medical device.
"""


def create_app(settings: ApiSettings | None = None) -> FastAPI:
    """Returns the application; it first connects to Redis at its first request.

    Args:
        settings: The settings; None for those of the environment.
    """
    settings = settings or ApiSettings()
    services = Services.build(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        asking = await begin_to_ask(services.redis)
        with recorded_run(services.audit, PROCESS), metrics_on_own_port(settings, services.metrics):
            yield
        asking.cancel()
        await services.close()

    app = FastAPI(
        telemetry=_telemetry(settings),
        title="certrad",
        version=version("certrad"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # FastAPI's pages load scripts from outside the hospital; `page` serves its own
        redoc_url=None,
    )
    app.state.services = services
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # the documented way to extend the schema
    problems.install(app)
    app.add_middleware(AccessMiddleware, services=services)
    app.add_middleware(AuditMiddleware, trail=services.audit)
    app.add_middleware(
        BodySizeLimitMiddleware,
        max_bytes=min(_MAX_JSON_BYTES, settings.max_body_bytes),
        larger={
            certify.PATH: settings.max_body_bytes,
            verify.PATH: settings.max_body_bytes,
            tuning.PATH: settings.max_archive_bytes,
            instances.PATH: settings.max_received_bytes,
            f"{instances.PATH}/": settings.max_received_bytes,
        },
    )
    app.add_middleware(ForeignOriginMiddleware)
    app.add_middleware(AllowedHostMiddleware, settings=settings)
    app.add_middleware(ErrorMiddleware)
    app.add_middleware(SecurityHeadersMiddleware)
    app.add_middleware(HeadMiddleware)
    app.add_middleware(
        RequestLogMiddleware,
        settings=settings,
        metrics=services.requests,
        uploads=(certify.PATH, tuning.PATH, instances.PATH, f"{instances.PATH}/"),
    )
    for module in (
        certify,
        jobs,
        figures,
        certificates,
        assessments,
        verify,
        tuning,
        adapters,
        calibrations,
        catalogue,
        health,
        keys,
        triggers,
        instances,
        rules,
        selftest,
        session,
        drift,
    ):
        app.include_router(module.router)
    if settings.metrics_port is None:
        app.include_router(health.metrics_router)
    app.include_router(page_router(settings))
    return app


def _telemetry(settings: ApiSettings) -> TelemetryConfig:
    """Returns FastAPI's own configuration: spans only, since its logs would hold what clients sent."""
    provider = tracing.configure(
        PROCESS, enabled=settings.telemetry, in_background=True, headers=settings.telemetry_headers
    )
    return {
        "tracer_provider": provider,
        "tracing": provider is not None,
        "metrics": False,
        "logs": False,
        "operation_spans": False,
        "auto_configure": False,
        "exclude": lambda scope: MONITORING.fullmatch(scope["path"]) is not None,
    }


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Returns the schema, with the problem body that every route may return although none declares it."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        template = "#/components/schemas/{model}"
        body = problems.ProblemBody.model_json_schema(ref_template=template)
        schema["components"]["schemas"].update({**body.pop("$defs"), "ProblemBody": body})
        describe_access(schema)
        app.openapi_schema = schema
    return app.openapi_schema
