"""The tenants that made a certificate own it; one without a note belongs to the local tenant."""

from pathlib import Path

from certrad.workers.contract.access import LOCAL_TENANT
from certrad.workers.contract.certificate_owners import CertificateOwners

SHA256 = "ab" * 32


def owners(tmp_path: Path, *tenants: str) -> set[str]:
    """Returns the tenants among these, and the local one, that own the certificate."""
    return {tenant for tenant in (*tenants, LOCAL_TENANT) if CertificateOwners(tmp_path).has(SHA256, tenant)}


def test_a_certificate_is_its_makers(tmp_path: Path) -> None:
    CertificateOwners(tmp_path).add(SHA256, "one", is_stored=False)
    assert owners(tmp_path, "one", "two") == {"one"}


def test_the_same_certificate_may_have_several_makers(tmp_path: Path) -> None:
    CertificateOwners(tmp_path).add(SHA256, "one", is_stored=False)
    CertificateOwners(tmp_path).add(SHA256, "two", is_stored=True)
    assert owners(tmp_path, "one", "two", "three") == {"one", "two"}


def test_a_certificate_from_before_is_the_local_tenants(tmp_path: Path) -> None:
    assert owners(tmp_path, "one") == {LOCAL_TENANT}


def test_a_certificate_from_before_stays_the_local_tenants_when_another_makes_it(tmp_path: Path) -> None:
    CertificateOwners(tmp_path).add(SHA256, "one", is_stored=True)
    assert owners(tmp_path, "one", "two") == {"one", LOCAL_TENANT}
