"""A recurrent network over token indices, built from plain tensor operations.

`torch.nn.GRU` is a fused kernel on a GPU, which `torch.vmap` cannot run with separate weights per
client.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fedlocal.models.shapes import check_sizes, token_length


def char_gru(
    input_shape: Sequence[int],
    num_outputs: int,
    num_tokens: int,
    embedding: int = 16,
    hidden: int = 128,
    layers: int = 1,
) -> nn.Module:
    """Return an embedding, a GRU and a linear map of the last state, for next-token prediction.

    The architecture is that of LEAF's Shakespeare model (embedding 8, two layers of 256), with GRU
    instead of LSTM cells. Caldas et al. 2018. https://arxiv.org/abs/1812.01097

    Args:
        input_shape: (length,).
        num_outputs: Number of classes.
        num_tokens: Size of the vocabulary.
        embedding: Embedding width.
        hidden: Width of the state.
        layers: Number of stacked GRUs.

    Raises:
        ValueError: Not a sequence of tokens, or a width below 1.
    """
    token_length(input_shape, "char_gru")
    check_sizes("char_gru", {"embedding": embedding, "hidden": hidden, "layers": layers})
    widths = [embedding] + [hidden] * (layers - 1)
    return nn.Sequential(
        nn.Embedding(num_tokens, embedding),
        *(GRU(width, hidden) for width in widths),
        Last(),
        nn.Linear(hidden, num_outputs),
    )


class GRU(nn.Module):
    """One layer of gated recurrent units; equals `torch.nn.GRU(..., batch_first=True)`.

    Cho et al. 2014. https://arxiv.org/abs/1406.1078, with the reset gate applied after the matrix,
    as in cuDNN. The rows of both maps are those of torch's weight_ih_l0 and weight_hh_l0:
    reset gate, update gate, candidate.
    """

    def __init__(self, num_inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.of_input = nn.Linear(num_inputs, 3 * hidden)
        self.of_state = nn.Linear(hidden, 3 * hidden)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(hidden**-0.5), hidden**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, length, num_inputs] to all states, [batch, length, hidden]."""
        state = x.new_zeros(x.shape[0], self.hidden)
        states = []
        for given in self.of_input(x).unbind(1):
            state = self.step(given, state)
            states.append(state)
        return torch.stack(states, dim=1)

    def step(self, given: Tensor, state: Tensor) -> Tensor:
        """Compute the next state [batch, hidden] from the mapped input [batch, 3 hidden]."""
        reset_in, update_in, new_in = given.chunk(3, dim=-1)
        reset_own, update_own, new_own = self.of_state(state).chunk(3, dim=-1)
        update = torch.sigmoid(update_in + update_own)
        new = torch.tanh(new_in + torch.sigmoid(reset_in + reset_own) * new_own)
        return new + update * (state - new)


class Last(nn.Module):
    """Selection of the last position of a sequence."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, length, width] -> [batch, width]."""
        return x[:, -1]
