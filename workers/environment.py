"""Environment variables that a process needs before its libraries load."""

from typing import Final

# Of glibc: memory that is free again stays with the process, else every layer of an encoder takes its activations from
# the kernel anew, page by zeroed page: a sixth of the processor time of `demo` at batch 64, a fifth of a ViT-B/32's.
ALLOCATOR: Final = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}


SPINNING: Final = {"GOMP_SPINCOUNT": "3000"}
"""The number of times a waiting thread of torch checks for the others before it sleeps (docs/adr/0013)."""


# Intake decodes one image at a time, and threads started before a fork do not exist after it.
ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
