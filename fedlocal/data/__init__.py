"""Datasets: function name = conf name, and every one returns a `Dataset`.

A new one is a function in a file here, its import below, and `conf/dataset/NAME.yaml`.

`extract_features` is not a loader: it writes the features of a dataset to a file for `npz`.

Importing this package costs torch and numpy only: scikit-learn and torchvision are imported
inside the function that needs them. No file here bears a function's name, because importing a
submodule would then hide the function behind the module.
"""

from fedlocal.data.archive import npz
from fedlocal.data.colour_images import cifar10, cifar100, svhn
from fedlocal.data.dataset import Dataset
from fedlocal.data.features import extract_features
from fedlocal.data.fedprox_synthetic import synthetic
from fedlocal.data.heart_disease_data import heart_disease
from fedlocal.data.held_by_nodes import on_nodes
from fedlocal.data.idx_images import emnist, fashion_mnist, kmnist, mnist
from fedlocal.data.image_folder import imagefolder
from fedlocal.data.least_squares import quadratic
from fedlocal.data.next_character import text, tiny_shakespeare
from fedlocal.data.scikit import digits
from fedlocal.data.svmlight import libsvm
from fedlocal.data.word_csv import text_csv
from fedlocal.data.wordnet_folders import imagenet, tiny_imagenet

__all__ = [
    "Dataset",
    "cifar10",
    "cifar100",
    "digits",
    "emnist",
    "extract_features",
    "fashion_mnist",
    "heart_disease",
    "imagefolder",
    "imagenet",
    "kmnist",
    "libsvm",
    "mnist",
    "npz",
    "on_nodes",
    "quadratic",
    "svhn",
    "synthetic",
    "text",
    "text_csv",
    "tiny_imagenet",
    "tiny_shakespeare",
]
