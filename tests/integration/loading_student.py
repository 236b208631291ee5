"""Loads a student as a run does: on a loop of a thread of its own, with the main thread waiting for it.

Run as `python loading_student.py`: whoever means to end a run while vLLM loads finds it there. SIGTERM ends it as
Ctrl-C does, in order.
"""

import asyncio
import signal
import sys
import threading

from palign_hf.engines.vllm import VLLMEngine
from palign_hf.toy import student_folder


class Terminated(BaseException):
    """SIGTERM came."""


def terminate(*_: object) -> None:
    raise Terminated


def main() -> int:
    signal.signal(signal.SIGTERM, terminate)
    # Started in the background of a shell, SIGINT would be ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    engine = VLLMEngine(str(student_folder()), context=256)
    starting = asyncio.run_coroutine_threadsafe(engine.start(), loop)
    try:
        print("loading", flush=True)
        starting.result()
        print("started", flush=True)
        threading.Event().wait()
    except (KeyboardInterrupt, Terminated):
        starting.cancel()
        asyncio.run_coroutine_threadsafe(engine.close(), loop).result(60)
        print("ended in order", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
