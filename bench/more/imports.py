"""How long another program waits for ``from producer import Producer`` and for a first one; no SDK comes with it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.running import RunFailedError
from embedded.programs import ROOT

SDKS = ("openai", "groq", "google.genai", "google.generativeai", "hvac")
_CODE = """
import json, sys, time
began = time.perf_counter()
import producer
bare = time.perf_counter()
from producer import Producer
imported = time.perf_counter()
with Producer.from_env():
    made = time.perf_counter()
print(json.dumps([bare - began, imported - began, made - began, sorted(set(sys.argv[1:]) & set(sys.modules))]))
"""


def imports(times: int) -> dict[str, float]:
    """Seconds in a fresh process, with compiled files at hand: medians.

    Args:
        times: how many processes.

    Raises:
        RunFailedError: an SDK was loaded.
    """
    with TemporaryDirectory() as folder:
        found = [_once(Path(folder)) for _ in range(times + 1)][1:]
    modules, imported, made = zip(*found, strict=True)
    return {
        "import_module_s": median(modules),
        "import_producer_s": median(imported),
        "first_producer_s": median(made),
    }


def _once(compiled: Path) -> tuple[float, float, float]:
    """The compiled files have a folder of their own: where the environment forbids to write them, none are at hand."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(  # noqa: S603 - our own code
        (sys.executable, "-c", _CODE, *SDKS),
        cwd=ROOT,
        env=environment | {"PYTHONPYCACHEPREFIX": str(compiled)},
        capture_output=True,
        text=True,
        check=True,
    )
    module_s, imported_s, made_s, loaded = json.loads(done.stdout)
    if loaded:
        raise RunFailedError(f"import producer loads {', '.join(loaded)}")
    return module_s, imported_s, made_s
