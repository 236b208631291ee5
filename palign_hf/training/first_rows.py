"""The first rows of what is to be trained on, looked at as a trainer has them: which check is for which rows.

Rows with a prefix are refused if something is wrong there. Others train as in `SFTTrainer`: the first thing that is
wrong with them is logged as a warning, and no more.
"""

import logging
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from palign_hf.errors import UserError
from palign_hf.training.checks import (
    CHECKED_ROWS,
    Origin,
    check_batch,
    check_conversation,
    check_prompts,
    check_template,
)
from palign_hf.training.config import PAlignConfig
from palign_hf.training.features import Layout
from palign_hf.training.rows import Rows, column_names
from palign_hf.training.turns import Turns


if TYPE_CHECKING:
    from trl import SFTTrainer

logger = logging.getLogger(__name__)


class FirstRows:
    """The sanity checks of one trainer.

    Args:
        wanted (`bool`): Whether to check at all, as `check` of the config says.
    """

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self._warned = False
        self._columns: frozenset[str] = frozenset()
        self._roles = False

    def before(self, trainer: "SFTTrainer", dataset: Rows, layout: Layout | None, name: str) -> None:
        """Check a dataset before its rows are tokenised: a reply must stand where the prompt left off."""
        if not self.wanted:
            return
        row: dict[str, Any] = next(iter(dataset), {})
        tokenizer: Any = trainer._tokenizer
        if name == "train":
            self._columns = frozenset(row)
            self._roles = layout == "question" or any(
                isinstance(row.get(each), list) for each in ("messages", "conversations", "prompt")
            )
        if layout in ("question", "prompt", "completion") and not isinstance(row.get("prompt"), str):
            check_template(Turns(tokenizer))
        if layout is None and isinstance(row.get("prompt"), list) and isinstance(row.get("completion"), list):
            self._advise(lambda: check_conversation(row, tokenizer, str(tokenizer.name_or_path)))

    def ready(self, trainer: "SFTTrainer", config: PAlignConfig, aligned: bool) -> None:
        """Check the first rows as they come out of preparation and would go into a batch."""
        dataset: Any = trainer.train_dataset
        if not self.wanted or dataset is None or "input_ids" not in column_names(dataset):
            return  # images and the like, which are tokenised as they are batched
        used: Any = trainer._signature_columns
        rows = [
            {name: value for name, value in row.items() if name in used or not config.remove_unused_columns}
            for row in islice(iter(dataset), CHECKED_ROWS)
        ]
        tokenizer: Any = trainer._tokenizer
        turns = Turns(tokenizer) if self._roles else None
        most = None if aligned or trainer._skip_prepare_dataset else config.max_length
        weight = config.continuation_loss_weight if aligned else 1.0
        check = partial(
            check_batch,
            *(rows, trainer.data_collator, trainer.model, tokenizer),
            continuation_weight=weight,
            origin=Origin(self._columns, most, turns),
        )
        if not aligned:
            self._advise(check)
            return
        check()
        # Rows of this packing begin wherever the one before ended.
        wrapped = config.packing and config.packing_strategy == "wrapped"
        check_prompts(rows[:1] if wrapped else rows, Turns(tokenizer))

    def _advise(self, check: Callable[[], None]) -> None:
        """Let a check of plain data say what it finds: as a warning, and once."""
        if self._warned:
            return
        try:
            check()
        except UserError as error:
            self._warned = True
            logger.warning("%s", error)
        except Exception:  # of data and templates of any kind; whether they can be trained on, TRL says
            logger.debug("The first rows could not be checked.", exc_info=True)
