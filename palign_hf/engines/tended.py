"""Supervised engine: starts at the first request, and restarts once when it dies; the second death ends the run.

A crash in a long run is usually an accident (memory, a driver), and all answers are kept. An engine that dies again is
not restarted: the run stops with instructions to resume.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from palign_hf.engines.base import (
    Engine,
    EngineDied,
    EngineIdentity,
    EngineUnavailable,
    Generation,
    Sampling,
    Score,
)
from palign_hf.errors import UserError


logger = logging.getLogger(__name__)

# Before its first request an engine has no known capacity: one problem starts, and its request starts the engine.
NOT_STARTED = (1, 2**62)


class EngineLost(UserError):
    """The engine died more often than allowed; all answers before are kept."""


class TendedEngine:
    """Forwards requests; the first request starts the engine, and the first to see it die restarts it.

    A run whose answers are all in the ledger makes no request, and so loads no student.
    """

    def __init__(self, engine: Engine, restarts: int = 1, starting: Callable[[], None] = lambda: None) -> None:
        """`starting` is called before each start, which takes long."""
        self._engine = engine
        self._starting = starting
        self._left = restarts
        self._life = 0
        self._started = False
        self._capacity = NOT_STARTED
        self._identity: EngineIdentity | None = None
        self._turn = asyncio.Lock()
        self.name = engine.name

    @property
    def capacity(self) -> tuple[int, int]:
        """Capacity of the inner engine when it last started; one problem until then."""
        return self._capacity

    @property
    def identity(self) -> EngineIdentity:
        """Identity of the inner engine when it last started."""
        if self._identity is None:
            raise EngineDied(f"the {self.name} engine has not started, so it can't say what it is")
        return self._identity

    @property
    def answered_by(self) -> EngineIdentity | None:
        """The same, or None before the first request."""
        return self._identity

    @property
    def started(self) -> bool:
        """Whether the inner engine runs."""
        return self._started

    async def start(self) -> None:
        """Start the inner engine, unless it runs."""
        async with self._turn:
            if not self._started:
                await self._begin()

    async def close(self) -> None:
        """Close the inner engine; a later request starts it again."""
        async with self._turn:
            self._started, self._capacity = False, NOT_STARTED
            await self._engine.close()

    async def score(self, prompt_ids: list[int], label_ids: tuple[int, ...], problem: str) -> Score:
        """Forward to the inner engine, with a restart if needed."""
        return await self._ask(lambda: self._engine.score(prompt_ids, label_ids, problem))

    async def generate(self, prompt_ids: list[int], sampling: Sampling, problem: str) -> Generation:
        """Forward to the inner engine, with a restart if needed."""
        return await self._ask(lambda: self._engine.generate(prompt_ids, sampling, problem))

    async def _ask(self, request: Callable[[], Awaitable[Any]]) -> Any:
        while True:
            if not self._started:
                await self.start()
            life = self._life
            try:
                return await request()
            except EngineDied as error:
                await self._restart(life, error)

    async def _restart(self, life: int, error: EngineDied) -> None:
        async with self._turn:
            if life != self._life:
                return
            if not self._started:
                # Closed during the request: the answer isn't needed any more, so no engine may restart for it.
                raise error
            if not self._left:
                raise EngineLost(
                    f"The {self.name} engine died again ({error}), so the run stops here. Every answer is "
                    f"kept: run the same command again to resume."
                ) from error
            self._left -= 1
            logger.warning("The %s engine died (%s): starting it again, once.", self.name, error)
            await self._engine.close()
            try:
                await self._begin()
            except (EngineUnavailable, EngineDied) as failure:
                raise EngineLost(
                    f"The {self.name} engine died ({error}) and can't be started again: {failure} Every answer is "
                    f"kept: fix the cause and run the same command again to resume."
                ) from failure

    async def _begin(self) -> None:
        self._starting()
        await self._engine.start()
        self._life += 1
        # Remembered, because an engine that is dead or starting can't be asked for it.
        self._started, self._capacity, self._identity = True, self._engine.capacity, self._engine.identity
