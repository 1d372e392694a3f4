"""Several processes of this package side by side on one machine."""

import os


def num_cpus() -> int:
    """The CPUs that this process may use, or all where the system does not say."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def shared_machine(num_processes: int) -> dict[str, str]:
    """Environment variables for each of so many processes that compute at the same time.

    TensorFlow reads them when it opens its devices: each process gets its share of the CPUs as
    threads, and takes memory of a GPU as it needs it instead of all of it at once.
    """
    threads = str(max(1, num_cpus() // num_processes))
    return {
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": threads,
        "OMP_NUM_THREADS": threads,
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }
