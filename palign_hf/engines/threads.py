"""CPU thread count for forward passes.

torch counts the cores of the machine; a container or a batch job may use fewer, and two threads on one core slow each
other down.
"""

import math
import os
from pathlib import Path


def sensible_threads(root: Path = Path("/")) -> int:
    """The physical cores that this process may use, by its affinity and the quota of its cgroup."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = {_siblings(root, cpu) for cpu in allowed}
    return max(1, min(len(cores), _quota(root)))


def _siblings(root: Path, cpu: int) -> str:
    """The CPUs that share a core with this one; only itself where the system doesn't report it."""
    try:
        return (root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def _quota(root: Path) -> int:
    """The CPUs that the cgroup's quota grants, at least one; unlimited without a quota."""
    try:
        allowed, period = (root / "sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            folder = root / "sys/fs/cgroup/cpu"
            allowed, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        except OSError:
            return 2**31
    if allowed in ("max", "-1"):
        return 2**31
    return max(1, math.floor(int(allowed) / int(period)))
