"""Several processes of this package side by side on one machine."""

import os

_GPU_GROWTH = "TF_FORCE_GPU_ALLOW_GROWTH"


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
        _GPU_GROWTH: "true",
    }


def share_gpu() -> None:
    """Lets this process take memory of a GPU as it needs it, unless a person said otherwise.

    TensorFlow takes almost all of it by default, so that processes that this one starts would find
    none. To be called before TensorFlow opens its devices.
    """
    os.environ.setdefault(_GPU_GROWTH, "true")
