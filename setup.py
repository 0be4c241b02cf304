"""The build of recae, which `pyproject.toml` describes; here is only what that cannot say."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

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


setup(cmdclass={"build_py": BuildWithSample})
