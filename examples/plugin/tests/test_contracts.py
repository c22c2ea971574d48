"""Each component keeps the contract of its room."""

from __future__ import annotations

from harmbench_example.breast_cancer import BreastCancer
from harmbench_example.lorentzian import Lorentzian
from harmbench_example.residual_mlp import ResidualMlp
from harmbench_example.student_softmax import StudentSoftmax
from harmbench_example.test_loss import TestLoss
from harmbench_example.top_k import TopK
from harmbench_example.txt import Txt

from harmbench.testing import (
    check_backbone,
    check_dataset,
    check_distance,
    check_format,
    check_loss,
    check_meter,
    check_plot,
)


def test_lorentzian() -> None:
    check_distance(Lorentzian)
    check_distance(Lorentzian(scale=0.1))


def test_student_softmax() -> None:
    check_loss(StudentSoftmax)
    check_loss(StudentSoftmax(nu=5))


def test_residual_mlp() -> None:
    check_backbone(ResidualMlp)
    check_backbone(ResidualMlp(width=8, depth=1), shapes=[(30, 1, 1)])


def test_breast_cancer() -> None:
    check_dataset(BreastCancer)


def test_top_k() -> None:
    check_meter(TopK)
    check_meter(TopK(k=3))


def test_txt() -> None:
    check_format(Txt)


def test_test_loss() -> None:
    check_plot(TestLoss)
