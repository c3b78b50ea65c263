"""The tenants that made a certificate: an index beside the certificates, with an empty file for each pair.

A certificate that the index does not know is of a release without tenants, and belongs to the local tenant.
"""

from dataclasses import dataclass
from pathlib import Path

from certrad.models.files import sync_folder
from certrad.workers.contract.access import LOCAL_TENANT


@dataclass(frozen=True, slots=True)
class CertificateOwners:
    """The folder of the index."""

    directory: Path

    def add(self, sha256: str, tenant: str, *, is_stored: bool) -> None:
        """Notes that a tenant makes a certificate; call it before the certificate is stored, so that none lacks it.

        Args:
            sha256: SHA-256 of the document, 64 hexadecimal digits, which the caller has checked.
            tenant: The tenant.
            is_stored: Whether the document is there already: without a note it then is the local tenant's too.

        Raises:
            OSError: The disk refuses.
        """
        folder = self._folder(sha256)
        owners = {tenant, LOCAL_TENANT} if is_stored and not folder.exists() else {tenant}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for owner in sorted(owners):
            (folder / owner).touch(mode=0o600, exist_ok=True)
        for changed in (folder, folder.parent, self.directory):
            sync_folder(changed)

    def has(self, sha256: str, tenant: str) -> bool:
        """Returns whether a tenant made a certificate.

        Args:
            sha256: As of `add`.
            tenant: The tenant.
        """
        folder = self._folder(sha256)
        return (folder / tenant).exists() or (tenant == LOCAL_TENANT and not folder.exists())

    def others(self, sha256: str, tenant: str) -> bool:
        """Returns whether another tenant made a certificate too.

        Args:
            sha256: As of `add`.
            tenant: The tenant.
        """
        folder = self._folder(sha256)
        marks = {path.name for path in folder.iterdir()} if folder.exists() else {LOCAL_TENANT}
        return bool(marks - {tenant})

    def remove(self, sha256: str, tenant: str) -> None:
        """Forgets that a tenant made a certificate; it may not be noted.

        Args:
            sha256: As of `add`.
            tenant: The tenant.

        Raises:
            OSError: The disk refuses.
        """
        folder = self._folder(sha256)
        (folder / tenant).unlink(missing_ok=True)
        if folder.exists() and not any(folder.iterdir()):
            folder.rmdir()

    def _folder(self, sha256: str) -> Path:
        return self.directory / sha256[:2] / sha256
