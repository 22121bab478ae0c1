"""heart_disease: the published counts, imputation and scaling, and refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fedlocal.data import heart_disease
from fedlocal.data.heart_disease_data import HOSPITALS

SHARED = Path(__file__).parents[2].parent / "shared/data/heart_disease"
real = pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs {SHARED}")

HEADER = "age,sex,cp,trestbps,chol,fbs,restecg,thalach,exang,oldpeak,slope,ca,thal,target\n"
CLEVELAND = """\
60.0,1.0,4.0,130.0,200.0,0.0,2.0,150.0,0.0,1.0,1.0,0.0,3.0,0
50.0,1.0,3.0,120.0,300.0,0.0,0.0,100.0,1.0,0.0,2.0,1.0,7.0,2
40.0,0.0,1.0,140.0,100.0,1.0,2.0,160.0,0.0,2.0,2.0,2.0,3.0,0
"""
VA = "50,1,2,0,0,?,?,?,?,?,?,?,?,3\n70,0,2,?,?,?,1,140,1,0,2,?,6,0\n"


@pytest.fixture
def folder(tmp_path):
    for hospital in HOSPITALS:
        text = {"cleveland": CLEVELAND, "hungarian": HEADER + CLEVELAND}.get(hospital, VA)
        (tmp_path / f"processed.{hospital}.data").write_text(text)
    return tmp_path


def column(data, place):
    return data.x_train[:, place].tolist()


def test_encoding_and_pooled_imputation(folder):
    data = heart_disease(folder, test_fraction=0)
    assert data.x_train.shape == (10, 22)
    assert data.y_train.tolist() == [0, 1, 0, 0, 1, 0, 1, 0, 1, 0]
    assert data.client_ids.tolist() == [0] * 3 + [1] * 3 + [2] * 2 + [3] * 2
    assert (data.num_classes, data.x_test) == (2, None)
    ages = np.array([60, 50, 40, 60, 50, 40, 50, 70, 50, 70.0])
    assert column(data, 0) == pytest.approx((ages - ages.mean()) / ages.std(), abs=1e-6)
    assert column(data, 1) == [1, 1, 0, 1, 1, 0, 1, 0, 1, 0]
    # cp of 1..4, one column a level.
    assert data.x_train[0, 2:6].tolist() == [0, 0, 0, 1]
    assert data.x_train[2, 2:6].tolist() == [1, 0, 0, 0]
    # Blood pressure: medians for ? and for 0.
    pressure = np.array([130, 120, 140, 130, 120, 140, 130, 130, 130, 130.0])
    expected = (pressure - pressure.mean()) / pressure.std()
    assert column(data, 6) == pytest.approx(expected, abs=1e-6)
    # fbs: the most frequent level for ?; restecg, one column for each of 0, 1, 2.
    assert column(data, 8) == [0, 0, 1, 0, 0, 1, 0, 0, 0, 0]
    assert data.x_train[6, 9:12].tolist() == [0, 0, 1]
    # thal: ? is the most frequent level, 3.
    assert data.x_train[6, 19:].tolist() == [1, 0, 0]
    assert data.x_train[7, 19:].tolist() == [0, 1, 0]


def test_indicators_say_what_was_missing(folder):
    plain, told = (heart_disease(folder, 0, indicators=each) for each in (False, True))
    assert torch.equal(told.x_train[:, :22], plain.x_train)
    assert told.x_train[0, 22:].tolist() == [0] * 10
    assert told.x_train[6, 22:].tolist() == [1] * 10
    # trestbps, chol, fbs, restecg, thalach, exang, oldpeak, slope, ca, thal
    assert told.x_train[7, 22:].tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 1, 0]


def test_per_hospital(folder):
    data = heart_disease(folder, test_fraction=0, per_hospital=True)
    # No blood pressure at all in the last two: 0, as the mean of those that measure.
    assert column(data, 6) == pytest.approx([0, -(1.5**0.5), 1.5**0.5] * 2 + [0] * 4, abs=1e-6)
    assert column(data, 0)[6:] == [-1, 1, -1, 1]


def test_nothing_is_fitted_on_test_examples(folder):
    before = heart_disease(folder, test_fraction=0.3, seed=1)
    file = folder / "processed.va.data"
    lines = VA.splitlines()
    (changed,) = (row for row in range(2) if before.y_test[-1] == (0 if row else 1))
    lines[changed] = lines[changed].replace("50,", "90,").replace("70,", "90,")
    file.write_text("\n".join(lines))
    after = heart_disease(folder, test_fraction=0.3, seed=1)
    assert torch.equal(before.x_train, after.x_train)
    assert not torch.equal(before.x_test, after.x_test)


@real
def test_published_counts_and_split():
    every = heart_disease(SHARED, test_fraction=0)
    assert np.bincount(every.client_ids).tolist() == [303, 294, 123, 200]
    sick = torch.zeros(4, dtype=torch.int64).index_add(
        0, torch.from_numpy(every.client_ids), every.y_train
    )
    assert sick.tolist() == [139, 106, 115, 149]
    data = heart_disease(SHARED)
    # A fifth of each, rounded up.
    assert np.bincount(data.client_ids).tolist() == [303 - 61, 294 - 59, 123 - 25, 200 - 40]
    assert data.x_test.shape == (185, 22)
    assert data.y_test[:61].sum() == 28  # of 139 / 303 * 61 = 27.98
    assert data.x_train[:, 0].mean().abs() < 1e-6
    assert data.x_train[:, 0].std(correction=0) == pytest.approx(1, abs=1e-6)
    again = heart_disease(SHARED, seed=1)
    assert not torch.equal(again.x_test, data.x_test)


@real
def test_cholesterol_of_zero_is_no_measurement():
    told = heart_disease(SHARED, test_fraction=0, indicators=True)
    switzerland = told.x_train[told.client_ids == 2]
    assert (switzerland[:, 22 + 1] == 1).all()
    assert (switzerland[:, 7] == switzerland[0, 7]).all()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1,2,3", "3 columns; 14 needed"),
        (CLEVELAND.splitlines()[0] + ",1", "15 columns; 14 needed"),
        ("60,1,5,130,200,0,2,150,0,1,1,0,3,0", r"cp is 5; it must be one of (1, 2, 3, 4) or ?"),
        ("60,1,4,130,200,0,2,150,0,1,1,0,4,0", r"thal is 4; it must be one of (3, 6, 7) or ?"),
        ("?,1,4,130,200,0,2,150,0,1,1,0,3,0", "age is missing"),
        ("60,1,4,130,200,0,2,150,0,1,1,0,3,?", "the target is ?; it must be 0 to 4"),
        ("60,1,4,x,200,0,2,150,0,1,1,0,3,0", "could not convert string to float: 'x'"),
    ],
)
def test_bad_line_is_named(folder, line, reason):
    file = folder / "processed.hungarian.data"
    file.write_text(HEADER + CLEVELAND + "\n" + line + "\n")
    with pytest.raises(ValueError) as error:
        heart_disease(folder)
    assert str(error.value) == f"{file}, line 6: {reason}"


def test_missing_and_empty_files(folder):
    file = folder / "processed.va.data"
    file.write_text(HEADER)
    with pytest.raises(ValueError, match=r"processed\.va\.data: no patients in the file"):
        heart_disease(folder)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"no file .*processed\.va\.data; one of UCI's"):
        heart_disease(folder)
    with pytest.raises(ValueError, match=r"test_fraction must be in \[0, 1\), got 1"):
        file.write_text(VA)
        heart_disease(folder, test_fraction=1)
