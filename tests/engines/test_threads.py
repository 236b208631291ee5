"""The number of threads: by what this process may use, not by what the machine has."""

import os

import pytest

from palign_hf.engines.loading import sensible_threads


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Makes a machine of `cores` cores with two halves each; the process may use the CPUs `allowed`."""

    def make(cores, allowed, quota=None, older=None):
        for cpu in range(2 * cores):
            folder = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/topology"
            folder.mkdir(parents=True)
            (folder / "thread_siblings_list").write_text(f"{cpu % cores},{cpu % cores + cores}\n")
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(allowed))
        group = tmp_path / "sys/fs/cgroup"
        group.mkdir(parents=True)
        if quota:
            (group / "cpu.max").write_text(f"{quota}\n")
        if older:
            (group / "cpu").mkdir()
            for name, value in zip(("quota", "period"), older.split(), strict=True):
                (group / f"cpu/cpu.cfs_{name}_us").write_text(f"{value}\n")
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("allowed", "quota", "older", "threads"),
    [
        (range(16), None, None, 8),
        (range(16), "max 100000", None, 8),
        (range(8), None, None, 8),
        ([0, 8], None, None, 1),
        ([0, 8, 1], None, None, 2),
        (range(16), "300000 100000", None, 3),
        (range(16), "350000 100000", None, 3),
        (range(16), "50000 100000", None, 1),
        (range(2), "800000 100000", None, 2),
        (range(16), None, "-1 100000", 8),
        (range(16), None, "400000 100000", 4),
        (range(16), "nonsense", None, 8),
    ],
)
def test_cores_affinity_and_quota_count(machine, allowed, quota, older, threads):
    assert sensible_threads(machine(8, allowed, quota, older)) == threads


def test_a_machine_that_tells_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    assert sensible_threads(tmp_path) == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert sensible_threads(tmp_path) == 1


def test_this_machine():
    assert 1 <= sensible_threads() <= (os.cpu_count() or 1)
