"""The answers to a submission for which the records have no room."""

from collections.abc import Iterator
from contextlib import contextmanager

from certrad.app.api.problems import TryLater
from certrad.app.settings import ApiSettings
from certrad.models.errors import Rejected
from certrad.workers.contract.job import (
    IdempotencyConflictError,
    QueueFullError,
    TenantQuotaError,
    UrgentQuotaError,
)


@contextmanager
def refusals(settings: ApiSettings) -> Iterator[None]:
    """Turns what `Records.create` raises into what the API answers.

    Args:
        settings: The bounds.

    Raises:
        Rejected: queue_full, tenant_quota_exceeded, urgent_quota_exceeded, idempotency_conflict.
    """
    try:
        yield
    except UrgentQuotaError:
        words = f"{settings.max_urgent} urgent jobs of this tenant are queued or running"
        raise TryLater("urgent_quota_exceeded", words) from None
    except TenantQuotaError:
        words = f"{settings.max_queued_of_tenant} jobs of this tenant are queued or running"
        raise TryLater("tenant_quota_exceeded", words) from None
    except QueueFullError:
        raise Rejected("queue_full", f"{settings.max_queued} jobs are waiting or running") from None
    except IdempotencyConflictError:
        raise Rejected("idempotency_conflict", "the key belongs to another upload or other fields") from None
