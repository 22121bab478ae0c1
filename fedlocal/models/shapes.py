"""Saying no, in one line, to an input a model cannot take."""

from collections.abc import Sequence


def image_shape(input_shape: Sequence[int], model: str, at_least: int) -> tuple[int, int, int]:
    """Return (channels, height, width).

    Args:
        input_shape: Shape of one example.
        model: The model's name, for the message.
        at_least: Smallest height and width the model can take, in pixels.

    Raises:
        ValueError: Not an image, or too small a one.
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
