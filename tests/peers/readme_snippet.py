"""Runs the README's Python example on a store.

Usage: python3 readme_snippet.py README.md STORE

The example reads from `runs`, the default store; a link of that name is made in a folder of its own.
"""

import os
import re
import sys
import tempfile
from pathlib import Path


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    readme, store = Path(sys.argv[1]), Path(sys.argv[2]).resolve()
    examples = re.findall(r"```python\n(.*?)```", readme.read_text(), re.DOTALL)
    if not examples:
        sys.exit(f"no Python example: {readme}")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "runs").symlink_to(store)
        os.chdir(folder)
        for example in examples:
            exec(compile(example, str(readme), "exec"), {})
        os.chdir("/")


if __name__ == "__main__":
    main()
