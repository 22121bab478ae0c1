"""Models of token indices: equal to torch's modules, and trainable by every runtime."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional as F

import fedlocal
from fedlocal import models
from fedlocal.models.attention import CausalAttention, causal_attention
from fedlocal.models.recurrent import GRU
from fedlocal.objective.losses import cross_entropy
from fedlocal.vectors.flat import flatten
from strategies import local_sgd

LENGTH, CLASSES, TOKENS = 6, 5, 11
CASES = {
    "char_gru": (models.char_gru, {"embedding": 3, "hidden": 4}),
    "char_gru_2": (models.char_gru, {"embedding": 3, "hidden": 4, "layers": 2}),
    "char_transformer": (models.char_transformer, {"width": 8, "heads": 2}),
    "text_cnn": (models.text_cnn, {"embedding": 3, "filters": 4, "widths": [2, 3]}),
}


def build(case, seed=0):
    function, options = CASES[case]
    torch.manual_seed(seed)
    return function((LENGTH,), CLASSES, TOKENS, **options).double()


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tokens(*shape, seed=0):
    return torch.randint(0, TOKENS, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("case", CASES)
def test_shape_no_buffers_and_reproducible(case):
    module = build(case)
    assert not list(module.buffers())
    out = module(tokens(3, LENGTH))
    assert (out.shape, out.dtype) == ((3, CLASSES), torch.float64)
    assert torch.equal(out, build(case)(tokens(3, LENGTH)))
    assert not torch.equal(out, module(tokens(3, LENGTH, seed=1)))


@pytest.mark.parametrize("case", CASES)
def test_vmap_over_stacked_parameters_equals_looping(case):
    clients = [build(case, seed) for seed in range(3)]
    params, buffers = stack_module_state(clients)
    assert buffers == {}
    # Token 0 is in every example: where it is padding, its row must have no gradient.
    x, y = tokens(3, 4, LENGTH), tokens(3, 4, seed=1) % CLASSES
    x[..., 0] = 0

    def loss(params, x, y):
        return cross_entropy(functional_call(clients[0], params, (x,)), y)

    grads = vmap(grad(loss))(params, x, y)
    for i in range(3):
        one = grad(loss)({name: p[i].detach() for name, p in params.items()}, x[i], y[i])
        for name, expected in one.items():
            assert (grads[name][i] - expected).abs().max() < 1e-12, name


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_runtimes_agree_and_tokens_stay_integers(case, dtype):
    seen = set()

    class Watched(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            seen.add(x.dtype)
            return self.inner(x)

    clients = [(tokens(n, LENGTH, seed=n), tokens(n, seed=n) % CLASSES) for n in (5, 3, 8)]

    def run(runtime):
        return fedlocal.simulate(
            Watched(build(case)), clients, local_sgd(0.5, 2), rounds=2, batch_size=4,
            test=clients[0], runtime=runtime, device="cpu", dtype=dtype,
        )  # fmt: skip

    looped, batched = run("loop"), run("vmapped")
    assert seen == {torch.int64}
    assert looped.params.dtype == dtype
    assert (looped.params - flatten(build(case))).abs().max() > 1e-3
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    assert (looped.params - batched.params).abs().max() < tolerance


def test_gru_equals_torch():
    theirs = nn.GRU(4, 5, batch_first=True).double()
    ours = GRU(4, 5).double()
    with torch.no_grad():
        ours.of_input.weight.copy_(theirs.weight_ih_l0)
        ours.of_input.bias.copy_(theirs.bias_ih_l0)
        ours.of_state.weight.copy_(theirs.weight_hh_l0)
        ours.of_state.bias.copy_(theirs.bias_hh_l0)
    x = normal(3, 20, 4)
    expected = theirs(x)[0]
    assert (ours(x) - expected).abs().max() < 1e-12
    ours(x).square().sum().backward()
    expected.square().sum().backward()
    assert (ours.of_state.weight.grad - theirs.weight_hh_l0.grad).abs().max() < 1e-12
    assert (ours.of_input.bias.grad - theirs.bias_ih_l0.grad).abs().max() < 1e-12


def test_char_gru_is_the_same_model_as_with_torchs_layers():
    module = build("char_gru_2")
    theirs = nn.GRU(3, 4, num_layers=2, batch_first=True).double()
    for layer in range(2):
        for own, name in (("of_input", "ih"), ("of_state", "hh")):
            for part in ("weight", "bias"):
                value = getattr(getattr(module[1 + layer], own), part)
                getattr(theirs, f"{part}_{name}_l{layer}").data.copy_(value)
    x = tokens(6, LENGTH)
    expected = module[-1](theirs(module[0](x))[0][:, -1])
    assert (module(x) - expected).abs().max() < 1e-12


def test_attention_equals_torch():
    query, key, value = (normal(2, 3, 7, 4, seed=seed) for seed in range(3))
    expected = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    assert (causal_attention(query, key, value) - expected).abs().max() < 1e-12
    ours, theirs = CausalAttention(8, 2).double(), nn.MultiheadAttention(8, 2, batch_first=True)
    theirs = theirs.double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.project.weight)
        theirs.in_proj_bias.copy_(ours.project.bias)
        theirs.out_proj.weight.copy_(ours.out.weight)
        theirs.out_proj.bias.copy_(ours.out.bias)
    x = normal(3, 7, 8)
    later = torch.ones(7, 7, dtype=torch.bool).triu(1)
    expected = theirs(x, x, x, attn_mask=later, need_weights=False)[0]
    assert (ours(x) - expected).abs().max() < 1e-12


def test_blocks_see_nothing_later():
    module = build("char_transformer")
    x = tokens(2, LENGTH)
    changed = x.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % TOKENS
    before, after = (module[:3](each) for each in (x, changed))
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.equal(before[:, 5], after[:, 5])


def test_text_cnn_by_its_definition():
    module = build("text_cnn")
    x = tokens(4, LENGTH)
    vectors = module.words.weight[x] * (x > 0)[..., None]
    parts = []
    for layer, width in zip(module.filters, (2, 3), strict=True):
        windows = vectors.unfold(1, width, 1)  # [batch, places, embedding, width]
        values = torch.einsum("bpew,few->bpf", windows, layer.weight) + layer.bias
        parts.append(values.clamp(min=0).amax(1))
    assert (module(x) - module.classes(torch.cat(parts, 1))).abs().max() < 1e-12


def test_padding_is_zero_whatever_its_row_holds():
    module = build("text_cnn")
    x = tokens(4, LENGTH)
    x[:, :3] = 0
    before = module(x)
    module.words.weight.data[0] += 100
    assert torch.equal(module(x), before)
    module(x).sum().backward()
    assert not module.words.weight.grad[0].any()
    assert module.words.weight.grad[1:].any()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            lambda: models.char_gru((1, 8, 8), 3, 4),
            r"char_gru needs sequences .* shape \[1, 8, 8\]",
        ),
        (lambda: models.char_gru((0,), 3, 4), "needs at least 1 tokens per example, got 0"),
        (lambda: models.char_gru((8,), 3, 4, layers=0), "layers must be at least 1, got 0"),
        (lambda: models.char_transformer((8,), 3, 4, width=0), "width must be at least 1, got 0"),
        (
            lambda: models.char_transformer((8,), 3, 4, width=10, heads=4),
            "heads must divide the width, got width=10 and heads=4",
        ),
        (
            lambda: models.text_cnn((4,), 3, 4),
            "needs at least 5 tokens per example, got 4",
        ),
        (lambda: models.text_cnn((4,), 3, 4, widths=[]), r"at least one filter width, got \[\]"),
        (lambda: models.text_cnn((4,), 3, 4, widths=[2, 0]), "widths must be at least 1, got 0"),
        (lambda: models.text_cnn((9,), 3, 4, filters=0), "filters must be at least 1, got 0"),
    ],
)
def test_refusals(function, message):
    with pytest.raises(ValueError, match=message) as error:
        function()
    assert "\n" not in str(error.value)
