"""Bad input gets one line that names the input, the nearest valid choice or the next step, and loses nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.commands import SUITE, harmbench

RUN = ["run", "SUITE", "--out", "OUT"]
# name: (arguments, changes to the suite, part of the line)
CASES: dict[str, tuple[list[str], dict[str, object], str]] = {
    "unknown metric": ([*RUN, "--metrics", "euclidian"], {}, "unknown metric 'euclidian'; did you mean 'euclidean'?"),
    "unknown loss": ([*RUN, "--losses", "harmonics"], {}, "unknown loss 'harmonics'; did you mean 'harmonic'?"),
    "unknown backbone": ([*RUN, "--backbones", "mpl"], {}, "unknown backbone 'mpl'; did you mean 'mlp'?"),
    "unknown timm model": ([*RUN, "--backbones", "timm:resnet81"], {}, "unknown timm model 'resnet81'; did you mean"),
    "unknown data set": ([*RUN, "--datasets", "digit"], {}, "unknown dataset 'digit'; did you mean 'digits'?"),
    "unknown suite": (["run", "visoin"], {}, "unknown suite 'visoin'; did you mean 'vision'?"),
    "suite file is missing": (["run", "nowhere.yaml"], {}, "nowhere.yaml: no such file"),
    "budget = 2hours": ([*RUN, "--budget", "2hours"], {}, "did you mean '2h'?"),
    "probe = 1kWh": (["plan", "smoke", "--estimate", "--probe", "1kWh"], {}, "is an energy; give a time, such as 2m"),
    "json of nothing": (["plan", "smoke", "--json"], {}, "write --estimate --json"),
    "unknown option": ([*RUN, "--metrics", "minkowski[q=3]"], {}, "no option 'q' (it takes: p)"),
    "p = 0.5": ([*RUN, "--metrics", "minkowski[p=0.5]"], {}, "p: must be a finite number >= 1, got 0.5"),
    "n = -1": ([*RUN, "--losses", "harmonic[n=-1]"], {}, "n: must be a number > 0, sqrt_d, d or learnable, got -1"),
    "unknown executor": ([*RUN, "--executor", "locl"], {}, "unknown executor 'locl'; did you mean 'local'?"),
    "idle under both names": ([*RUN, "--idle", "1", "--idle-seconds", "1"], {}, "old name of --idle-seconds"),
    "malformed address": ([*RUN, "--metrics", "minkowski[p"], {}, "cannot read metric 'minkowski[p'"),
    "seeds = 0": ([*RUN, "--seeds", "0"], {}, "seeds: input should be greater than or equal to 1, got 0"),
    "epochs = -2": ([*RUN, "--epochs", "-2"], {}, "protocol.epochs: input should be greater than 0, got -2"),
    "train_fraction = 2": (
        [*RUN, "--datasets", "digits[train_fraction=2]"],
        {},
        "train_fraction: input should be less",
    ),
    "nothing fits": (
        [*RUN, "--metrics", "euclidean", "--losses", "cosine_softmax"],
        {},
        "nothing to run: cosine_softmax",
    ),
    "missing data": ([*RUN, "--datasets", "mnist", "--data-dir", "nowhere"], {}, "--datasets mnist --data-dir"),
    "missing folder": ([*RUN, "--datasets", "folder:nowhere"], {}, "data set 'folder:nowhere' is not there"),
    "no such device": ([*RUN, "--devices", "cuda:99"], {}, "no device 'cuda:99' here"),
    "malformed device": ([*RUN, "--devices", "gpu"], {}, "cannot read device 'gpu'; use auto, cpu, cuda or cuda:INDEX"),
    "unwritable folder": (["run", "SUITE", "--out", "SUITE/run"], {}, "cannot be written (Not a directory)"),
    "folder of something else": (["run", "SUITE", "--out", "."], {}, "holds files but no run.json"),
    "misspelt field": (RUN, {"protocl": {}}, "protocl: no such field; did you mean 'protocol'?"),
    "misspelt protocol field": (
        RUN,
        {"protocol": {"steps": 3, "lrr": 1}},
        "protocol.lrr: no such field; did you mean 'lr'?",
    ),
    "two budgets": (RUN, {"protocol": {"steps": 3, "epochs": 1}}, "give exactly one budget: steps or epochs"),
    "field is missing": (RUN, {"losses": None}, "losses: "),
    "report of no run": (["report", "nowhere"], {}, "not a run folder (no run.json)"),
    "report without runs": (["report"], {}, "no runs here; `harmbench run vision` makes one"),
    "unknown format": (["report", "--format", "mdd"], {}, "unknown format 'mdd'; did you mean 'md'?"),
    "unknown region": (["report", "--region", "FRX"], {}, "unknown region 'FRX'; did you mean FRO, FRA?"),
    "pue = 0.5": (["report", "--pue", "0.5"], {}, "--pue must be at least 1"),
    "unknown name": (["show", "canbera"], {}, "did you mean 'canberra'?"),
    "unknown kind": (["ls", "metric"], {}, "did you mean 'metrics'?"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_exit_code_2(case: str, tmp_path: Path) -> None:
    arguments, changes, expected = CASES[case]
    suite = tmp_path / "tiny.yaml"
    suite.write_text(yaml.safe_dump({**yaml.safe_load(SUITE), **changes}))
    before = sorted(path.name for path in tmp_path.iterdir())
    places = {"SUITE": str(suite), "OUT": str(tmp_path / "run"), "SUITE/run": str(suite / "run")}
    said = harmbench(*(places.get(argument, argument) for argument in arguments), cwd=tmp_path)
    assert said.returncode == 2
    assert expected in said.stderr
    assert said.stderr.count("\n") == 1, said.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_all_problems_of_a_suite_come_together(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "name: bad\ndatasets: [digit]\nbackbones: []\nlosses: [harmonic]\nseeds: no\nprotocol: {steps: 0}\n"
    )
    said = harmbench("validate", path, cwd=tmp_path)
    assert said.returncode == 2
    for problem in ("datasets: unknown dataset 'digit'", "backbones: ", "seeds: ", "protocol.steps: "):
        assert problem in said.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    said = harmbench("--debug", "show", "canbera", cwd=tmp_path)
    assert "Traceback" in said.stderr
