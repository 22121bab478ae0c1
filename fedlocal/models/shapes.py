"""Checks of input shapes and sizes of models, with one-line errors."""

from collections.abc import Mapping, Sequence


def image_shape(input_shape: Sequence[int], model: str, at_least: int) -> tuple[int, int, int]:
    """Return (channels, height, width).

    Args:
        input_shape: Shape of one example.
        model: The model's name, for the message.
        at_least: Smallest height and width of the model's input, in pixels.

    Raises:
        ValueError: Not an image, or too small an image.
    """
    if len(input_shape) != 3:
        raise ValueError(
            f"model {model} needs images [C, H, W] but an example has shape {list(input_shape)}; "
            "use model=mlp or model=logistic for flat data (digits is flat: dataset.flat=false "
            "gives images)"
        )
    channels, height, width = input_shape
    if min(height, width) < at_least:
        raise ValueError(
            f"model {model} needs images of at least {at_least}x{at_least} pixels, got "
            f"{height}x{width}; use model=cnn or model=mlp"
        )
    return channels, height, width


def token_length(input_shape: Sequence[int], model: str, at_least: int = 1) -> int:
    """Return the number of tokens in one example.

    Args:
        input_shape: Shape of one example.
        model: The model's name, for the message.
        at_least: Smallest number of tokens of the model's input.

    Raises:
        ValueError: Not a sequence of tokens, or too short a sequence.
    """
    if len(input_shape) != 1:
        raise ValueError(
            f"model {model} needs sequences of token indices [length] but an example has shape "
            f"{list(input_shape)}; dataset=text and dataset=text_csv have them"
        )
    if input_shape[0] < at_least:
        raise ValueError(
            f"model {model} needs at least {at_least} tokens per example, got {input_shape[0]}"
        )
    return input_shape[0]


def check_sizes(model: str, sizes: Mapping[str, int]) -> None:
    """Raise ValueError unless every size is at least 1; keys are the names of the settings."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"model {model}: {name} must be at least 1, got {size}")
