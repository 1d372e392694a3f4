"""Several processes of this package side by side on one machine."""

import os


def shared_machine(num_processes: int) -> dict[str, str]:
    """Environment variables for each of so many processes that compute at the same time.

    TensorFlow reads them when it opens its devices: each process gets its share of the CPUs as
    threads, and takes memory of a GPU as it needs it instead of all of it at once.
    """
    try:
        num_cpus = len(os.sched_getaffinity(0))
    except AttributeError:  # Not on every system.
        num_cpus = os.cpu_count() or 1
    threads = str(max(1, num_cpus // num_processes))
    return {
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": threads,
        "OMP_NUM_THREADS": threads,
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }
