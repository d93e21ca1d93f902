"""Evaluation of a run on the test half of a labelled set."""

import logging
from dataclasses import replace
from pathlib import Path

from vpr.base.errors import VprError
from vpr.base.machine import choose_device
from vpr.base.run_folder import read_config
from vpr.datasets.labels import Halves
from vpr.datasets.msls.options import ProtocolOptions
from vpr.datasets.retrieval_set import RetrievalSet
from vpr.eval.evaluation import Evaluator
from vpr.eval.label_metrics import KS
from vpr.eval.options import RankingConfig
from vpr.models.builtin import run_of
from vpr.retrieval.settings import Fixed, RerankOptions

log = logging.getLogger("vpr")

COMMAND = "vpr.retrieval"  # whose runs are calibrated on classes


def label_evaluator(
    run: Path, data: RetrievalSet, halves: Halves, ranking: RankingConfig, rerank: RerankOptions
) -> Evaluator:
    """An evaluator whose rankings are as deep as the metrics want: to the largest k that the database reaches, and to
    all positives of a query. Raises VprError where no query has a positive."""
    if not len(data.scored):
        raise VprError(f"{data.root}: no class to test on has two images, so nothing can be scored")
    ranking, rerank = _as_trained(ranking, rerank, run, halves.training.fingerprint)
    deepest = max([k for k in KS if k < len(data.database)] + [int(data.answers.counts.max())])
    return Evaluator(ranking, rerank, choose_device(ranking.device), deepest)


def of_classes(run: Path) -> bool:
    """Whether a run was trained, and calibrated, on class labels."""
    return read_config(run_of(run), COMMAND).get("command") == COMMAND


def only_data(options: ProtocolOptions) -> Path | None:
    """``--data``, of options of MSLS. Raises VprError where others of them are given, which class labels lack."""
    if options != ProtocolOptions(data=options.data):
        raise VprError("--retrieval takes --data and --layout; leave the options of the MSLS protocol out")
    return options.data


def _as_trained(
    ranking: RankingConfig, rerank: RerankOptions, run: Path, training: str
) -> tuple[RankingConfig, RerankOptions]:
    """The options, with what suits classes where it is left out.

    A run that was trained on this set's other half, whose fingerprint is given, is not adapted to this one. A run that
    was calibrated on streets moves all of the mass, since two photos of one thing show all of it and those of one place
    do not; and it has the weight of a run without calibration.
    """
    config = read_config(run_of(run), COMMAND)
    if config.get("command") == COMMAND:
        data = config.get("data")
        here = isinstance(data, dict) and data.get("fingerprint") == training
        return (replace(ranking, adapt=False) if here and ranking.adapt is None else ranking), rerank
    if rerank.mass is None or ranking.weight is None:
        log.info("%s was not calibrated on classes: it is re-ranked with mass 1 and weight 5 (--mass, --weight)", run)
    mass, weight = rerank.mass, ranking.weight
    rerank = replace(rerank, mass=1.0 if mass is None else mass)
    return replace(ranking, weight=Fixed().weight if weight is None else weight), rerank
