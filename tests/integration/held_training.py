"""`palign` whose training stays in a step, for whoever means to end it there: `held_training.py STEP COMMAND ...`."""

import sys
import time

from palign_hf.cli import main
from palign_hf.training.trainer import PAlignTrainer


def hold(step: int) -> None:
    """Let so many steps pass, and no more."""
    train = PAlignTrainer.training_step

    def held(self, *given, **options):
        if self.state.global_step >= step:
            sys.stderr.write("held\n")
            sys.stderr.flush()
            time.sleep(600)
        return train(self, *given, **options)

    PAlignTrainer.training_step = held


if __name__ == "__main__":
    hold(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
