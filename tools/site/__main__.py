"""``python -m tools.site``: build the documentation into a folder; a warning is an error."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.site.pages import ROOT, write_pages


def main() -> int:
    """Build; the exit code is Sphinx's."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.site", description="Build the documentation; warnings are errors."
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / "site", metavar="FOLDER", help="default: site"
    )
    output: Path = parser.parse_args().output
    from sphinx.cmd.build import build_main

    write_pages(ROOT / "docs" / "generated")
    doctrees = output / ".doctrees"
    code = build_main(
        [
            *("-q", "-W", "--keep-going", "-b", "html", "-d", str(doctrees)),
            *(str(ROOT / "docs"), str(output)),
        ]
    )
    if code == 0:
        print(f"built {output / 'index.html'}")
    return code


if __name__ == "__main__":
    sys.exit(main())
