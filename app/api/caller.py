"""The caller of a request, as the middleware of access control found it."""

from typing import Annotated, cast

from fastapi import Depends, Request

from certrad.workers.contract.access import LOCAL_CALLER, Caller


def caller(request: Request) -> Caller:
    """Returns who sent the request; a service that is open on loopback knows one local caller."""
    return cast("Caller", getattr(request.state, "caller", LOCAL_CALLER))


CallerDep = Annotated[Caller, Depends(caller)]
