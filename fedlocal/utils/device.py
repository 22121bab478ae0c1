"""Selection of a run's device by name."""

import torch


def pick_device(device: str) -> torch.device:
    """Return the device of this name; "auto" is CUDA if available, else MPS, else the CPU.

    Raises:
        ValueError: No tensor can be created on the device and read back.
    """
    if not isinstance(device, str | torch.device):
        raise ValueError(f"device must be a name such as 'cpu' or 'cuda:0', got {device!r}")
    if device == "auto":
        rest = "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device("cuda" if torch.cuda.is_available() else rest)
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise ValueError(_no_device(str(device))) from error
    return torch.device(device)


def _no_device(device: str) -> str:
    kind = device.partition(":")[0]
    if kind == "cuda":
        count = torch.cuda.device_count()
        has = f"CUDA devices 0 to {count - 1}" if count else "no CUDA device"
        built = "" if torch.version.cuda else "; this torch is built without CUDA"
        return f"torch finds {has} on this machine, got {device!r}{built}; use device=cpu or auto"
    if kind == "mps":
        return f"torch finds no MPS device on this machine, got {device!r}; use device=cpu or auto"
    return f"device must be auto, or cpu, cuda, cuda:1 or mps if the machine has it, got {device!r}"
