"""A real Orthanc with its DICOMweb plugin, on loopback and in a folder of the test's own."""

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.support.processes import ROOT, wait_for

ORTHANC = "/usr/sbin/Orthanc"
PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
SCRIPT = ROOT / "docker" / "orthanc" / "certrad.lua"


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Orthanc:
    """One Orthanc; what it stores outlives `kill` and `start`."""

    def __init__(self, folder: Path, *, lua: bool = True, users: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.port, self.dicom_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.root = f"{self.url}/dicom-web"
        self._environment: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        database, temporary = str(folder / "db"), folder / "tmp"
        temporary.mkdir()
        configuration = {
            "Name": "TEST",
            "StorageDirectory": database,
            "IndexDirectory": database,
            "TemporaryDirectory": str(temporary),
            "HttpPort": self.port,
            "DicomPort": self.dicom_port,
            "DicomAet": "ORTHANC",
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": users is not None,
            "RegisteredUsers": dict(users or {}),
            "StableAge": 1,
            "SyncStorageArea": False,
            "SaveJobs": False,
            "OverwriteInstances": True,
            "WebDavEnabled": False,
            "DicomAssociationCloseDelay": 0,
            "LuaScripts": [str(SCRIPT)] if lua else [],
            "Plugins": [PLUGIN],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Host": f"127.0.0.1:{self.port}", "Ssl": False},
        }
        (folder / "orthanc.json").write_text(json.dumps(configuration))

    def start(self, **environment: str) -> None:
        """Starts it, with variables for its script; it keeps those of the start before."""
        assert Path(ORTHANC).exists(), "apt-get install orthanc orthanc-dicomweb dcmtk"
        self._environment |= environment
        with (self.folder / "orthanc.log").open("ab") as log:
            self._process = subprocess.Popen(
                [ORTHANC, str(self.folder / "orthanc.json")],
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(self._answers, timeout=60, what="the first answer of Orthanc")

    def kill(self) -> None:
        """`kill -9`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "orthanc.log").read_text(errors="replace")[-2000:]
        try:
            return httpx.get(f"{self.url}/system", timeout=2).status_code in (200, 401)
        except httpx.HTTPError:
            return False

    def get(self, path: str) -> Any:
        """The JSON at an address of Orthanc's own interface."""
        return httpx.get(f"{self.url}{path}", timeout=30).raise_for_status().json()

    def send(self, *files: Path) -> None:
        """C-STORE, as a modality does it."""
        storescu = shutil.which("storescu")
        assert storescu is not None, "apt-get install dcmtk"
        command = [storescu, "-aet", "CERTRAD", "-aec", "ORTHANC", "127.0.0.1", str(self.dicom_port)]
        subprocess.run([*command, *map(str, files)], check=True, capture_output=True)

    def instances(self, study: str) -> list[dict[str, Any]]:
        """The instances of a study as QIDO lists them."""
        answer = httpx.get(
            f"{self.root}/studies/{study}/instances",
            params={"includefield": "00080070"},
            headers={"Accept": "application/dicom+json"},
            timeout=30,
        )
        return answer.raise_for_status().json() if answer.content else []

    def of_class(self, study: str, sop_class: str) -> list[str]:
        """The UIDs of the instances of a study that are of a SOP class."""
        return [
            item["00080018"]["Value"][0] for item in self.instances(study) if item["00080016"]["Value"][0] == sop_class
        ]
