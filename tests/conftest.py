"""One thread a process: the suite runs on several processes, and tiny tensors gain nothing."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

torch.set_num_threads(1)
