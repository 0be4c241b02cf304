"""The build of recae, which `pyproject.toml` describes; here is only what that cannot say."""

import os
from contextlib import suppress
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

# Whoever builds a version gets the same wheel, whatever permissions a checkout or the user gives to files; with
# SOURCE_DATE_EPOCH set, also whenever.
os.umask(0o022)
with suppress(OSError):
    Path("LICENSE").chmod(0o644)  # copied as it is

SAMPLE = Path("data", "purchases.csv")


class BuildWithSample(build_py):
    """Puts the sample, of which there is one in the repository, into the package that is built."""

    def run(self) -> None:
        """Build, then copy the sample."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "recae", "sample", SAMPLE.name)
            self.mkpath(str(target.parent))
            self.copy_file(str(SAMPLE), str(target))
            for path in Path(self.build_lib).rglob("*"):
                path.chmod(0o755 if path.is_dir() else 0o644)


setup(cmdclass={"build_py": BuildWithSample})
