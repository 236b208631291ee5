"""One of several processes of a recipe whose group never lets itself be destroyed, as gloo's does now and then."""

import ctypes
import sys
from dataclasses import dataclass

from palign_hf.config import check_settings
from palign_hf.runs.launch import Ending, launch


class Stuck:
    """Waits with the interpreter's lock held, as the destructor of a group of gloo does."""

    def __del__(self) -> None:
        ctypes.PyDLL(None).sleep(600)


@dataclass(frozen=True, kw_only=True)
class Settings:
    def __post_init__(self) -> None:
        check_settings(self)


class Stage:
    """A piece of work that all processes do together."""

    name, help, settings, together = "stuck", "get stuck", Settings, True

    def open(self, settings, shown=True):
        from accelerate import PartialState
        from torch.distributed import distributed_c10d

        PartialState(cpu=True)
        distributed_c10d._world.pg_map[Stuck()] = ("gloo", None)
        return self

    def ready(self, settings):
        pass

    def follow(self, settings, ending):
        return "followed"

    def agree(self):
        return None

    def work(self, shard, agreed):
        pass

    def finish(self, count):
        return Ending(f"{count} processes", failed=1)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


if __name__ == "__main__":
    sys.exit(launch(Stage()))
