"""What the running engines can do of what a request asks for."""

from certrad.app.api.dependencies import Services
from certrad.models.errors import Rejected
from certrad.workers.contract.queues import alive_engines


def require_backbone(services: Services, backbone: str) -> None:
    """Checks that a job with a backbone would not wait for engines of which none has its weights.

    Args:
        services: Those of this process.
        backbone: The id of a known backbone.

    Raises:
        Rejected: backbone_unavailable, where engines are alive and none has the weights. Where no engine is alive,
            nothing is known, and the job waits for one.
    """
    engines = alive_engines(services.redis, services.catalogue)
    if engines and not any(backbone in engine.backbones for engine in engines):
        raise Rejected("backbone_unavailable", f"no running engine has the weights of backbone {backbone!r}")
