"""A convolutional network over the words of a text."""

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
    """Return TextCNN: embeddings, filters of several widths, ReLU, max over time, a linear map.

    Source: Kim. Convolutional Neural Networks for Sentence Classification. 2014.
    https://arxiv.org/abs/1408.5882; used by VRL-SGD, 2019. https://arxiv.org/abs/1912.12844 (word
    vectors of 50, 100 filters per width). Differences from both: no dropout, because vmap refuses
    random calls; and no norm constraint (Kim).

    Args:
        input_shape: (length,).
        num_outputs: Number of classes.
        num_tokens: Size of the vocabulary; token 0 is padding, whose vector is 0, and 1 is the
            unknown word.
        embedding: Width of a word vector.
        filters: Number of filters per width.
        widths: Filter widths, in words.
        word_vectors: File of initial vectors of tokens 2, 3, ..., which must be the dataset's
            `word_vectors` as well. They are trained like the rest.

    Raises:
        FileNotFoundError: No file at `word_vectors`.
        ValueError: Not a sequence of tokens, a sequence shorter than a filter, a size below 1, or
            word vectors of a different number or width.
    """
    if not widths:
        raise ValueError("model text_cnn: widths must name at least one filter width, got []")
    check_sizes("text_cnn", {"widths": min(widths), "embedding": embedding, "filters": filters})
    token_length(input_shape, "text_cnn", at_least=max(widths))
    model = TextCNN(num_outputs, num_tokens, embedding, filters, widths)
    if word_vectors is not None:
        _load_word_vectors(word_vectors, model.words)
    return model


class TextCNN(nn.Module):
    """TextCNN, in which token 0 has a vector of zeros whatever its row holds."""

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
        # Kim's range: the variance is then about that of trained vectors.
        nn.init.uniform_(self.words.weight, -0.25, 0.25)
        self.filters = nn.ModuleList(nn.Conv1d(embedding, filters, width) for width in widths)
        self.classes = nn.Linear(filters * len(widths), num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map indices [batch, length] -> [batch, num_outputs]."""
        vectors = self.words(x) * (x != 0).unsqueeze(-1)
        channels = vectors.transpose(1, 2)
        found = [F.relu(one(channels)).amax(-1) for one in self.filters]
        return self.classes(torch.cat(found, dim=-1))


def _load_word_vectors(path: str, words: nn.Embedding) -> None:
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
