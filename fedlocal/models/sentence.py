"""Convolutions over the words of a text."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fedlocal.data.word_vectors import read_word_vectors
from fedlocal.models.shapes import check_sizes, token_length


def text_cnn(
    input_shape: Sequence[int],
    num_outputs: int,
    num_tokens: int,
    embedding: int = 50,
    filters: int = 100,
    widths: Sequence[int] = (3, 4, 5),
    word_vectors: str | None = None,
) -> nn.Module:
    """Word vectors, filters of several widths with ReLU, the maximum over time, a linear map.

    Source: Kim. Convolutional Neural Networks for Sentence Classification. 2014.
    https://arxiv.org/abs/1408.5882; used by VRL-SGD, 2019. https://arxiv.org/abs/1912.12844 (word
    vectors of 50, 100 filters a width). Differences from both: no dropout, because random calls
    are refused inside vmap; and none of Kim's norm constraint.

    Args:
        input_shape: (length,).
        num_outputs: Number of classes.
        num_tokens: Size of the vocabulary; token 0 is padding, whose vector is 0, and 1 stands
            for unknown words.
        embedding: Width of a word's vector.
        filters: Filters of each width.
        widths: Words that a filter sees.
        word_vectors: Start tokens 2, 3, ... from this file, which must have been the dataset's
            `word_vectors` too. They are trained like the rest.

    Raises:
        FileNotFoundError: No file at `word_vectors`.
        ValueError: Not a sequence of tokens, one shorter than a filter, a size below 1, or word
            vectors of another number or width.
    """
    if not widths:
        raise ValueError("model text_cnn: widths must name at least one filter width, got []")
    check_sizes("text_cnn", {"widths": min(widths), "embedding": embedding, "filters": filters})
    token_length(input_shape, "text_cnn", at_least=max(widths))
    model = TextCNN(num_outputs, num_tokens, embedding, filters, widths)
    if word_vectors is not None:
        _start_from(word_vectors, model.words)
    return model


class TextCNN(nn.Module):
    """Token 0 counts as a vector of zeros, whatever its row holds."""

    def __init__(
        self,
        num_outputs: int,
        num_tokens: int,
        embedding: int,
        filters: int,
        widths: Sequence[int],
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(num_tokens, embedding)
        # Kim's range, so that new words vary about as much as trained vectors.
        nn.init.uniform_(self.words.weight, -0.25, 0.25)
        self.filters = nn.ModuleList(nn.Conv1d(embedding, filters, width) for width in widths)
        self.classes = nn.Linear(filters * len(widths), num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Indices [batch, length] -> [batch, num_outputs]."""
        vectors = self.words(x) * (x != 0).unsqueeze(-1)
        channels = vectors.transpose(1, 2)
        found = [F.relu(one(channels)).amax(-1) for one in self.filters]
        return self.classes(torch.cat(found, dim=-1))


def _start_from(path: str, words: nn.Embedding) -> None:
    _, vectors = read_word_vectors(path)
    wanted = (words.num_embeddings - 2, words.embedding_dim)
    if vectors.shape != wanted:
        raise ValueError(
            f"model text_cnn: {path} has vectors {list(vectors.shape)} but {list(wanted)} are"
            " needed; give dataset.word_vectors the same file and set model.embedding to the"
            " vectors' width"
        )
    with torch.no_grad():
        words.weight[2:] = torch.from_numpy(vectors)
