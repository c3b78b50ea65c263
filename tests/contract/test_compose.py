"""The cluster's files keep images inside their networks, and weights can still be fetched."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from certrad.app.settings import ApiSettings
from certrad.workers.contract.secret_files import secret_settings
from certrad.workers.settings import CallbackSettings, ConnectorSettings, WorkerSettings

ROOT = Path(__file__).parents[2]
ADDED = ("time-stamps.yml", "pacs.yml")
COMPOSE: dict[str, Any] = yaml.safe_load(ROOT.joinpath("docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
STAMPS, OWN_PACS = (yaml.safe_load(ROOT.joinpath("docker", name).read_text("utf-8")) for name in ADDED)
FILES = (COMPOSE, STAMPS, OWN_PACS)
SETTINGS = (ApiSettings, WorkerSettings, ConnectorSettings, CallbackSettings)


def has_exit(service: str) -> bool:
    """Returns whether a service is on a network that leads out."""
    return any(not COMPOSE["networks"][network].get("internal", False) for network in SERVICES[service]["networks"])


@pytest.mark.parametrize("service", ["redis", "intake", "archive", "engine"])
def test_what_holds_images_has_no_way_out(service: str) -> None:
    assert not has_exit(service)


@pytest.mark.parametrize("service", sorted(SERVICES.keys() - {"orthanc"}))
def test_every_service_of_ours_is_unprivileged_and_read_only(service: str) -> None:
    described = SERVICES[service]
    assert described["read_only"] is True
    assert described["cap_drop"] == ["ALL"]
    assert described["security_opt"] == ["no-new-privileges:true"]
    assert described["pids_limit"] > 0
    assert not {"privileged", "cap_add", "network_mode", "pid"} & described.keys()


def test_fetch_reaches_the_net_but_not_redis_and_stores_for_engines() -> None:
    assert has_exit("fetch")
    assert not set(SERVICES["fetch"]["networks"]) & set(SERVICES["redis"]["networks"])
    assert SERVICES["fetch"]["volumes"] == ["models:/data"]
    assert "models:/data" in SERVICES["engine"]["volumes"]


@pytest.mark.parametrize(
    ("volume", "holders"),
    [("signing:/data/signing", {"intake", "keys"}), ("epochs:/data/secrets", {"engine", "keys"})],
)
def test_a_secret_is_mounted_where_it_is_used_and_nowhere_else(volume: str, holders: set[str]) -> None:
    name = volume.partition(":")[0]
    mounted = {
        service: [mount for mount in described.get("volumes", []) if mount.startswith(f"{name}:")]
        for service, described in SERVICES.items()
    }
    expected = {service: [volume] for service in holders}
    assert {service: mounts for service, mounts in mounted.items() if mounts} == expected


def test_keys_run_when_asked_only_and_have_no_way_out() -> None:
    assert SERVICES["keys"]["profiles"] == ["keys"]
    assert SERVICES["keys"]["entrypoint"] == ["certrad", "keys"]
    assert SERVICES["keys"]["restart"] == "no"
    assert not has_exit("keys")


def test_fetch_runs_when_asked_only() -> None:
    assert SERVICES["fetch"]["profiles"] == ["fetch"]
    assert SERVICES["fetch"]["entrypoint"] == ["certrad", "fetch"]
    assert SERVICES["fetch"]["restart"] == "no"


def test_the_worker_image_may_download() -> None:
    assert "HF_HUB_OFFLINE" not in ROOT.joinpath("docker/worker.Dockerfile").read_text("utf-8")


def test_the_api_is_published_on_loopback_only() -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["api"]["ports"])


def test_the_api_image_listens_on_an_address_on_which_access_is_closed() -> None:
    (command,) = [
        line
        for line in ROOT.joinpath("docker/api.Dockerfile").read_text("utf-8").splitlines()
        if line.startswith("CMD")
    ]
    assert '"api", "--host", "0.0.0.0"' in command
    assert "command" not in SERVICES["api"]


@pytest.mark.parametrize("service", ["api", "intake", "archive", "engine", "keys"])
def test_each_service_has_its_own_user_of_redis_and_the_password_of_no_other(service: str) -> None:
    environment = SERVICES[service]["environment"]
    assert environment["CERTRAD_REDIS_URL"].startswith("rediss://")
    assert environment["CERTRAD_REDIS_USER"] == service
    assert environment["CERTRAD_REDIS_PASSWORD_FILE"] == "/run/secrets/redis_password"
    more = ["trigger_secret"] if service == "api" else []
    assert SERVICES[service]["secrets"] == [
        {"source": f"redis_{service}", "target": "redis_password"},
        "redis_ca",
        *more,
    ]
    assert COMPOSE["secrets"][f"redis_{service}"]["file"].endswith(f"/{service}.password")


def test_the_sender_of_callbacks_has_its_own_user_of_redis_the_secret_and_nothing_else() -> None:
    sender = SERVICES["callbacks"]
    assert sender["environment"]["CERTRAD_REDIS_USER"] == "callbacks"
    assert sender["secrets"] == [
        {"source": "redis_callbacks", "target": "redis_password"},
        "redis_ca",
        "callback_secret",
    ]
    assert sender["environment"]["CERTRAD_CALLBACK_SECRET_FILE"] == "/run/secrets/callback_secret"
    assert sender["volumes"] == ["callbacks-audit:/data/audit-trail"]


def test_the_sender_of_callbacks_runs_when_asked_only_and_has_a_way_out() -> None:
    assert SERVICES["callbacks"]["profiles"] == ["callbacks"]
    assert has_exit("callbacks")
    assert [name for name, service in SERVICES.items() if "receivers" in service["networks"]] == ["callbacks"]


def test_the_api_takes_callbacks_to_the_hosts_of_the_sender() -> None:
    given = [SERVICES[name]["environment"].get("CERTRAD_CALLBACK_HOSTS", "missing") for name in ("api", "callbacks")]
    assert given == [None, None]  # of whoever starts them


def test_the_connector_has_an_api_key_from_a_file() -> None:
    connector = SERVICES["connector"]
    assert connector["environment"]["CERTRAD_API_KEY_FILE"] == "/run/secrets/api_key"
    assert connector["secrets"] == [{"source": "connector_key", "target": "api_key"}]


@pytest.mark.parametrize("image", ["api", "worker"])
def test_an_image_installs_its_lock_with_hashes_and_nothing_beside_it(image: str) -> None:
    lines = ROOT.joinpath(f"docker/{image}.Dockerfile").read_text("utf-8").splitlines()
    installs = [line.partition("pip install ")[2] for line in lines if "pip install" in line]
    assert installs == [
        f"--no-cache-dir --require-hashes -r requirements-{image}.txt",
        "--no-cache-dir --no-deps . && /venv/bin/pip check",
    ]


def test_redis_has_every_file_that_its_configuration_names() -> None:
    configured = ROOT.joinpath("docker/redis/valkey.conf").read_text("utf-8").split()
    named = {word.removeprefix("/run/secrets/") for word in configured if word.startswith("/run/secrets/")}
    assert named == set(SERVICES["redis"]["secrets"]) <= COMPOSE["secrets"].keys()


def test_the_script_makes_every_secret_but_the_key_that_the_api_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run([ROOT / "docker" / "redis" / "make_secrets.sh", tmp_path], check=True)
    mounted = {secret["file"].rpartition("/")[2] for secret in COMPOSE["secrets"].values()}
    assert mounted - {file.name for file in tmp_path.iterdir()} == {"connector.key"}
    secret = tmp_path / "trigger.secret"
    assert secret.stat().st_mode & 0o777 == 0o444  # each container has a user of its own; the folder keeps others out
    secret.chmod(0o400)  # outside /run/secrets, nobody else may read it
    monkeypatch.setenv("CERTRAD_TRIGGER_SECRET_FILE", str(secret))
    trigger_secret = ApiSettings().trigger_secret
    assert trigger_secret is not None
    assert trigger_secret.get_secret_value() == secret.read_text()


def test_secrets_are_not_in_the_repository() -> None:
    assert "/redis-secrets/" in ROOT.joinpath(".gitignore").read_text("utf-8").splitlines()


def test_uploads_are_spooled_to_the_volume_they_are_stored_on() -> None:
    api = SERVICES["api"]
    assert api["environment"]["TMPDIR"] == api["environment"]["CERTRAD_DATA_DIR"] == "/data"
    assert "api-data:/data" in api["volumes"]


@pytest.mark.parametrize("service", ["connector", "orthanc"])
def test_pacs_and_its_connector_run_when_asked_only(service: str) -> None:
    assert SERVICES[service]["profiles"] == ["hospital"]


def test_connector_reaches_the_pacs_and_the_api_and_nothing_else() -> None:
    networks = set(SERVICES["connector"]["networks"])
    assert {name for name, service in SERVICES.items() if networks & set(service["networks"])} == {
        "api",
        "connector",
        "orthanc",
    }
    assert not has_exit("connector")


def test_connector_shares_triggers_with_the_api_and_no_upload_or_key() -> None:
    mounts = {mount.split(":")[0] for mount in SERVICES["connector"]["volumes"] if not mount.startswith("$")}
    assert mounts == {"pacs-data", "connector-audit"}
    assert "pacs-data:/data/pacs" in SERVICES["api"]["volumes"]


def test_script_and_addresses_of_the_hospital_fit_together() -> None:
    orthanc, connector, api = (SERVICES[name] for name in ("orthanc", "connector", "api"))
    (script,) = [mount for mount in orthanc["volumes"] if mount.startswith("./")]
    source, target, mode = script.split(":")
    assert ROOT.joinpath(source).is_file()
    assert target in orthanc["environment"]["ORTHANC__LUA_SCRIPTS"]
    assert mode == "ro"
    for address in (orthanc["environment"]["CERTRAD_TRIGGER_URL"], connector["environment"]["CERTRAD_URL"]):
        host = address.removeprefix("http://").partition(":")[0]
        assert host in SERVICES
        assert host in api["environment"]["CERTRAD_ALLOWED_HOSTS"].split(",")
    assert "orthanc" in connector["environment"]["CERTRAD_PACS_URL"]


def test_api_and_orthanc_read_the_secret_of_triggers_from_one_file() -> None:
    for service in (SERVICES["api"], SERVICES["orthanc"]):
        assert service["environment"]["CERTRAD_TRIGGER_SECRET_FILE"] == "/run/secrets/trigger_secret"
        assert "trigger_secret" in service["secrets"]
    assert COMPOSE["secrets"]["trigger_secret"]["file"].endswith("/trigger.secret")


def test_names_that_clients_call_are_added_to_those_of_the_network() -> None:
    names = SERVICES["api"]["environment"]["CERTRAD_ALLOWED_HOSTS"]
    given = names.replace("${CERTRAD_ALLOWED_HOSTS-}", "certrad.example.org")
    assert ApiSettings(allowed_hosts=given).host_names == {"localhost", "api", "certrad.example.org"}


def test_pacs_is_published_on_loopback_only() -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["orthanc"]["ports"])
    assert SERVICES["orthanc"]["image"].partition(":")[2] not in ("", "latest")


@pytest.mark.parametrize(
    ("service", "names"),
    [
        ("api", ["CERTRAD_TRUSTED_PROXIES", "CERTRAD_TELEMETRY"]),
        ("intake", ["CERTRAD_REPORT_LANGUAGE", "CERTRAD_COPY_BURNED_IN", "CERTRAD_TELEMETRY"]),
        ("intake", ["CERTRAD_DRIFT_LABELS", "CERTRAD_DRIFT_SCANNER_MODELS"]),
        *((name, ["CERTRAD_TELEMETRY", "OTEL_EXPORTER_OTLP_ENDPOINT"]) for name in ("archive", "engine", "callbacks")),
    ],
)
def test_settings_of_whoever_starts_it_reach_the_service_and_stay_unset_otherwise(
    service: str, names: list[str]
) -> None:
    given = SERVICES[service]["environment"]
    assert [given.get(name, "missing") for name in names] == [None] * len(names)


def test_intake_has_a_way_out_only_with_the_file_for_time_stamps() -> None:
    networks = set(STAMPS["services"]["intake"]["networks"])
    assert networks == {*SERVICES["intake"]["networks"], "authority"}
    assert STAMPS["networks"] == {"authority": {}}
    assert not any("authority" in service["networks"] for service in SERVICES.values())


def test_the_file_for_time_stamps_gives_intake_an_authority_and_both_its_certificates() -> None:
    intake, api = (STAMPS["services"][name] for name in ("intake", "api"))
    assert intake["environment"]["CERTRAD_TSA_URL"].startswith("${CERTRAD_TSA_URL:?")
    for service in (intake, api):
        (mount,) = service["volumes"]
        assert mount.endswith(f":{service['environment']['CERTRAD_TSA_CERTIFICATES']}:ro")


def test_the_file_for_a_pacs_of_ones_own_gives_the_connector_alone_a_way_to_it() -> None:
    assert OWN_PACS["services"].keys() == {"connector"}
    connector = OWN_PACS["services"]["connector"]
    assert set(connector["networks"]) == {*SERVICES["connector"]["networks"], *OWN_PACS["networks"]}
    (mount,) = connector["volumes"]
    assert mount.endswith(f":{connector['environment']['CERTRAD_PACS_CA']}:ro")


def test_the_credentials_of_a_pacs_of_ones_own_are_files() -> None:
    connector = OWN_PACS["services"]["connector"]
    assert connector["secrets"] == list(OWN_PACS["secrets"]) == ["pacs_token", "pacs_password"]
    for name in connector["secrets"]:
        variable = f"CERTRAD_{name.upper()}_FILE"
        assert connector["environment"][variable] == f"${{{variable}:+/run/secrets/{name}}}"
        assert OWN_PACS["secrets"][name]["file"] == f"${{{variable}:-/dev/null}}"


def test_no_variable_holds_a_secret() -> None:
    secrets = {f"CERTRAD_{name.upper()}" for kind in SETTINGS for name in secret_settings(kind)}
    given = {
        (service, name)
        for content in FILES
        for service, described in content["services"].items()
        for name in described.get("environment", {})
    }
    assert "CERTRAD_TRIGGER_SECRET" in secrets
    assert [(service, name) for service, name in given if name in secrets] == []


def test_every_setting_in_the_files_is_one_that_the_service_reads() -> None:
    known = {f"CERTRAD_{name.upper()}" for kind in SETTINGS for name in kind.model_fields} | {"CERTRAD_TRIGGER_URL"}
    known |= {f"{name}_FILE" for name in known}
    given = {
        name
        for content in FILES
        for service in content["services"].values()
        for name in service.get("environment", {})
        if name.startswith("CERTRAD_")
    }
    assert given - known == set()


@pytest.mark.parametrize(("settings", "name"), [(ConnectorSettings, "orthanc_url"), (WorkerSettings, "tsa_url")])
def test_an_empty_setting_is_unset(
    settings: type[WorkerSettings | ConnectorSettings], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"CERTRAD_{name.upper()}", "")
    assert getattr(settings(), name) is None
