"""A JupyterHub for a class on one machine: local processes, SQLite, a copy of the course each.

See hub/README.md. Where systemd runs and the hub is root, each learner is a user of the machine,
with limits for all their processes together. Elsewhere all learners are the hub's own user, and
the limit is one for each process.
"""

import asyncio
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

from jupyterhub.spawner import SimpleLocalProcessSpawner

c = get_config()  # noqa: F821 - JupyterHub defines it

DATA = Path(os.environ.get("CLASS_DATA", "class-data")).absolute()
PASSWORD = os.environ["CLASS_PASSWORD"]  # at least 8 characters
MEMORY = os.environ.get("CLASS_MEMORY", "1G")
CORES = float(os.environ.get("CLASS_CORES", "1"))
IDLE_SECONDS = int(os.environ.get("CLASS_IDLE_SECONDS", "3600"))
BIN = Path(sys.executable).parent
COURSE = "llm-antipatterns-course"
ROOT = os.geteuid() == 0
SYSTEMD = ROOT and Path("/run/systemd/system").is_dir()
if ROOT and not SYSTEMD and os.environ.get("CLASS_AS_ROOT") != "1":
    sys.exit(
        "Without systemd, every learner would be root: run the hub as another user, or, in a "
        "container that holds nothing else, set CLASS_AS_ROOT=1."
    )

DATA.mkdir(mode=0o700, parents=True, exist_ok=True)


class ProcessSpawner(SimpleLocalProcessSpawner):
    """Each learner a folder; none of them a user of the machine."""

    home_dir_template = str(DATA / "learners" / "{username}")

    def make_preexec_fn(self, name):
        enter_home = super().make_preexec_fn(name)

        def preexec():
            enter_home()
            # Of each process, not of their sum: only a control group can limit that.
            resource.setrlimit(resource.RLIMIT_DATA, (self.mem_limit, self.mem_limit))

        return preexec


def make_copy(home: Path, user: str | None) -> None:
    """The learner's copy of the course. What is already there stays."""
    home.mkdir(parents=True, exist_ok=True)
    environment = {"HOME": str(home), "PATH": f"{BIN}:{os.defpath}"}
    subprocess.run(
        [BIN / "llm-antipatterns", "init", home / COURSE],
        cwd=home,
        env=environment,
        user=user,
        check=True,
        capture_output=True,
    )


async def pre_spawn(spawner):
    if SYSTEMD:
        import pwd

        name = spawner.user.name
        await asyncio.to_thread(make_copy, Path(pwd.getpwnam(name).pw_dir), name)
    else:
        await asyncio.to_thread(make_copy, Path(spawner.home_dir), None)


# The hub
c.JupyterHub.bind_url = os.environ.get("CLASS_URL", "http://:8000")
c.JupyterHub.hub_bind_url = os.environ.get("CLASS_HUB_URL", "http://127.0.0.1:8081")
c.JupyterHub.db_url = f"sqlite:///{DATA / 'jupyterhub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(DATA / "cookie_secret")
c.JupyterHub.shutdown_on_logout = True
c.JupyterHub.active_server_limit = int(os.environ.get("CLASS_LEARNERS", "30"))

# The proxy, installed with the hub; another one that is first in PATH works too.
c.ConfigurableHTTPProxy.command = [
    str(BIN / "configurable-http-proxy")
    if (BIN / "configurable-http-proxy").is_file()
    else shutil.which("configurable-http-proxy") or "configurable-http-proxy"
]
c.ConfigurableHTTPProxy.api_url = os.environ.get("CLASS_PROXY_API", "http://127.0.0.1:8001")
c.ConfigurableHTTPProxy.pid_file = str(DATA / "proxy.pid")

# Who may come in: everybody in the room, with one password. They are not protected from each other.
c.JupyterHub.authenticator_class = "pam" if SYSTEMD else "shared-password"
c.Authenticator.username_pattern = r"[a-z][a-z0-9_-]{0,31}"
c.Authenticator.allow_all = True
c.SharedPasswordAuthenticator.user_password = PASSWORD

# What learners do must be known sooner than their servers would be ended.
ACTIVITY = min(300, IDLE_SECONDS // 6)
c.JupyterHub.last_activity_interval = ACTIVITY

# A learner's server
c.JupyterHub.spawner_class = "systemd" if SYSTEMD else ProcessSpawner
c.Spawner.cmd = [str(BIN / "jupyterhub-singleuser")]
c.Spawner.pre_spawn_hook = pre_spawn
c.Spawner.notebook_dir = f"~/{COURSE}"
c.Spawner.default_url = "/lab/tree/00_start_here.ipynb"
c.Spawner.mem_limit = MEMORY
c.Spawner.cpu_limit = CORES
c.Spawner.start_timeout = 180
c.Spawner.http_timeout = 120
c.Spawner.environment = {
    "JUPYTERHUB_ACTIVITY_INTERVAL": str(ACTIVITY),
    "PATH": f"{BIN}:{os.environ.get('PATH', os.defpath)}",
    # The room's page, if there is one.
    **{k: v for k, v in os.environ.items() if k == "LLM_ANTIPATTERNS_CLASS"},
}
c.Spawner.args = [
    "--ServerApp.jpserver_extensions=helpers.classroom.provider_proxy=True",
    # A lesson's kernel takes most of the memory; one that nobody looks at ends first.
    f"--MappingKernelManager.cull_idle_timeout={IDLE_SECONDS // 2}",
    f"--MappingKernelManager.cull_interval={max(1, IDLE_SECONDS // 20)}",
    *(["--allow-root"] if ROOT and not SYSTEMD else []),
]

# Servers that nobody uses end.
c.JupyterHub.services = [
    {
        "name": "idle-culler",
        "command": [
            str(BIN / "jupyterhub-idle-culler"),
            f"--timeout={IDLE_SECONDS}",
            f"--cull-every={max(1, IDLE_SECONDS // 10)}",
        ],
    }
]
c.JupyterHub.load_roles = [
    {
        "name": "idle-culler",
        "services": ["idle-culler"],
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
    }
]
