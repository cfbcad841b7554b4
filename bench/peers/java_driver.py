"""The compiled Java program that runs MOA's learners: found, compiled once, kept in a cache folder.

In: a JDK and MOA's jar of the installed capymoa wheel. Out: the command that starts the program,
or the reason why there is none. It is here so that nothing but this file knows of Java's tools.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import platformdirs

from ihomer.errors import UnavailableError

JAVA_RELEASE = 17
HEAP = "4g"  # of the Java process; the learners' own defaults set no bound
_SOURCE = Path(__file__).parent / "java" / "MoaPeer.java"
_MAIN = _SOURCE.stem


def missing() -> str | None:
    """Why MOA cannot run here, with what to install; None: it can."""
    if _jar() is None:
        return "needs MOA's jar (pip install 'ihomer[bench]', for its capymoa 0.15)"
    found = _jdk()
    if found is None or _release(found) < JAVA_RELEASE:
        return f"needs a JDK {JAVA_RELEASE} or newer (apt install openjdk-17-jdk-headless)"
    return None


def command() -> list[str]:
    """The command line that starts the program, which is compiled first if that was never done.

    Raises
    ------
    UnavailableError
        Java or the jar is missing, the cache folder cannot be written, or the compiler fails.
    """
    reason = missing()
    jar, jdk = _jar(), _jdk()
    if reason is not None or jar is None or jdk is None:
        raise UnavailableError(f"MOA: {reason}")
    classes = _compiled(jar, jdk)
    path = os.pathsep.join((str(classes), str(jar)))
    # WEKA, which MOA's trees call, looks for packages on the network and in the user's home.
    quiet = [
        "-Djava.awt.headless=true",
        "-Dweka.packageManager.offline=true",
        "-Dweka.packageManager.loadPackages=false",
        f"-DWEKA_HOME={classes / 'weka'}",
    ]
    return [str(jdk / "java"), f"-Xmx{HEAP}", *quiet, "-cp", path, _MAIN]


def _jar() -> Path | None:
    """MOA's jar, found without importing capymoa, which would start a Java machine."""
    found = find_spec("capymoa")
    if found is None or found.origin is None:
        return None
    jar = Path(found.origin).parent / "jar" / "moa.jar"
    return jar if jar.is_file() else None


def _jdk() -> Path | None:
    """The folder with `java` and `javac`: of JAVA_HOME if that has both, else of the PATH."""
    home = os.environ.get("JAVA_HOME")
    on_path = shutil.which("javac")
    folders = [Path(home) / "bin"] if home else []
    # Through the links of /usr/bin, so that both programs are of one JDK.
    folders += [Path(on_path).resolve().parent] if on_path else []
    for folder in folders:
        if all(shutil.which(name, path=str(folder)) for name in ("java", "javac")):
            return folder
    return None


def _release(jdk: Path) -> int:
    """The major version that the compiler states; 0 if it states none."""
    done = subprocess.run(  # noqa: S603 - a compiler that the user has installed
        [str(jdk / "javac"), "-version"], capture_output=True, text=True, check=False
    )
    found = re.search(r"javac (\d+)", done.stdout + done.stderr)
    return int(found[1]) if found else 0


def _compiled(jar: Path, jdk: Path) -> Path:
    """Folder of the class files; two processes that compile at once end with the same one."""
    digest = hashlib.blake2b(_SOURCE.read_bytes(), digest_size=8)
    digest.update(version("capymoa").encode())
    configured = os.environ.get("IHOMER_CACHE_DIR")
    root = Path(configured) if configured else platformdirs.user_cache_path("ihomer")
    folder = root / f"moa-{digest.hexdigest()}"
    if folder.is_dir():
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="moa-", dir=root) as scratch:
            fresh = Path(scratch) / "classes"
            fresh.mkdir()
            _compile(jar, jdk, fresh)
            # Another process may have been first: a folder is never replaced by a rename.
            with contextlib.suppress(OSError):
                fresh.rename(folder)
    except OSError as error:
        raise UnavailableError(f"MOA: {root} cannot be written ({error.strerror})") from None
    if not folder.is_dir():
        raise UnavailableError(f"MOA: {folder} cannot be made")
    return folder


def _compile(jar: Path, jdk: Path, target: Path) -> None:
    line = ["--release", str(JAVA_RELEASE), "-encoding", "UTF-8", "-cp", str(jar)]
    done = subprocess.run(  # noqa: S603 - our own source
        [str(jdk / "javac"), *line, "-d", str(target), str(_SOURCE)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UnavailableError(f"MOA: {_SOURCE} does not compile: {done.stderr.strip()}")
