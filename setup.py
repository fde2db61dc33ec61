"""What pyproject.toml cannot say: a wheel holds configs/ inside the package natx, where no other package's can be."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CONFIGS = Path("configs")


class BuildWithConfigs(build_py):
    """Copies the configs too, unless the install only points at the checkout, which has them."""

    def run(self) -> None:
        super().run()
        for file in self._configs() if not self.editable_mode else ():
            target = self._target(file)
            self.mkpath(str(target.parent))
            self.copy_file(str(file), str(target))

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *(str(self._target(file)) for file in self._configs())]

    def get_source_files(self) -> list[str]:
        return [*super().get_source_files(), *map(str, self._configs())]

    def _configs(self) -> list[Path]:
        return sorted(file for file in CONFIGS.rglob("*") if file.suffix in (".py", ".json"))

    def _target(self, file: Path) -> Path:
        return Path(self.build_lib, "natx", file)


setup(cmdclass={"build_py": BuildWithConfigs})
