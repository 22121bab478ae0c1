"""Random functions of torch as functions of a stream: dropout, `torch.rand`, `bernoulli_`, ..."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fedlocal.objective.random_stream import Shape, Stream


class UnkeyedError(ValueError):
    """Raised where a random function cannot be drawn from a key."""


def _dropout(k: Stream, input: Tensor, p: float = 0.5, training: bool = True, inplace=False):
    return _dropped(k, input, p, training, inplace, tuple(input.shape))


def _feature_dropout(
    k: Stream, input: Tensor, p: float = 0.5, training: bool = True, inplace=False
):
    return _dropped(k, input, p, training, inplace, _per_channel(input, input.dim()))


def _feature_dropout_of(batched_dims: int) -> Callable[..., Tensor]:
    """Return dropout of whole channels, for inputs [N, C, ...] of `batched_dims` dimensions."""

    def draw(k: Stream, input: Tensor, p: float = 0.5, training: bool = True, inplace=False):
        shape = _per_channel(input, batched_dims)
        return _dropped(k, input, p, training, inplace, shape)

    return draw


def _per_channel(input: Tensor, batched_dims: int) -> Shape:
    lead = 1 if input.dim() < batched_dims else 2
    return tuple(input.shape[:lead]) + (1,) * (input.dim() - lead)


def _dropped(k: Stream, x: Tensor, p: float, training: bool, inplace: bool, shape: Shape) -> Tensor:
    _check_probability(p)
    if not training or p == 0:
        return x
    scaled = k.kept(x, p, shape) * (0.0 if p == 1 else 1 / (1 - p))
    return x.mul_(scaled) if inplace else x * scaled


# SELU saturates at this value: -scale * alpha.
SATURATED = -1.7580993408473766


def _alpha_dropout(k: Stream, input: Tensor, p: float = 0.5, training=False, inplace=False):
    return _alpha_dropped(k, input, p, training, inplace, tuple(input.shape))


def _feature_alpha_dropout(k: Stream, input: Tensor, p: float = 0.5, training=False, inplace=False):
    return _alpha_dropped(k, input, p, training, inplace, _per_channel(input, input.dim()))


def _alpha_dropped(k: Stream, x: Tensor, p: float, training: bool, inplace: bool, shape: Shape):
    """Apply the dropout that keeps mean and variance of self-normalising networks.

    Reference: Klambauer et al. Self-Normalizing Neural Networks. 2017.
    https://arxiv.org/abs/1706.02515
    """
    _check_probability(p)
    if not training or p == 0:
        return x
    kept = k.kept(x, p, shape)
    a = 0.0 if p == 1 else ((1 - p) * (1 + p * SATURATED**2)) ** -0.5
    result = a * (x * kept + SATURATED * (1 - kept)) - a * SATURATED * p
    return x.copy_(result) if inplace else result


def _rrelu(k: Stream, input: Tensor, lower=1 / 8, upper=1 / 3, training=False, inplace=False):
    slope = (lower + upper) / 2
    if training:
        slope = lower + (upper - lower) * k.uniform(tuple(input.shape), input.dtype)
    result = torch.where(input >= 0, input, input * slope)
    return input.copy_(result) if inplace else result


def _attention(
    k: Stream,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Compute scaled dot-product attention, written out where its weights are dropped.

    Reference: Vaswani et al. Attention Is All You Need. 2017. https://arxiv.org/abs/1706.03762
    """
    if dropout_p == 0:
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = (t.repeat_interleave(groups, -3) for t in (key, value))
    scores = query @ key.transpose(-2, -1) * (scale or query.shape[-1] ** -0.5)
    if is_causal:
        attn_mask = torch.ones_like(scores, dtype=torch.bool).tril()
    if attn_mask is not None:
        hidden = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -math.inf) if hidden else scores + attn_mask
    return _dropout(k, scores.softmax(-1), dropout_p) @ value


def _rand(k: Stream, *size: Any, **options: Any) -> Tensor:
    shape, dtype = _asked(size, options)
    return k.uniform(shape, dtype)


def _randn(k: Stream, *size: Any, **options: Any) -> Tensor:
    shape, dtype = _asked(size, options)
    return k.normal(shape, dtype)


def _rand_like(k: Stream, input: Tensor, *, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    return k.uniform(tuple(input.shape), dtype or input.dtype)


def _randn_like(k: Stream, input: Tensor, *, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    return k.normal(tuple(input.shape), dtype or input.dtype)


def _asked(size: tuple[Any, ...], options: dict[str, Any]) -> tuple[Shape, torch.dtype]:
    """Return the shape and dtype asked of a factory: sizes one by one, as a tuple, or by name."""
    shape = options.get("size", size[0] if len(size) == 1 and not _is_int(size[0]) else size)
    return tuple(shape), options.get("dtype") or torch.get_default_dtype()


def _is_int(value: Any) -> bool:
    return isinstance(value, int | torch.SymInt)


def _randint(k: Stream, *args: Any, low: int = 0, dtype: torch.dtype | None = None, **given: Any):
    names = ("high", "size") if len(args) + len(given.keys() & {"high", "size"}) < 3 else ()
    given |= dict(zip(names or ("low", "high", "size"), args, strict=False))
    low = given.get("low", low)
    return (k.bits(tuple(given["size"])) % (given["high"] - low) + low).to(dtype or torch.int64)


def _randint_like(
    k: Stream, input: Tensor, *bounds: int, dtype: torch.dtype | None = None, **given
):
    low, high = bounds if len(bounds) == 2 else (given.get("low", 0), given.get("high", *bounds))
    return (k.bits(tuple(input.shape)) % (high - low) + low).to(dtype or input.dtype)


def _randperm(k: Stream, n: int, *, dtype: torch.dtype = torch.int64, **_: Any) -> Tensor:
    return k.bits((n,)).argsort().to(dtype)


def _bernoulli(k: Stream, input: Tensor, p: float | None = None) -> Tensor:
    return (k.uniform(tuple(input.shape), torch.float32) < (input if p is None else p)).to(
        input.dtype
    )


def _normal(k: Stream, mean: Any = 0.0, std: Any = 1.0, size: Any = None, **options: Any) -> Tensor:
    like = next((t for t in (mean, std) if isinstance(t, Tensor)), None)
    if like is None:
        shape, dtype = tuple(size), options.get("dtype") or torch.get_default_dtype()
    else:
        shape, dtype = (
            torch.broadcast_shapes(*(torch.as_tensor(t).shape for t in (mean, std))),
            None,
        )
    return k.normal(tuple(shape), dtype or like.dtype) * std + mean  # type: ignore[union-attr]


def _multinomial(k: Stream, input: Tensor, num_samples: int, replacement: bool = False) -> Tensor:
    if replacement:
        shape = (*input.shape[:-1], num_samples, 1)
        ends = (input / input.sum(-1, keepdim=True)).cumsum(-1).unsqueeze(-2)
        drawn = (k.uniform(shape, input.dtype) >= ends).sum(-1)
        return drawn.clamp(max=input.shape[-1] - 1)
    # The indices of the largest log p + Gumbel noise are a sample without replacement.
    noise = -torch.log(-torch.log1p(-k.uniform(tuple(input.shape), input.dtype)))
    return (input.log() + noise).topk(num_samples, -1).indices


def _recurrent(function: Any) -> Callable[..., Any]:
    """Return a recurrent function that raises UnkeyedError for dropout between its layers."""

    def call(k: Stream, *args: Any) -> Any:
        # Packed sequences have their batch sizes second, which moves the others by one.
        first = 5 if isinstance(args[2], list | tuple) else 6
        p, train = args[first : first + 2]
        if p and train:
            raise UnkeyedError(
                f"nn.{function.__name__.split('_')[0].upper()}(dropout={p}) draws inside a fused"
                " function; put nn.Dropout between recurrent layers of one layer each"
            )
        return function(*args)

    return call


def _in_place(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a method that fills a tensor with the values that `draw` gives for its shape."""

    def fill(k: Stream, t: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        dtype = t.dtype if t.is_floating_point() else torch.float32
        values = draw(lambda: k.uniform(tuple(t.shape), dtype), k, t, *args, **kwargs)
        return t.copy_(values)

    return fill


def _uniform_(u, k, t, *args, **given):
    low, high = (*args, *(given[n] for n in ("from", "to") if n in given)) or (0.0, 1.0)
    return low + (high - low) * u()


def _random_(u, k, t, *bounds, **given):
    low, high = (0, bounds[0]) if len(bounds) == 1 else bounds or (given["from"], given["to"])
    return k.bits(tuple(t.shape)) % (high - low) + low


def _batched(function: Any) -> Callable[..., Tensor]:
    return lambda k, *args, **kwargs: k.zeros_per_client(function(*args, **kwargs))


T = torch.Tensor
# Functions of torch, written in Python, that draw random numbers inside.
COMPOSED = {F.multi_head_attention_forward, F.gumbel_softmax}
DRAWS: dict[Any, Callable[..., Any]] = {
    F.dropout: _dropout,
    torch.dropout: _dropout,
    torch.dropout_: lambda k, x, p, train: _dropout(k, x, p, train, inplace=True),
    F.dropout1d: _feature_dropout_of(3),
    F.dropout2d: _feature_dropout_of(3),
    F.dropout3d: _feature_dropout_of(5),
    torch.feature_dropout: _feature_dropout,
    F.alpha_dropout: _alpha_dropout,
    torch.alpha_dropout: _alpha_dropout,
    F.feature_alpha_dropout: _feature_alpha_dropout,
    torch.feature_alpha_dropout: _feature_alpha_dropout,
    F.rrelu: _rrelu,
    torch.rrelu: _rrelu,
    F.scaled_dot_product_attention: _attention,
    torch.rand: _rand,
    torch.randn: _randn,
    torch.rand_like: _rand_like,
    torch.randn_like: _randn_like,
    torch.randint: _randint,
    torch.randint_like: _randint_like,
    torch.randperm: _randperm,
    torch.bernoulli: _bernoulli,
    T.bernoulli: _bernoulli,
    torch.normal: _normal,
    torch.multinomial: _multinomial,
    T.multinomial: _multinomial,
    T.bernoulli_: _in_place(lambda u, k, t, p=0.5: u() < p),
    T.uniform_: _in_place(_uniform_),
    T.normal_: _in_place(
        lambda u, k, t, mean=0.0, std=1.0: k.normal(t.shape, t.dtype) * std + mean
    ),
    T.log_normal_: _in_place(
        lambda u, k, t, mean=1.0, std=2.0: torch.exp(k.normal(t.shape, t.dtype) * std + mean)
    ),
    T.exponential_: _in_place(lambda u, k, t, lambd=1.0: -torch.log1p(-u()) / lambd),
    T.cauchy_: _in_place(
        lambda u, k, t, median=0.0, sigma=1.0: median + sigma * torch.tan(math.pi * (u() - 0.5))
    ),
    T.geometric_: _in_place(
        lambda u, k, t, p: torch.ceil(torch.log1p(-u()) / math.log1p(-p)).clamp(min=1)
    ),
    T.random_: _in_place(_random_),
    torch.empty: _batched(torch.empty),
    T.new_empty: _batched(T.new_empty),
    torch.lstm: _recurrent(torch.lstm),
    torch.gru: _recurrent(torch.gru),
    torch.rnn_tanh: _recurrent(torch.rnn_tanh),
    torch.rnn_relu: _recurrent(torch.rnn_relu),
}


def _check_probability(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"a dropout probability must be in [0, 1], got {p}")
