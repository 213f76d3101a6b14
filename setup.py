"""What a wheel has besides `src`: the configurations and the notebooks, which are at the top here.

A checkout, or an installation of it with `pip install --editable`, finds them where they are.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

COPIES = {
    "configs/*.yaml": "ppo_bbrl/configs",
    "configs/spaces/*.yaml": "ppo_bbrl/configs/spaces",
    "notebooks/nbgrader_config.*": "ppo_course/notebooks",
    "notebooks/source/*.py": "ppo_course/notebooks/source",
    "notebooks/student/*.ipynb": "ppo_course/notebooks/student",
}


class BuildWithCopies(build_py):
    """Puts copies of them into the packages, where the wheel takes them from."""

    def copies(self) -> dict[str, str]:
        """Their places in the built package, and where they come from."""
        if self.editable_mode:
            return {}
        return {
            str(Path(self.build_lib, folder, path.name)): str(path)
            for pattern, folder in COPIES.items()
            for path in sorted(Path().glob(pattern))
        }

    def run(self) -> None:
        """Build the packages, then add the copies."""
        super().run()
        for target, path in self.copies().items():
            self.mkpath(str(Path(target).parent))
            self.copy_file(path, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """The built files."""
        return [*super().get_outputs(include_bytecode), *self.copies()]

    def get_output_mapping(self) -> dict[str, str]:
        """The built files, and where they come from."""
        return super().get_output_mapping() | self.copies()


setup(cmdclass={"build_py": BuildWithCopies})
