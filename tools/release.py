"""What is published: a wheel, a source archive, a bill of materials, the licences of what it needs.

In: the checkout and its lock file. Out: files in ``dist/``; exit code 1 if the wheel, installed
into a fresh environment without the checkout, does not run. It is here so that one command makes a
release and nothing in it depends on who makes it.

It runs in an environment with ``build``, ``cyclonedx-bom`` and ``pip-licenses`` (``make release``).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements.lock"
SBOM = "sbom.cdx.json"
LICENCES = "licences.md"
_PINNED = re.compile(r"^([A-Za-z0-9._-]+==[^\\]+?)\s*\\?$")
# What the fresh environment has beside what ihomer needs.
_TOOLS = ("pip", "setuptools", "wheel")


def build(out: Path, *, isolated: bool = True) -> tuple[Path, Path]:
    """Build the source archive, and the wheel from it.

    Parameters
    ----------
    out
        Folder for both; what it holds of earlier builds is removed.
    isolated
        Fetch the build backend into an environment of its own; else the running one has it.

    Returns
    -------
    wheel, sdist
        Their paths.
    """
    for old in (*out.glob("ihomer-*.whl"), *out.glob("ihomer-*.tar.gz")):
        old.unlink()
    options = [] if isolated else ["--no-isolation"]
    run([sys.executable, "-m", "build", *options, "--outdir", str(out), str(ROOT)])
    (wheel,) = out.glob("ihomer-*.whl")
    (sdist,) = out.glob("ihomer-*.tar.gz")
    return wheel, sdist


def install(folder: Path, wheel: Path, *, borrow: Path | None = None) -> Path:
    """A fresh environment with the wheel, at the versions of the lock file.

    Parameters
    ----------
    folder
        Where to; created.
    wheel
        What to install.
    borrow
        A folder of packages to look into for what it needs; None: all of it is installed.

    Returns
    -------
    Path
        Its Python.
    """
    run([sys.executable, "-m", "venv", str(folder)])
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    if borrow is None:
        pinned = folder / "constraints.txt"
        pinned.write_text("\n".join(locked()) + "\n", encoding="utf-8")
        run([*pip, "-c", str(pinned), str(wheel)])
        return python
    run([*pip, "--no-deps", str(wheel)])
    purelib = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    # Its own packages come first. A .pth file of the other folder, such as that of a checkout
    # installed to be edited, is not looked at.
    Path(purelib, "borrowed.pth").write_text(f"{borrow}\n", encoding="utf-8")
    return python


def locked() -> list[str]:
    """Names with versions and markers, as the lock file pins them."""
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    return [found[1] for line in lines if (found := _PINNED.match(line))]


def environment(**more: str) -> dict[str, str]:
    """Variables for what is to run without this checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("IHOMER_")}
    kept.pop("PYTHONPATH", None)
    return kept | more


def try_out(python: Path, folder: Path, limit: int, **variables: str) -> dict[str, float]:
    """Run what is installed, away from the checkout.

    Parameters
    ----------
    python
        Of the environment.
    folder
        To work in.
    limit
        Number of events of Yeast.
    variables
        Further environment variables.

    Returns
    -------
    dict
        The measures of the replay.

    Raises
    ------
    RuntimeError
        What runs is the checkout's, or predictions are missing.
    """
    command, env = str(python.with_name("ihomer")), environment(**variables)
    code = "import ihomer, pathlib; print(pathlib.Path(ihomer.__file__).parent)"
    where = run([str(python), "-c", code], cwd=folder, env=env).strip()
    if Path(where).is_relative_to(ROOT) or not Path(where).is_relative_to(python.parent.parent):
        raise RuntimeError(f"{where}: found another ihomer than the installed one")
    run([command, "doctor"], cwd=folder, env=env)
    events = ["data", "write", "river:yeast", "events.jsonl", "--quiet", "--limit", str(limit)]
    run([command, *events], cwd=folder, env=env)
    replay = ["replay", "river:yeast", "--limit", str(limit), "--quiet", "--json", "-"]
    found = json.loads(run([command, *replay], cwd=folder, env=env))
    daemon = ["run", "--source", "events.jsonl", "--sink", "predictions.jsonl", "--quiet"]
    run([command, *daemon, "--state-dir", "state"], cwd=folder, env=env)
    lines = (folder / "predictions.jsonl").read_bytes().splitlines()
    if len(lines) != limit:
        raise RuntimeError(f"found {len(lines)} predictions of ihomer run, accepted: {limit}")
    measures: dict[str, float] = found["measures"]
    return measures


def list_materials(python: Path, out: Path) -> None:
    """Write the bill of materials and the licences of an environment.

    Parameters
    ----------
    python
        Of the environment; what it has beside ihomer and its needs is left out.
    out
        Folder for `SBOM` (CycloneDX, JSON) and `LICENCES` (a table in Markdown).
    """
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "uninstall", "-y", "-q"]
    licences = out / LICENCES
    listing = [_tool("pip-licenses"), "--python", str(python), "--format", "markdown"]
    table = run([*listing, "--with-urls", "--ignore-packages", *_TOOLS])
    licences.write_text(f"# Licences of ihomer and what it needs\n\n{table}", encoding="utf-8")
    run([*pip, *_TOOLS])  # it lists what is installed, and these are nothing that ihomer needs
    listing = [_tool("cyclonedx-py"), "environment", "--output-reproducible", "--of", "JSON"]
    about = ["--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "library"]
    run([*listing, *about, "-o", str(out / SBOM), str(python)])


def run(command: Sequence[str], cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """What a command prints; `RuntimeError` with its last lines if it fails."""
    done = subprocess.run(command, cwd=cwd, env=env, text=True, check=False, capture_output=True)
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{said}")
    return done.stdout


def _tool(name: str) -> str:
    """A command of the environment that this runs in."""
    return str(Path(sys.executable).with_name(name))


def main() -> None:
    """Make everything that a release has."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder for the files")
    parser.add_argument("--limit", type=int, default=500, help="events that the wheel is tried on")
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    wheel, sdist = build(chosen.out)
    tell(f"built {sdist.name} and {wheel.name}")
    work = Path(tempfile.mkdtemp(prefix="ihomer-release-"))
    try:
        python = install(work / "environment", wheel)
        tell("installed into a fresh environment; its first start compiles")
        found = try_out(python, work, chosen.limit, IHOMER_CACHE_DIR=str(work / "kernels"))
        tell(f"{chosen.limit} events of Yeast: micro-F1 {found['micro_f1']:.4f}")
        list_materials(python, chosen.out)
    except RuntimeError as error:
        sys.exit(f"release: {error}")
    finally:
        shutil.rmtree(work)
    tell(f"wrote {SBOM} and {LICENCES}")


if __name__ == "__main__":
    main()
